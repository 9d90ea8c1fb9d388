//! Cgroups as plain files, of both versions: libcontainer makes and limits a container's, this makes, reads, updates and
//! removes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use knarr_cri::{cpu, v1::LinuxContainerResources};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Longest wait for killed processes to leave a cgroup.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pause between two looks at a cgroup that has no file to wait on (v1).
const EMPTY_RETRY: Duration = Duration::from_millis(5);

/// The hierarchies of this host.
#[derive(Debug)]
pub enum Hierarchies {
    /// One mount, all controllers.
    Unified(PathBuf),
    /// Controller to mount. Co-mounted controllers share one. Also the hybrid layout, whose v2 mount has no controllers.
    Legacy(BTreeMap<String, PathBuf>),
}

/// As found in this process's mount table, once.
pub fn host() -> &'static Hierarchies {
    static FOUND: OnceLock<Hierarchies> = OnceLock::new();
    FOUND.get_or_init(|| parse(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()))
}

/// Limits huge pages.
pub const HUGETLB: &str = "hugetlb";

const CONTROLLERS: &[&str] = &[
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "blkio",
    "memory",
    "pids",
    HUGETLB,
    "net_cls",
    "net_prio",
    "perf_event",
];

fn parse(mountinfo: &str) -> Hierarchies {
    let mut legacy = BTreeMap::new();
    let mut unified = None;
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else {
            continue;
        };
        let Some(path) = left.split(' ').nth(4) else {
            continue;
        };
        let mut right = right.split(' ');
        match right.next() {
            Some("cgroup2") => {
                unified.get_or_insert_with(|| PathBuf::from(path));
            }
            Some("cgroup") => {
                let options = right.nth(1).unwrap_or_default();
                for controller in options
                    .split(',')
                    .filter(|option| CONTROLLERS.contains(option))
                {
                    legacy
                        .entry(controller.to_owned())
                        .or_insert_with(|| PathBuf::from(path));
                }
            }
            _ => {}
        }
    }
    match unified {
        Some(path) if legacy.is_empty() => Hierarchies::Unified(path),
        _ => Hierarchies::Legacy(legacy),
    }
}

impl Hierarchies {
    pub fn is_unified(&self) -> bool {
        matches!(self, Self::Unified(_))
    }

    /// Whether a cgroup has a controller once it is made: in the unified hierarchy what is above it decides, and a cgroup that
    /// somebody else gave to this process may have fewer of them than the root.
    pub fn gives(&self, controller: &str, cgroup: &Path) -> bool {
        match self {
            Self::Unified(mount) => below(mount, cgroup)
                .ancestors()
                .skip(1)
                .take_while(|parent| parent.starts_with(mount))
                .find_map(|parent| fs::read_to_string(parent.join("cgroup.controllers")).ok())
                .is_some_and(|names| names.split_whitespace().any(|name| name == controller)),
            Self::Legacy(mounts) => mounts.contains_key(controller),
        }
    }

    fn mounts(&self) -> Vec<&Path> {
        match self {
            Self::Unified(mount) => vec![mount],
            Self::Legacy(mounts) => {
                let mut paths: Vec<&Path> = mounts.values().map(PathBuf::as_path).collect();
                paths.sort_unstable();
                paths.dedup();
                paths
            }
        }
    }

    /// The directory of a cgroup in a controller's hierarchy.
    pub fn directory(&self, controller: &str, cgroup: &Path) -> Option<PathBuf> {
        let mount = match self {
            Self::Unified(mount) => mount,
            Self::Legacy(mounts) => mounts.get(controller)?,
        };
        Some(below(mount, cgroup))
    }

    /// Where what a cgroup has used is read.
    pub fn usage(&self, cgroup: &Path) -> knarr_host::usage::Group {
        match self {
            Self::Unified(mount) => knarr_host::usage::Group::unified(&below(mount, cgroup)),
            Self::Legacy(_) => {
                knarr_host::usage::Group::legacy(|controller| self.directory(controller, cgroup))
            }
        }
    }

    /// Every `cgroup.procs` of a cgroup.
    pub fn procs(&self, cgroup: &Path) -> Vec<PathBuf> {
        self.mounts()
            .into_iter()
            .map(|mount| below(mount, cgroup).join("cgroup.procs"))
            .collect()
    }

    /// Where the kernel counts the processes it killed for lack of memory.
    pub fn oom_file(&self, cgroup: &Path) -> Option<PathBuf> {
        let name = if self.is_unified() {
            "memory.events"
        } else {
            "memory.oom_control"
        };
        Some(self.directory("memory", cgroup)?.join(name))
    }

    /// Makes a cgroup in all hierarchies, ready for processes.
    pub fn make(&self, cgroup: &Path) -> io::Result<()> {
        for mount in self.mounts() {
            let path = below(mount, cgroup);
            fs::create_dir_all(&path)?;
            if let Self::Legacy(mounts) = self
                && mounts.get("cpuset").map(PathBuf::as_path) == Some(mount)
            {
                inherit_cpuset(mount, &path)?;
            }
        }
        Ok(())
    }

