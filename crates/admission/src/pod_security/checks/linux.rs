//! SELinux labels and kernel parameters.

use knarr_meta::object::{list_at, str_at};
use serde_json::Value;

use super::{
    Violation,
    pod::{Pod, Values, plural, quoted, setters},
};

/// Kernel parameters that are a pod's own, by the minor version since which they may be set.
const SAFE_SYSCTLS: [(&str, u64); 14] = [
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
    ("net.ipv4.tcp_slow_start_after_idle", 37),
    ("net.ipv4.tcp_notsent_lowat", 37),
];

/// SELinux types that are as confined as the default one.
const SELINUX_TYPES_1_0: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];
const SELINUX_TYPES_1_31: [&str; 5] = [
    "",
    "container_t",
    "container_init_t",
    "container_kvm_t",
    "container_engine_t",
];

/// Only parameters that were safe in a minor version are set.
pub fn sysctls(pod: &Pod<'_>, minor: u64) -> Option<Violation> {
    let safe = |name: &str| {
        let mut known = SAFE_SYSCTLS.iter();
        known.any(|(known, since)| *known == name && *since <= minor)
    };
    let set = pod
        .security("sysctls")
        .map_or(&[][..], |set| list_at(set, &[]));
    let names = set.iter().map(|sysctl| str_at(sysctl, &["name"]));
    let forbidden: Vec<&str> = names.filter(|name| !safe(name)).collect();
    (!forbidden.is_empty()).then(|| Violation {
        reason: "forbidden sysctls",
        detail: forbidden.join(", "),
    })
}

pub fn selinux_options_1_0(pod: &Pod<'_>) -> Option<Violation> {
    selinux_options(pod, &SELINUX_TYPES_1_0)
}

pub fn selinux_options_1_31(pod: &Pod<'_>) -> Option<Violation> {
    selinux_options(pod, &SELINUX_TYPES_1_31)
}

/// No user, no role and only these types are set.
fn selinux_options(pod: &Pod<'_>, allowed: &[&str]) -> Option<Violation> {
    let field = "seLinuxOptions";
    let wrong_type = |options: &Value| !allowed.contains(&str_at(options, &["type"]));
    let has = |options: &Value, field: &str| !str_at(options, &[field]).is_empty();
    let bad =
        |options: &&Value| wrong_type(options) || has(options, "user") || has(options, "role");
    let of_pod = pod.security(field).filter(bad);
    let of_containers: Vec<(&str, &Value)> = pod
        .containers()
        .filter_map(|container| Some((container.name, container.security(field).filter(bad)?)))
        .collect();
    let names: Vec<&str> = of_containers.iter().map(|(name, _)| *name).collect();
    let setters = setters(of_pod.is_some(), &names);
    if setters.is_empty() {
        return None;
    }
    let all = || {
        of_pod
            .into_iter()
            .chain(of_containers.iter().map(|(_, options)| *options))
    };
    let wrong = all().filter(|options| wrong_type(options));
    let types: Values<'_> = wrong.map(|options| str_at(options, &["type"])).collect();
    let mut data = Vec::new();
    if !types.is_empty() {
        let noun = plural("type", "types", types.len());
        data.push(format!("{noun} {}", quoted(types)));
    }
    for field in ["user", "role"] {
        if all().any(|options| has(options, field)) {
            data.push(format!("{field} may not be set"));
        }
    }
    Some(Violation {
        reason: "seLinuxOptions",
        detail: format!(
            "{setters} set forbidden securityContext.seLinuxOptions: {}",
            data.join("; ")
        ),
    })
}
