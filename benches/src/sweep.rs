//! What a cluster of the bench may leave behind when `knarr down` fails: processes, mounts and control groups, all of
//! which carry names that the bench chose.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[cfg(test)]
mod tests;

/// For killed processes to be gone from their groups.
const END_TIMEOUT: Duration = Duration::from_secs(5);
const END_POLL: Duration = Duration::from_millis(20);

/// Kills whatever runs in the control group `root` (`/name`) and those below it.
pub fn processes(root: &str) {
    let deadline = Instant::now() + END_TIMEOUT;
    while Instant::now() < deadline {
        let mut left = Vec::new();
        for group in hierarchies(root) {
            collect(&group, &mut left);
        }
        if left.is_empty() {
            return;
        }
        for pid in left {
            // One that ended meanwhile is what is wanted.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        thread::sleep(END_POLL);
    }
    eprintln!("processes are left in the control group {root}");
}

/// Unmounts what is mounted below `directory`, the last first.
pub fn mounts(directory: &Path) -> Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    for mount in below(&table, directory).into_iter().rev() {
        umount2(&mount, MntFlags::MNT_DETACH)
            .with_context(|| format!("cannot unmount {}", mount.display()))?;
    }
    Ok(())
}

/// Mount points below `directory`, in the order they were made. Blanks are the only escapes our paths can need.
fn below(table: &str, directory: &Path) -> Vec<PathBuf> {
    table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| PathBuf::from(field.replace("\\040", " ")))
        .filter(|path| path.starts_with(directory))
        .collect()
}

/// Removes the group `root` and those below it; a group that still holds processes stays.
pub fn cgroups(root: &str) {
    for group in hierarchies(root) {
        remove(&group);
    }
}

/// Where the group may be: in the unified hierarchy, or in each of the old ones.
fn hierarchies(root: &str) -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    let name = root.trim_start_matches('/');
    let mut all = vec![base.join(name)];
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        // Some hierarchies have a second name, which is a link.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.push(entry.path().join(name));
        }
    }
    all.retain(|group| group.is_dir());
    all
}

fn children(group: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(group).into_iter().flatten().flatten();
    let is_dir = |entry: &fs::DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    entries.filter(is_dir).map(|entry| entry.path()).collect()
}

fn collect(group: &Path, pids: &mut Vec<i32>) {
    let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    // 0 stands for a process of another pid namespace, and to kill it would be to kill ourselves.
    pids.extend(
        list.lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid: &i32| *pid > 0),
    );
    for child in children(group) {
        collect(&child, pids);
    }
}

fn remove(group: &Path) {
    for child in children(group) {
        remove(&child);
    }
    if let Err(error) = fs::remove_dir(group) {
        eprintln!("cannot remove {}: {error}", group.display());
    }
}
