//! The cgroups of pods: `kubepods`, its QoS classes, and one a pod with the pod's sums as limits.
//!
//! Both cgroup versions are driven through plain files. The runtime makes what lies below a pod's cgroup. A host
//! that lets us write only part of this still runs pods: a limit that cannot be set is logged once a pod.

mod hugetlb;
mod unified;

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::cpu;

use crate::{
    context,
    resources::{
        self, CPU_PERIOD_MICROS, PodLimits, Qos,
        huge_pages::{self, HUGE_PAGES_DIRECTORY, PageLimit, PageSize},
    },
};

/// Controllers that carry pod limits, as cgroup v2 spells them.
const CONTROLLERS: [&str; 4] = ["cpu", "memory", "pids", hugetlb::CONTROLLER];
/// The version 2 hierarchy of a host whose controllers are in version 1: no controller's name.
const UNIFIED: &str = "unified";
/// What a group has that nobody has said anything of.
const DEFAULT_SHARES: i64 = 1_024;
/// Best-effort pods together weigh as little as the kernel allows.
const BEST_EFFORT_SHARES: i64 = 2;

#[derive(Debug)]
enum Hierarchies {
    /// The one mount.
    V2(PathBuf),
    /// Mount points by controller; several controllers may share one, and some hierarchies have none.
    V1(Vec<(String, PathBuf)>),
}

/// The cgroup file systems of this host.
#[derive(Clone, Debug)]
pub(crate) struct Cgroups {
    hierarchies: Arc<Hierarchies>,
    root: String,
    /// Most threads of a pod, if there is a limit.
    pids_of_pod: Option<i64>,
    /// Of huge pages.
    page_sizes: Vec<PageSize>,
}

/// What all pods together may have; nothing for no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Share {
    pub cpu_milli: Option<i64>,
    pub memory_bytes: Option<i64>,
    pub pids: Option<i64>,
    /// Of the sizes that are not named any number.
    pub huge_pages: Vec<PageLimit>,
}

