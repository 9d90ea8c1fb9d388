//! Control groups of hierarchies in which only another runtime makes any: the embedded one leaves named ones (systemd's) and
//! the version 2 of a hybrid host alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Where the kubelet has its pods, below the cluster's own group.
const PODS: &str = "kubepods";

/// Removes the parent groups of pods and then `root` from every hierarchy, where nothing is in them. Blocks.
pub fn remove_empty(root: &Path) -> Result<()> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    for hierarchy in hierarchies(&table) {
        let group = hierarchy.join(root.strip_prefix("/").unwrap_or(root));
        let pods = group.join(PODS);
        remove_tree(&pods).with_context(|| format!("cannot remove {}", pods.display()))?;
        if group != hierarchy {
            // Others may have groups in it.
            let _ = fs::remove_dir(&group);
        }
    }
    Ok(())
}

/// Mount points of control groups.
fn hierarchies(table: &str) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| {
            let (left, right) = line.split_once(" - ")?;
            let kind = right.split(' ').next()?;
            let path = left.split(' ').nth(4)?;
            matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(path))
        })
        .collect()
}

/// Removes a group and those below it; one with processes is an error.
fn remove_tree(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(group) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let table = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
                     32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
                     40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                     41 31 0:38 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n";
        let expected = ["cpu", "systemd", "unified"].map(|n| Path::new("/sys/fs/cgroup").join(n));
        assert_eq!(hierarchies(table), expected);
    }

    #[test]
    fn only_empty_groups_go() {
        let group = std::env::temp_dir().join(format!("knarr-groups-{}", std::process::id()));
        let pod = group.join("burstable/pod1");
        fs::create_dir_all(&pod).unwrap();
        let busy = pod.join("cgroup.procs");
        fs::write(&busy, "1").unwrap();
        remove_tree(&group).unwrap_err();
        assert!(pod.exists());
        fs::remove_file(&busy).unwrap();
        remove_tree(&group).unwrap();
        assert!(!group.exists());
        remove_tree(&group).unwrap();
    }
}