    pub fn pids(&self, cgroup: &Path) -> Vec<i32> {
        let mut pids: Vec<i32> = self
            .mounts()
            .into_iter()
            .flat_map(|mount| read_tree_pids(&below(mount, cgroup)))
            .collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Kills what is inside and removes the cgroup with those below it. What is not there is removed. Blocks.
    pub fn remove(&self, cgroup: &Path) -> io::Result<()> {
        if !cgroup
            .components()
            .any(|component| matches!(component, std::path::Component::Normal(_)))
        {
            return Err(io::Error::other("refusing to remove the root cgroup"));
        }
        let deadline = Instant::now() + EMPTY_TIMEOUT;
        loop {
            for pid in self.pids(cgroup) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
            let mut busy = None;
            for mount in self.mounts() {
                if let Err(error) = knarr_host::remove_groups(&below(mount, cgroup)) {
                    busy = Some(error);
                }
            }
            match busy {
                None => return Ok(()),
                Some(error) if Instant::now() >= deadline => return Err(error),
                // A killed process leaves its cgroup when the kernel gets to it; v1 has nothing to wait on.
                Some(_) => std::thread::sleep(EMPTY_RETRY),
            }
        }
    }

    /// Removes the directories of a cgroup in which nothing is, here or below; others stay.
    pub fn remove_empty(&self, cgroup: &Path) {
        for mount in self.mounts() {
            let path = below(mount, cgroup);
            if path != mount {
                let _ = fs::remove_dir(path);
            }
        }
    }

    /// Changes a live cgroup's limits. Zero and empty fields are left as they are, as CRI says.
    pub fn update(&self, cgroup: &Path, resources: &LinuxContainerResources) -> io::Result<()> {
        let settings = if self.is_unified() {
            unified_settings(resources)
        } else {
            legacy_settings(resources)
        };
        for (controller, file, value) in settings {
            let Some(directory) = self.directory(controller, cgroup) else {
                continue;
            };
            // Not every group has it, and not every kernel this size of pages: nothing to use too much of then.
            if controller == HUGETLB && !directory.join(&file).exists() {
                continue;
            }
            fs::write(directory.join(&file), &value).map_err(|error| {
                io::Error::new(error.kind(), format!("write {value} to {file}: {error}"))
            })?;
        }
        Ok(())
    }
}

type Setting = (&'static str, String, String);

fn legacy_settings(resources: &LinuxContainerResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |controller, file: &str, value: i64| {
        if value != 0 {
            settings.push((controller, file.to_owned(), value.to_string()));
        }
    };
    set("cpu", "cpu.shares", resources.cpu_shares);
    set("cpu", "cpu.cfs_period_us", resources.cpu_period);
    set("cpu", "cpu.cfs_quota_us", resources.cpu_quota);
    set(
        "memory",
        "memory.limit_in_bytes",
        resources.memory_limit_in_bytes,
    );
    push_cpuset(&mut settings, resources);
    push_huge_pages(&mut settings, resources, "limit_in_bytes");
    settings
}

fn unified_settings(resources: &LinuxContainerResources) -> Vec<Setting> {
    let mut settings = Vec::new();
    if resources.cpu_shares != 0 {
        settings.push((
            "cpu",
            "cpu.weight".to_owned(),
            cpu::weight(resources.cpu_shares).to_string(),
        ));
    }
    if resources.cpu_quota != 0 {
        let period = if resources.cpu_period == 0 {
            100_000
        } else {
            resources.cpu_period
        };
        let quota = if resources.cpu_quota < 0 {
            "max".to_owned()
        } else {
            resources.cpu_quota.to_string()
        };
        settings.push(("cpu", "cpu.max".to_owned(), format!("{quota} {period}")));
    }
    if resources.memory_limit_in_bytes != 0 {
        let limit = match resources.memory_limit_in_bytes {
            limit if limit < 0 => "max".to_owned(),
            limit => limit.to_string(),
        };
        settings.push(("memory", "memory.max".to_owned(), limit));
    }
    push_cpuset(&mut settings, resources);
    push_huge_pages(&mut settings, resources, "max");
    for (file, value) in &resources.unified {
        if !file.contains('/') {
            settings.push(("", file.clone(), value.clone()));
        }
    }
    settings
}

fn push_cpuset(settings: &mut Vec<Setting>, resources: &LinuxContainerResources) {
    for (file, value) in [
        ("cpuset.cpus", &resources.cpuset_cpus),
        ("cpuset.mems", &resources.cpuset_mems),
    ] {
        if !value.is_empty() {
            settings.push(("cpuset", file.to_owned(), value.clone()));
        }
    }
}

fn push_huge_pages(settings: &mut Vec<Setting>, resources: &LinuxContainerResources, file: &str) {
    for limit in &resources.hugepage_limits {
        let file = format!("hugetlb.{}.{file}", limit.page_size);
        if !file.contains('/') {
            settings.push((HUGETLB, file, limit.limit.to_string()));
        }
    }
}

fn below(mount: &Path, cgroup: &Path) -> PathBuf {
    mount.join(cgroup.strip_prefix("/").unwrap_or(cgroup))
}

/// A fresh v1 cpuset is empty and takes no process.
fn inherit_cpuset(mount: &Path, path: &Path) -> io::Result<()> {
    let mut current = mount.to_path_buf();
    for component in path.strip_prefix(mount).unwrap_or(path).components() {
        let parent = current.clone();
        current.push(component);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(current.join(file))?.trim().is_empty() {
                fs::write(current.join(file), fs::read_to_string(parent.join(file))?)?;
            }
        }
    }
    Ok(())
}

fn read_tree_pids(path: &Path) -> Vec<i32> {
    let read = |group: PathBuf| fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let lists: Vec<String> = knarr_host::groups(path).into_iter().map(read).collect();
    lists
        .iter()
        .flat_map(|list| list.lines())
        .filter_map(|line| line.parse().ok())
        .filter(|pid| *pid > 0)
        .collect()
}

#[cfg(test)]
mod tests;
