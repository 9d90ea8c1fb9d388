//! The checks of the Pod Security Standards, by level and version. Upstream's `pod-security-admission/policy`.

mod capabilities;
mod containers;
mod host;
mod linux;
mod pod;
mod profiles;
mod users;
mod volumes;

use super::policy::{Level, LevelVersion, Version};
pub use pod::Pod;

/// What a check has against a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What it is about, as short as can be.
    reason: &'static str,
    /// Which containers, volumes or values it is about.
    detail: String,
}

/// What all checks have against a pod.
#[derive(Debug, Default)]
pub struct Violations(Vec<Violation>);

impl Violations {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they are about, for many pods.
    pub fn reason(&self) -> String {
        let reasons: Vec<&str> = self.0.iter().map(|violation| violation.reason).collect();
        reasons.join(", ")
    }

    /// In full, for one pod.
    pub fn detail(&self) -> String {
        let told = self
            .0
            .iter()
            .map(|Violation { reason, detail }| match &**detail {
                "" => (*reason).to_owned(),
                detail => format!("{reason} ({detail})"),
            });
        told.collect::<Vec<_>>().join(", ")
    }
}

type Judge = fn(&Pod<'_>) -> Option<Violation>;

/// One control of the standards.
struct Check {
    id: &'static str,
    /// Controls of baseline count for restricted as well.
    level: Level,
    /// By the minor version since which it is judged so, rising.
    versions: &'static [(u64, Judge)],
    /// A control of baseline that this one, of restricted, stands for.
    overrides: Option<&'static str>,
}

impl Check {
    const fn baseline(id: &'static str, versions: &'static [(u64, Judge)]) -> Check {
        Check {
            id,
            level: Level::Baseline,
            versions,
            overrides: None,
        }
    }

    const fn restricted(id: &'static str, versions: &'static [(u64, Judge)]) -> Check {
        Check {
            id,
            level: Level::Restricted,
            versions,
            overrides: None,
        }
    }

    const fn instead_of(self, id: &'static str) -> Check {
        Check {
            overrides: Some(id),
            ..self
        }
    }

    /// Its rule in a version; `None` where that has no such control.
    fn in_version(&self, version: Version) -> Option<Judge> {
        let known = |since: u64| Version::Minor(since) <= version;
        let rule = self.versions.iter().rev().find(|(since, _)| known(*since));
        rule.map(|(_, judge)| *judge)
    }
}

/// In the order in which violations are told: those of baseline by their ids, then those of restricted.
static CHECKS: [Check; 19] = [
    Check::baseline("appArmorProfile", &[(0, profiles::app_armor)]),
    Check::baseline("capabilities_baseline", &[(0, capabilities::baseline)]),
    Check::baseline("hostNamespaces", &[(0, host::namespaces)]),
    Check::baseline("hostPathVolumes", &[(0, volumes::host_path)]),
    Check::baseline("hostPorts", &[(0, host::ports)]),
    Check::baseline(
        "hostProbesAndHostLifecycle",
        &[(34, host::probes_and_lifecycle)],
    ),
    Check::baseline("privileged", &[(0, containers::privileged)]),
    Check::baseline(
        "procMount",
        &[
            (0, containers::proc_mount),
            (35, containers::proc_mount_on_host),
        ],
    ),
    Check::baseline(
        "seLinuxOptions",
        &[
            (0, linux::selinux_options_1_0),
            (31, linux::selinux_options_1_31),
        ],
    ),
    Check::baseline(
        "seccompProfile_baseline",
        &[
            (0, profiles::seccomp_annotations),
            (19, profiles::seccomp_baseline),
        ],
    ),
    Check::baseline(
        "sysctls",
        &[
            (0, |pod| linux::sysctls(pod, 0)),
            (27, |pod| linux::sysctls(pod, 27)),
            (29, |pod| linux::sysctls(pod, 29)),
            (32, |pod| linux::sysctls(pod, 32)),
            (37, |pod| linux::sysctls(pod, 37)),
        ],
    ),
    Check::baseline("windowsHostProcess", &[(0, host::windows_process)]),
    Check::restricted(
        "allowPrivilegeEscalation",
        &[
            (8, containers::privilege_escalation),
            (25, |pod| {
                pod.not_on_windows(containers::privilege_escalation)
            }),
        ],
    ),
    Check::restricted(
        "capabilities_restricted",
        &[
            (22, capabilities::restricted),
            (25, |pod| pod.not_on_windows(capabilities::restricted)),
        ],
    )
    .instead_of("capabilities_baseline"),
    Check::restricted("procMount_restricted", &[(35, containers::proc_mount)])
        .instead_of("procMount"),
    Check::restricted("restrictedVolumes", &[(0, volumes::restricted)])
        .instead_of("hostPathVolumes"),
    Check::restricted(
        "runAsNonRoot",
        &[
            (0, users::non_root),
            (35, |pod| pod.on_host_users(users::non_root)),
        ],
    ),
    Check::restricted(
        "runAsUser",
        &[
            (23, users::user_zero),
            (35, |pod| pod.on_host_users(users::user_zero)),
        ],
    ),
    Check::restricted(
        "seccompProfile_restricted",
        &[
            (19, profiles::seccomp_restricted),
            (25, |pod| pod.not_on_windows(profiles::seccomp_restricted)),
        ],
    )
    .instead_of("seccompProfile_baseline"),
];

/// What a pod violates of a level in a version.
pub fn evaluate(asked: LevelVersion, pod: &Pod<'_>) -> Violations {
    let rules = rules(asked);
    Violations(rules.filter_map(|(_, judge)| judge(pod)).collect())
}

/// The checks that count, with their rules.
fn rules(
    LevelVersion { level, version }: LevelVersion,
) -> impl Iterator<Item = (&'static str, Judge)> {
    let active = move || {
        CHECKS.iter().filter_map(move |check| {
            let judge = check.in_version(version)?;
            (check.level <= level).then_some((check, judge))
        })
    };
    active().filter_map(move |(check, judge)| {
        let overridden = active().any(|(other, _)| other.overrides == Some(check.id));
        (!overridden).then_some((check.id, judge))
    })
}

#[cfg(test)]
mod tests;