impl Cgroups {
    /// Finds the mounts. `root` is the cgroup below which `kubepods` goes.
    pub(crate) fn detect(root: &str) -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        let root = format!("/{}", root.trim_matches('/'));
        let root = if root == "/" { String::new() } else { root };
        Ok(Self {
            hierarchies: Arc::new(parse_mounts(&mounts)),
            root,
            pids_of_pod: None,
            page_sizes: huge_pages::sizes(Path::new(HUGE_PAGES_DIRECTORY)),
        })
    }

    /// The same, with a limit of each pod's threads.
    pub(crate) fn with_pids_of_pod(self, most: i64) -> Self {
        Self {
            pids_of_pod: (most > 0).then_some(most),
            ..self
        }
    }

    /// Holds all pods together to their share of the node: `enforceNodeAllocatable`. Limits of an earlier start go; where there are
    /// none and were none, nothing is made.
    ///
    /// # Errors
    /// The group cannot be made. What the kernel refuses to set is passed over, as for pods: what is in use already may be more.
    pub(crate) fn share(&self, share: &Share) -> io::Result<()> {
        let path = self.pods();
        if *share == Share::default() && !self.exists(&path) {
            return Ok(());
        }
        let shares = share.cpu_milli.map_or(DEFAULT_SHARES, resources::shares);
        let number = |limit: Option<i64>, none: &str| {
            limit.map_or_else(|| none.to_owned(), |limit| limit.to_string())
        };
        let huge_pages = self.unbounded(&share.huge_pages);
        match &*self.hierarchies {
            Hierarchies::V2(mount) => {
                unified::make(mount, &path)?;
                let dir = join(mount, &path);
                set(&dir.join("cpu.weight"), cpu::weight(shares));
                set(&dir.join("memory.max"), number(share.memory_bytes, "max"));
                set(&dir.join("pids.max"), number(share.pids, "max"));
                set_all(hugetlb::v2(&dir, &huge_pages));
            }
            Hierarchies::V1(mounts) => {
                for (controller, mount) in mounts {
                    let dir = join(mount, &path);
                    let settings = match controller.as_str() {
                        "cpu" => vec![(dir.join("cpu.shares"), shares.to_string())],
                        "memory" => {
                            let limit = number(share.memory_bytes, "-1");
                            vec![(dir.join("memory.limit_in_bytes"), limit)]
                        }
                        "pids" => vec![(dir.join("pids.max"), number(share.pids, "max"))],
                        hugetlb::CONTROLLER => hugetlb::v1(&dir, &huge_pages),
                        _ => continue,
                    };
                    fs::create_dir_all(&dir)?;
                    set_all(settings);
                }
            }
        }
        Ok(())
    }

    fn exists(&self, path: &str) -> bool {
        match &*self.hierarchies {
            Hierarchies::V2(mount) => join(mount, path).exists(),
            Hierarchies::V1(mounts) => mounts.iter().any(|(_, mount)| join(mount, path).exists()),
        }
    }

    /// Whether groups are of version 2.
    pub(crate) fn is_unified(&self) -> bool {
        matches!(*self.hierarchies, Hierarchies::V2(_))
    }

    /// A host without cgroups, for tests that must not touch this one's.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self {
            hierarchies: Arc::new(Hierarchies::V1(Vec::new())),
            root: String::new(),
            pids_of_pod: None,
            page_sizes: Vec::new(),
        }
    }

    /// What the runtime is told: the pod's cgroup as an absolute path within each hierarchy.
    pub(crate) fn path(&self, pod: &Pod) -> String {
        format!(
            "{}/pod{}",
            self.class(resources::qos(pod)),
            context::uid(pod)
        )
    }

    /// The one that all pods are in.
    pub(crate) fn pods(&self) -> String {
        self.class(Qos::Guaranteed)
    }

    /// Where the figures of a group are, whose path is that within each hierarchy.
    pub(crate) fn usage(&self, path: &str) -> knarr_host::usage::Group {
        match &*self.hierarchies {
            Hierarchies::V2(mount) => knarr_host::usage::Group::unified(&join(mount, path)),
            Hierarchies::V1(mounts) => knarr_host::usage::Group::legacy(|controller| {
                let mut mounts = mounts.iter();
                let (_, mount) = mounts.find(|(name, _)| name == controller)?;
                Some(join(mount, path))
            }),
        }
    }

    fn class(&self, qos: Qos) -> String {
        match qos {
            Qos::Guaranteed => format!("{}/kubepods", self.root),
            Qos::Burstable => format!("{}/kubepods/burstable", self.root),
            Qos::BestEffort => format!("{}/kubepods/besteffort", self.root),
        }
    }

    /// These limits, and no limit of the sizes that are not among them.
    fn unbounded(&self, limits: &[PageLimit]) -> Vec<PageLimit> {
        let limit = |size: &PageSize| {
            let known = limits.iter().find(|limit| limit.size == *size);
            known.copied().unwrap_or(PageLimit {
                size: *size,
                bytes: None,
            })
        };
        self.page_sizes.iter().map(limit).collect()
    }

    /// Makes the pod's cgroup and sets its limits.
    pub(crate) fn create(&self, pod: &Pod) -> io::Result<()> {
        let path = self.path(pod);
        let class = self.class(resources::qos(pod));
        let best_effort = self.class(Qos::BestEffort);
        let limits = resources::pod_limits(pod);
        let pages = huge_pages::of_pod(pod, &self.page_sizes);
        // Classes hold nobody to anything, but the pods in them do. All pods are in one, of which [`Self::share`] speaks.
        let of_class = match class == self.pods() {
            true => Vec::new(),
            false => self.unbounded(&[]),
        };
        match &*self.hierarchies {
            Hierarchies::V2(mount) => {
                unified::make(mount, &path)?;
                set_all(unified::settings(&join(mount, &path), &limits));
                set_all(hugetlb::v2(&join(mount, &class), &of_class));
                set_all(hugetlb::v2(&join(mount, &path), &pages));
                if let Some(most) = self.pids_of_pod {
                    set(&join(mount, &path).join("pids.max"), most);
                }
                unified::make(mount, &best_effort)?;
                let weight = cpu::weight(BEST_EFFORT_SHARES);
                set(&join(mount, &best_effort).join("cpu.weight"), weight);
            }
            Hierarchies::V1(mounts) => {
                for (controller, mount) in mounts {
                    if !CONTROLLERS.contains(&controller.as_str()) {
                        continue;
                    }
                    let dir = join(mount, &path);
                    fs::create_dir_all(&dir)?;
                    set_all(v1_settings(controller, &dir, &limits));
                    match controller.as_str() {
                        "pids" => {
                            let most = self.pids_of_pod.into_iter();
                            most.for_each(|most| set(&dir.join("pids.max"), most));
                        }
                        "cpu" => {
                            let class = join(mount, &best_effort);
                            fs::create_dir_all(&class)?;
                            set(&class.join("cpu.shares"), BEST_EFFORT_SHARES);
                        }
                        hugetlb::CONTROLLER => {
                            set_all(hugetlb::v1(&join(mount, &class), &of_class));
                            set_all(hugetlb::v1(&dir, &pages));
                        }
                        _ => {}
                    }
                }
            }
        }
        Ok(())
    }

    /// Changes limits of the pod's cgroup: all that `limits` says, but shares of 0.
    ///
    /// # Errors
    /// What the kernel refuses, such as less memory than is used. Files that are not ours to write are passed over, as in
    /// [`Self::create`].
    pub(crate) fn change(&self, pod: &Pod, limits: &PodLimits) -> io::Result<()> {
        let path = self.path(pod);
        let settings = match &*self.hierarchies {
            Hierarchies::V2(mount) => unified::settings(&join(mount, &path), limits),
            Hierarchies::V1(mounts) => {
                let ours = mounts
                    .iter()
                    .filter(|(controller, _)| CONTROLLERS.contains(&controller.as_str()));
                ours.flat_map(|(controller, mount)| {
                    v1_settings(controller, &join(mount, &path), limits)
                })
                .collect()
            }
        };
        for (file, value) in settings {
            match fs::write(&file, &value) {
                Err(error) if !is_not_ours(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(%error, file = %file.display(), "cgroup limit is not set");
                }
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// Removes the pod's cgroup with all that is left below it.
    pub(crate) fn remove(&self, uid: &str) {
        let mounts: Vec<&PathBuf> = match &*self.hierarchies {
            Hierarchies::V2(mount) => vec![mount],
            Hierarchies::V1(mounts) => mounts.iter().map(|(_, mount)| mount).collect(),
        };
        for mount in mounts {
            for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
                let dir = join(mount, &format!("{}/pod{uid}", self.class(qos)));
                if let Err(error) = knarr_host::remove_groups(&dir) {
                    tracing::debug!(%error, dir = %dir.display(), "cgroup is not removed");
                }
            }
        }
    }

    /// Pods that have a cgroup.
    pub(crate) fn uids(&self) -> Vec<String> {
        let mount = match &*self.hierarchies {
            Hierarchies::V2(mount) => Some(mount),
            Hierarchies::V1(mounts) => mounts.iter().find(|(c, _)| c == "cpu").map(|(_, m)| m),
        };
        let mut uids = Vec::new();
        for qos in [Qos::Guaranteed, Qos::Burstable, Qos::BestEffort] {
            let Some(dir) = mount.map(|m| join(m, &self.class(qos))) else {
                continue;
            };
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                uids.extend(name.strip_prefix("pod").map(str::to_owned));
            }
        }
        uids
    }
}

