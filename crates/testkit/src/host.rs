//! What a cluster has on this machine: processes, mounts, cgroups; finding it and removing it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::network;

/// Names of everything that clusters of this kit have: the test's process id and a number follow.
pub const PREFIX: &str = "knarr-test-";

/// How long killed processes may take to be gone.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// False, with the reason printed, where clusters cannot run.
pub fn can_run_clusters() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("skipped: starting a cluster needs root");
    }
    root
}

/// Where clusters have their directories.
pub fn directory(id: &str) -> PathBuf {
    std::env::temp_dir().join(id)
}

/// Processes of a cluster, by network namespace and control group.
pub fn processes(id: &str) -> Vec<i32> {
    let inodes: Vec<u64> = [id.to_owned(), format!("{id}-client")]
        .iter()
        .filter_map(|name| fs::metadata(Path::new("/run/netns").join(name)).ok())
        .map(|namespace| namespace.ino())
        .collect();
    let own = std::process::id().cast_signed();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != own)
        .filter(|pid| {
            let namespace = fs::metadata(format!("/proc/{pid}/ns/net")).map(|n| n.ino());
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            namespace.is_ok_and(|inode| inodes.contains(&inode))
                || groups.lines().any(|line| in_group(line, id))
        })
        .collect()
}

/// Whether a line of /proc/PID/cgroup is in the group `/ID` or below.
fn in_group(line: &str, id: &str) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    let rest = path
        .strip_prefix('/')
        .and_then(|path| path.strip_prefix(id));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A process as a person would name it.
pub fn describe(pid: i32) -> String {
    format!("process {pid} {}", command_line(pid))
}

/// A process's program and arguments, with spaces between.
pub fn command_line(pid: i32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&line)
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

/// Mount points below a directory, the innermost first.
pub fn mounts(dir: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let mut points: Vec<PathBuf> = points
        .map(|point| PathBuf::from(point.replace("\\040", " ")))
        .filter(|point| point.starts_with(dir))
        .collect();
    points.reverse();
    points
}

/// Unmounts everything below a directory.
pub fn unmount_below(dir: &Path) {
    for point in mounts(dir) {
        let _ = umount2(&point, MntFlags::MNT_DETACH);
    }
}

/// The cluster's control groups in every hierarchy, the innermost first.
pub fn cgroups(id: &str) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies() {
        below(&hierarchy.join(id), &mut groups);
    }
    groups
}

fn hierarchies() -> BTreeSet<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>());
    mounts
        .filter(|fields| fields.len() > 2 && fields[2].starts_with("cgroup"))
        .map(|fields| PathBuf::from(fields[1]))
        .collect()
}

fn below(group: &Path, found: &mut Vec<PathBuf>) {
    if !group.is_dir() {
        return;
    }
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            below(&entry.path(), found);
        }
    }
    found.push(group.to_owned());
}

/// Removes everything of a cluster, whatever state it is in.
pub fn remove(id: &str) {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let left = processes(id);
        if left.is_empty() {
            break;
        }
        if Instant::now() > deadline {
            eprintln!(
                "testkit: these do not end: {:?}",
                left.iter().map(|p| describe(*p)).collect::<Vec<_>>()
            );
            break;
        }
        for pid in left {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(PAUSE);
    }
    unmount_below(&directory(id));
    for group in cgroups(id) {
        // The kernel needs a moment for the last process of a group.
        while fs::remove_dir(&group).is_err() && group.exists() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
    }
    network::delete(id);
    match fs::remove_dir_all(directory(id)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            eprintln!(
                "testkit: cannot remove {}: {error}",
                directory(id).display()
            );
        }
        _ => {}
    }
}

/// Removes what test processes left that were killed.
pub fn sweep() {
    let folders = fs::read_dir(std::env::temp_dir())
        .into_iter()
        .flatten()
        .flatten();
    let mut names: BTreeSet<String> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.extend(network::namespaces());
    for hierarchy in hierarchies() {
        let groups = fs::read_dir(hierarchy).into_iter().flatten().flatten();
        names.extend(groups.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    }
    for name in names {
        let id = name.strip_suffix("-client").unwrap_or(&name);
        if owner(id).is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            eprintln!("testkit: removing {id}, whose test is gone");
            remove(id);
        }
    }
}

/// The test process that made a cluster.
fn owner(id: &str) -> Option<u32> {
    let (pid, number) = id.strip_prefix(PREFIX)?.split_once('-')?;
    number.parse::<u32>().ok()?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owner() {
        assert_eq!(owner("knarr-test-12-0"), Some(12));
        for other in [
            "knarr-test-12",
            "knarr-test-x-0",
            "knarr-test-12-x",
            "other-12-0",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }

    #[test]
    fn groups_are_compared_by_component() {
        let cases = [
            ("4:memory:/knarr-test-1-2/pod/a", true),
            ("0::/knarr-test-1-2", true),
            ("0::/knarr-test-1-20", false),
            ("0::/a/knarr-test-1-2", false),
            ("", false),
        ];
        for (line, wanted) in cases {
            assert_eq!(in_group(line, "knarr-test-1-2"), wanted, "{line}");
        }
    }
}
