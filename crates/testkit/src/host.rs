//! What a cluster has on this machine: processes, mounts, cgroups; finding it and removing it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::network;

/// Names of everything that clusters of this kit have begin so.
const PREFIX: &str = "knarr-test-";
const LOCK_SUFFIX: &str = ".lock";
const RANDOM_CHARACTERS: usize = 10;

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

/// A cluster's name, and the lock by which others see that its test lives: the kernel gives it back when the test ends, however
/// that happens. A process id would not do: there may be pid namespaces, and ids are used again.
pub struct Name {
    id: String,
    lock: PathBuf,
    _held: Flock<File>,
}

impl Name {
    pub fn new() -> Result<Self> {
        loop {
            let (file, lock) = tempfile::Builder::new()
                .prefix(PREFIX)
                .suffix(LOCK_SUFFIX)
                .rand_bytes(RANDOM_CHARACTERS)
                .tempfile()
                .context("cannot make a lock file")?
                .keep()?;
            let held = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| errno)
                .context("cannot lock a file of one's own")?;
            // Another test's sweep may have been quicker, and has taken it for a dead one's.
            let same = |there: fs::Metadata| {
                held.metadata()
                    .is_ok_and(|here| (here.dev(), here.ino()) == (there.dev(), there.ino()))
            };
            let id = id_of(&lock);
            if let Some(id) = id.filter(|_| fs::metadata(&lock).is_ok_and(same)) {
                return Ok(Self {
                    id,
                    lock,
                    _held: held,
                });
            }
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.lock);
    }
}

/// The cluster that a lock file is of.
fn id_of(lock: &Path) -> Option<String> {
    let name = lock.file_name()?.to_str()?.strip_suffix(LOCK_SUFFIX)?;
    name.starts_with(PREFIX).then(|| name.to_owned())
}

/// A control group for a cluster and others together.
pub fn shared(id: &str) -> String {
    format!("{id}.shared")
}

/// Where clusters have their directories.
pub fn directory(id: &str) -> PathBuf {
    std::env::temp_dir().join(id)
}

/// How the names of network namespaces of a cluster's other nodes begin, after what the binary calls the cluster.
pub fn node_namespaces(instance: &str) -> String {
    format!("knarr-{instance}-")
}

/// The network namespaces of a cluster's other nodes.
pub fn node_namespaces_of(instance: &str) -> impl Iterator<Item = PathBuf> {
    let prefix = node_namespaces(instance);
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(move |path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&prefix))
    })
}

/// Removes the network namespaces of a cluster's other nodes, which a test has left that failed.
pub fn remove_node_namespaces(instance: &str) {
    for path in node_namespaces_of(instance) {
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = fs::remove_file(&path);
    }
}

/// Processes of a cluster: those in its network namespaces, and in a control group of one of these names.
pub fn processes(id: &str, groups: &[&str]) -> Vec<i32> {
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
            let lines = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            namespace.is_ok_and(|inode| inodes.contains(&inode))
                || lines.lines().any(|line| in_group(line, groups))
        })
        .collect()
}

/// Whether a line of /proc/PID/cgroup is in a group of one of these names or below.
fn in_group(line: &str, names: &[&str]) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    path.split('/').any(|part| names.contains(&part))
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

/// Control groups of these names in every hierarchy, there or one level down, with all below them; the innermost first.
pub fn cgroups(names: &[&str]) -> Vec<PathBuf> {
    let mut groups = Vec::new();
    for hierarchy in hierarchies() {
        let tops = fs::read_dir(&hierarchy).into_iter().flatten().flatten();
        let parents: Vec<PathBuf> = std::iter::once(hierarchy)
            .chain(tops.map(|entry| entry.path()))
            .collect();
        for name in names {
            for parent in &parents {
                below(&parent.join(name), &mut groups);
            }
        }
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
pub fn remove(id: &str, groups: &[&str]) {
    let deadline = Instant::now() + KILL_DEADLINE;
    loop {
        let left = processes(id, groups);
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
    for group in cgroups(groups) {
        // The kernel needs a moment for the last process of a group.
        while fs::remove_dir(&group).is_err() && group.exists() && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
    }
    network::delete(id);
    // A pod of the cluster may have made directories deeper than a stack is.
    if let Err(error) = knarr_host::remove(&directory(id)) {
        eprintln!(
            "testkit: cannot remove {}: {error}",
            directory(id).display()
        );
    }
}

/// Removes what test processes left that were killed: what has a lock file that nobody holds.
pub fn sweep() {
    let folder = fs::read_dir(std::env::temp_dir());
    for entry in folder.into_iter().flatten().flatten() {
        let path = entry.path();
        let Some(id) = id_of(&path) else { continue };
        let Ok(file) = File::open(&path) else {
            continue;
        };
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(_held) => {
                eprintln!("testkit: removing {id}, whose test is gone");
                let instance = fs::read_to_string(directory(&id).join("data/instance"));
                remove(&id, &[&id, &shared(&id)]);
                if let Ok(instance) = instance {
                    remove_node_namespaces(instance.trim());
                }
                let _ = fs::remove_file(&path);
            }
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => eprintln!("testkit: cannot lock {}: {errno}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_for_as_long_as_it_is_held() {
        let name = Name::new().unwrap();
        let folder = directory(name.id());
        fs::create_dir(&folder).unwrap();
        sweep();
        assert!(folder.exists(), "swept although its test lives");
        // As if the test had been killed: the kernel gives the lock back, the file stays.
        let (lock, kept) = (name.lock.clone(), name.lock.with_extension("kept"));
        fs::hard_link(&lock, &kept).unwrap();
        drop(name);
        assert!(!lock.exists());
        fs::rename(&kept, &lock).unwrap();
        // Another test's sweep may be about it.
        let gone = crate::eventually(KILL_DEADLINE, "the cluster is gone", || {
            sweep();
            anyhow::ensure!(!folder.exists() && !lock.exists());
            Ok(())
        });
        gone.unwrap();
    }

    #[test]
    fn groups_are_compared_by_component() {
        let cases = [
            ("4:memory:/knarr-test-1/pod/a", true),
            ("0::/knarr-test-1", true),
            ("0::/a/knarr-test-1", true),
            ("0::/a/abcdefgh/shims", true),
            ("0::/knarr-test-10", false),
            ("", false),
        ];
        for (line, wanted) in cases {
            assert_eq!(
                in_group(line, &["knarr-test-1", "abcdefgh"]),
                wanted,
                "{line}"
            );
        }
    }
}
