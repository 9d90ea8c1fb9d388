//! Memory and CPU of processes, from /proc.

use std::{
    collections::{HashMap, HashSet},
    fs,
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

#[cfg(test)]
mod tests;

/// Resident memory in bytes: all of it, and what is backed by no file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub rss: u64,
    pub anonymous: u64,
}

impl std::ops::AddAssign for Memory {
    fn add_assign(&mut self, other: Self) {
        self.rss += other.rss;
        self.anonymous += other.anonymous;
    }
}

/// Memory of one process; zero when it has ended.
pub fn memory(pid: u32) -> Memory {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .map(|s| parse_status(&s))
        .unwrap_or_default()
}

fn parse_status(status: &str) -> Memory {
    let kib = |name: &str| {
        status
            .lines()
            .find_map(|line| {
                line.strip_prefix(name)?
                    .trim()
                    .strip_suffix("kB")?
                    .trim()
                    .parse()
                    .ok()
            })
            .unwrap_or(0u64)
    };
    Memory {
        rss: 1024 * kib("VmRSS:"),
        anonymous: 1024 * kib("RssAnon:"),
    }
}

/// CPU time by thread, to the nanosecond.
pub type Cpu = HashMap<u32, Duration>;

/// What each thread of a process has used so far.
pub fn cpu(pid: u32) -> Cpu {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten();
    tasks
        .filter_map(|task| {
            let thread = task.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(task.path().join("schedstat")).ok()?;
            Some((
                thread,
                Duration::from_nanos(line.split(' ').next()?.parse().ok()?),
            ))
        })
        .collect()
}

/// What was used between two looks; a thread that ended between them counts as idle.
pub fn spent(before: &Cpu, after: &Cpu) -> Duration {
    after
        .iter()
        .map(|(thread, used)| used.saturating_sub(before.get(thread).copied().unwrap_or_default()))
        .sum()
}

/// `root`, its descendants, and whatever else lives in the network namespace at `netns` (a shim has no parent),
/// with descendants of that; without this process.
pub fn members(root: u32, netns: &Path) -> HashSet<u32> {
    let inode = fs::metadata(netns).map(|m| m.ino()).ok();
    let mut found = HashSet::from([root]);
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == std::process::id() {
            continue;
        }
        let theirs = fs::metadata(entry.path().join("ns/net"))
            .map(|m| m.ino())
            .ok();
        if inode.is_some() && theirs == inode {
            found.insert(pid);
        }
        if let Some(parent) = fs::read_to_string(entry.path().join("stat"))
            .ok()
            .and_then(|s| parent(&s))
        {
            parents.push((pid, parent));
        }
    }
    close(&mut found, &parents);
    found
}

/// Adds children until there are none.
fn close(found: &mut HashSet<u32>, parents: &[(u32, u32)]) {
    loop {
        let before = found.len();
        for (pid, parent) in parents {
            if found.contains(parent) {
                found.insert(*pid);
            }
        }
        if found.len() == before {
            return;
        }
    }
}

/// The fourth field of /proc/PID/stat; the second, the name, may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
