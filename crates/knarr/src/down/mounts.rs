//! What is mounted in a data directory. What a cluster has mounted there goes with it; what an administrator has, such as a disk for the
//! volumes of claims, stays: without it the next start would find none of them.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use knarr_host::mounts::unescape;
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
};

/// The kubelet's root directory, which may be a mount of its own.
const KUBELET: &str = "kubelet";
/// Directories of a node's data directory below which it mounts.
const OF_NODES: [&str; 3] = [KUBELET, "runtime", "run"];
/// Where the data directories of further nodes are.
const FURTHER_NODES: &str = "nodes";

/// Unmounts what a cluster has mounted in its data directory, and removes its pods' directories.
pub fn release(data_dir: &Path) -> Result<()> {
    let dir = real(data_dir);
    unmount(|point, table| match point.strip_prefix(&dir) {
        Ok(place) => {
            is_of_a_node(place) || (place.ends_with(KUBELET) && is_bound_onto_itself(table, point))
        }
        Err(_) => false,
    })?;
    remove_pods(&dir.join(KUBELET))
}

/// As [`release`], for a root directory of the kubelet that is elsewhere, where all mounts are the kubelet's and its drivers'.
pub fn release_outside(root: &Path) -> Result<()> {
    let root = real(root);
    unmount(|point, table| {
        point.starts_with(&root) && (point != root || is_bound_onto_itself(table, point))
    })?;
    remove_pods(&root)
}

/// Unmounts what is `chosen`, the last first.
fn unmount(chosen: impl Fn(&Path, &[Mount]) -> bool) -> Result<()> {
    let table = table()?;
    let points = table.iter().rev().map(|mount| mount.point.as_path());
    for point in points.filter(|point| chosen(point, &table)) {
        match umount2(point, MntFlags::MNT_DETACH) {
            Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
            Err(errno) => {
                return Err(errno).with_context(|| format!("cannot unmount {}", point.display()));
            }
        }
    }
    Ok(())
}

fn remove_pods(kubelet: &Path) -> Result<()> {
    let pods = kubelet.join("pods");
    knarr_host::remove(&pods).with_context(|| format!("cannot remove {}", pods.display()))
}

/// Deletes a data directory once what the cluster had mounted there is gone. One that is a mount point is emptied: an administrator has
/// made it.
pub fn delete(data_dir: &Path) -> Result<()> {
    let dir = real(data_dir);
    let table = table()?;
    let mut points = table.iter().map(|mount| mount.point.as_path());
    if let Some(point) = points.find(|point| point.starts_with(&dir) && *point != dir) {
        bail!(
            "cannot delete {}: something is mounted on {}, whose files would be deleted, too; unmount it first",
            data_dir.display(),
            point.display()
        );
    }
    let cannot = || format!("cannot delete {}", data_dir.display());
    if table.iter().all(|mount| mount.point != dir) {
        return knarr_host::remove(data_dir).with_context(cannot);
    }
    for entry in fs::read_dir(&dir).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        knarr_host::remove(&path).with_context(|| format!("cannot delete {}", path.display()))?;
    }
    Ok(())
}

/// As the kernel lists what is mounted there; a directory that has gone has nothing.
fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Whether a node mounts at a place in the data directory.
fn is_of_a_node(place: &Path) -> bool {
    let mut names = place.components().map(Component::as_os_str);
    let mut first = names.next();
    if first.is_some_and(|name| name == FURTHER_NODES) {
        first = names.nth(1);
    }
    first.is_some_and(|name| OF_NODES.iter().any(|own| name == *own)) && names.next().is_some()
}

/// A line of the kernel's table of mounts.
struct Mount {
    device: String,
    /// Which directory of the device is seen.
    within: PathBuf,
    point: PathBuf,
}

/// In the order they were made.
fn table() -> Result<Vec<Mount>> {
    let text = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    Ok(parse(&text))
}

fn parse(table: &str) -> Vec<Mount> {
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(2);
        Some(Mount {
            device: fields.next()?.to_owned(),
            within: unescape(fields.next()?),
            point: unescape(fields.next()?),
        })
    });
    mounts.collect()
}

/// Whether what is seen at `dir` is a mount of just that directory, as the kubelet makes it for propagation, and not a disk.
fn is_bound_onto_itself(table: &[Mount], dir: &Path) -> bool {
    let mut own = None;
    let mut outer: Option<&Mount> = None;
    for mount in table {
        let length = |mount: &Mount| mount.point.as_os_str().len();
        if mount.point == dir {
            own = Some(mount);
        } else if dir.starts_with(&mount.point)
            && outer.is_none_or(|outer| length(outer) <= length(mount))
        {
            outer = Some(mount);
        }
    }
    let (Some(own), Some(outer)) = (own, outer) else {
        return false;
    };
    let place = dir
        .strip_prefix(&outer.point)
        .map(|below| outer.within.join(below));
    own.device == outer.device && place.is_ok_and(|place| place == own.within)
}

#[cfg(test)]
mod tests;
