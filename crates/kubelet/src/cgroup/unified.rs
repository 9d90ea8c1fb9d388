//! Version 2: one hierarchy, in which a group hands its controllers down to its children, or has processes, but not both. Only
//! the real root may do both.

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use knarr_cri::cpu;

use super::{Setting, join};
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

pub(super) fn settings(dir: &Path, limits: &PodLimits) -> Vec<Setting> {
    let mut settings = Vec::new();
    let mut set = |file: &str, value: String| settings.push((dir.join(file), value));
    if limits.shares != 0 {
        set("cpu.weight", cpu::weight(limits.shares).to_string());
    }
    if let Some(quota) = limits.quota {
        set("cpu.max", format!("{quota} {CPU_PERIOD_MICROS}"));
    }
    if let Some(memory) = limits.memory {
        set("memory.max", memory.to_string());
    }
    settings
}

#[cfg(test)]
mod tests;