fn join(mount: &Path, path: &str) -> PathBuf {
    mount.join(path.trim_start_matches('/'))
}

fn parse_mounts(mounts: &str) -> Hierarchies {
    let mut v1 = Vec::new();
    let mut v2 = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, target, kind, options, ..] = fields[..] else {
            continue;
        };
        match kind {
            "cgroup2" => v2 = Some(PathBuf::from(target)),
            "cgroup" => {
                for option in options.split(',') {
                    if CONTROLLERS.contains(&option)
                        || [
                            "cpuacct", "cpuset", "blkio", "devices", "freezer", "hugetlb",
                            "net_cls",
                        ]
                        .contains(&option)
                        || option.starts_with("name=")
                    {
                        v1.push((option.to_owned(), PathBuf::from(target)));
                    }
                }
            }
            _ => {}
        }
    }
    match v2 {
        Some(mount) if v1.is_empty() => Hierarchies::V2(mount),
        // On a hybrid host some runtimes put their processes there as well.
        Some(mount) => {
            v1.push((UNIFIED.to_owned(), mount));
            Hierarchies::V1(v1)
        }
        None => Hierarchies::V1(v1),
    }
}

/// A file and what is written to it.
type Setting = (PathBuf, String);

fn v1_settings(controller: &str, dir: &Path, limits: &PodLimits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |file: &str, value: i64| settings.push((dir.join(file), value.to_string()));
    match controller {
        "cpu" => {
            if limits.shares != 0 {
                set("cpu.shares", limits.shares);
            }
            if let Some(quota) = limits.quota {
                set("cpu.cfs_period_us", CPU_PERIOD_MICROS);
                set("cpu.cfs_quota_us", quota);
            }
        }
        "memory" => {
            if let Some(memory) = limits.memory {
                set("memory.limit_in_bytes", memory);
            }
        }
        _ => {}
    }
    settings
}

/// Whether a file of a cgroup is not there, or not for this process.
fn is_not_ours(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound
            | io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
    )
}

fn set_all(settings: Vec<Setting>) {
    for (file, value) in settings {
        set(&file, value);
    }
}

fn set(file: &Path, value: impl ToString) {
    if let Err(error) = fs::write(file, value.to_string()) {
        tracing::debug!(%error, file = %file.display(), "cgroup limit is not set");
    }
}

#[cfg(test)]
mod tests;
