//! Version 2: one hierarchy, in which a group hands its controllers down to its children, or has processes, but not both. Only
//! the real root may do both.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{join, set};
use crate::resources::{CPU_PERIOD_MICROS, PodLimits};

/// Where the processes go of a group that is to hand its controllers down: the name that others use for it, too.
const LEAF: &str = "init";
/// How often a group is looked at anew for processes that were born while others were moved.
const MOVE_ROUNDS: usize = 10;

/// Makes every directory down to `path`, letting each parent hand its controllers down.
pub(super) fn make(mount: &Path, path: &str) -> io::Result<()> {
    let mut dir = mount.to_path_buf();
    for part in path.split('/').filter(|p| !p.is_empty()) {
        hand_down(mount, &dir)?;
        dir.push(part);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn hand_down(mount: &Path, dir: &Path) -> io::Result<()> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap_or_default();
    let wanted = missing(&read("cgroup.controllers"), &read("cgroup.subtree_control"));
    if wanted.is_empty() {
        return Ok(());
    }
    // Before any controller: the kernel would enable some of them beside processes, which turns the group into one of threads,
    // whose children take no processes at all. The real root has no type and may have both.
    if dir.join("cgroup.type").exists() && !read("cgroup.procs").is_empty() {
        // Only our own group is ours to rearrange: whoever started us in it meant it to be.
        if own_group(mount).as_deref() != Some(dir) {
            return Err(io::Error::other(format!(
                "{} has processes of others and cannot hand its controllers down",
                dir.display()
            )));
        }
        evacuate(dir)?;
    }
    for controller in &wanted {
        // One at a time: a controller that may not be enabled must not keep the others out.
        if let Err(error) = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"))
        {
            tracing::debug!(%error, dir = %dir.display(), controller, "controller not handed down");
        }
    }
    Ok(())
}

/// Controllers that are there and not handed down.
fn missing(available: &str, enabled: &str) -> Vec<String> {
    let enabled: Vec<&str> = enabled.split_whitespace().collect();
    available
        .split_whitespace()
        .filter(|name| !enabled.contains(name))
        .map(str::to_owned)
        .collect()
}

/// The directory of the group that this process is in.
fn own_group(mount: &Path) -> Option<PathBuf> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own_path(&groups)?;
    Some(join(mount, path).components().collect())
}

/// `None` for a group outside of what is mounted, which a cgroup namespace shows as `/..`.
fn own_path(groups: &str) -> Option<&str> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    (!path.split('/').any(|part| part == "..")).then_some(path)
}

/// Moves a group's processes to a leaf below it.
fn evacuate(dir: &Path) -> io::Result<()> {
    let leaf = dir.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for _ in 0..MOVE_ROUNDS {
        let list = fs::read_to_string(dir.join("cgroup.procs"))?;
        // Processes of other namespaces have no number here.
        let pids: Vec<&str> = list.lines().filter(|pid| *pid != "0").collect();
        if pids.is_empty() {
            return Ok(());
        }
        for pid in pids {
            match fs::write(leaf.join("cgroup.procs"), pid) {
                Err(error) if error.raw_os_error() != Some(nix::libc::ESRCH) => return Err(error),
                _ => {}
            }
        }
    }
    Err(io::Error::other("new processes keep appearing"))
}

pub(super) fn limit(dir: &Path, limits: &PodLimits) {
    set(&dir.join("cpu.weight"), cpu_weight(limits.shares));
    if let Some(quota) = limits.quota {
        set(&dir.join("cpu.max"), format!("{quota} {CPU_PERIOD_MICROS}"));
    }
    if let Some(memory) = limits.memory {
        set(&dir.join("memory.max"), memory);
    }
}

/// Shares (2 to 262144) to weight (1 to 10000), by the curve that runtimes use for containers: 1024 shares are a weight of
/// 100.
pub(super) fn cpu_weight(shares: i64) -> i64 {
    if shares <= 2 {
        return 1;
    }
    if shares >= 262_144 {
        return 10_000;
    }
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as i64).clamp(1, 10_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_follow_shares() {
        let shares = [2, 102, 512, 1_024, 2_048, 262_144];
        assert_eq!(shares.map(cpu_weight), [1, 17, 59, 100, 174, 10_000]);
    }

    #[test]
    fn controllers_are_enabled_once() {
        assert_eq!(missing("cpu memory pids\n", "memory\n"), ["cpu", "pids"]);
        assert!(missing("cpu\n", "cpu memory\n").is_empty());
    }

    #[test]
    fn a_group_outside_of_the_mount_is_not_ours() {
        assert_eq!(own_path("1:cpu:/a\n0::/b/c\n"), Some("/b/c"));
        assert_eq!(own_path("0::/\n"), Some("/"));
        assert_eq!(own_path("0::/../b\n"), None);
        assert_eq!(own_path("1:cpu:/a\n"), None);
    }

    /// A folder stands in for the hierarchy: what is written is seen, and that directories are made.
    #[test]
    fn parents_hand_down_what_they_have() {
        let mount = tempfile::tempdir().unwrap();
        for dir in ["", "a"] {
            let dir = mount.path().join(dir);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("cgroup.controllers"), "memory").unwrap();
        }
        make(mount.path(), "/a/b").unwrap();
        for dir in ["", "a"] {
            let written = fs::read_to_string(mount.path().join(dir).join("cgroup.subtree_control"));
            assert_eq!(written.unwrap(), "+memory", "{dir:?}");
        }
        assert!(mount.path().join("a/b").is_dir());
        assert!(!mount.path().join("a/b/cgroup.subtree_control").exists());
    }

    /// Enabling even one controller beside them would make its children unusable.
    #[test]
    fn a_group_with_processes_of_others_is_left_alone() {
        let mount = tempfile::tempdir().unwrap();
        let group = mount.path().join("theirs");
        fs::create_dir(&group).unwrap();
        for (name, text) in [
            ("cgroup.controllers", "cpu"),
            ("cgroup.type", "domain"),
            ("cgroup.procs", "17"),
        ] {
            fs::write(group.join(name), text).unwrap();
        }
        let error = make(mount.path(), "/theirs/a").unwrap_err();
        assert!(
            error.to_string().contains("has processes of others"),
            "{error}"
        );
        assert!(!group.join("cgroup.subtree_control").exists());
        assert!(!group.join("a").exists());
    }

    #[test]
    fn processes_are_moved_to_a_leaf() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cgroup.procs"), "0\n").unwrap();
        evacuate(dir.path()).unwrap();
        assert!(dir.path().join(LEAF).is_dir());
        // Nothing is taken off a plain file's list, so that the rounds end.
        fs::write(dir.path().join("cgroup.procs"), "17\n").unwrap();
        assert!(evacuate(dir.path()).is_err());
        let moved = fs::read_to_string(dir.path().join(LEAF).join("cgroup.procs"));
        assert_eq!(moved.unwrap(), "17");
    }
}
