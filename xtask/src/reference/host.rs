//! What the cluster changes on its host, and how that is undone.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use knarr_testkit::Network;

/// Where a kubelet keeps its pods.
pub const KUBELET: &str = "/var/lib/kubelet";
/// Paths that upstream's programs have written into them. In the cluster's mount namespace they are its own.
pub const PRIVATE: [&str; 5] = [
    "/etc/kubernetes",
    "/run/containerd",
    KUBELET,
    "/var/log/containers",
    "/var/log/pods",
];
/// What lies over [`PRIVATE`], below the cluster's directory.
pub const PRIVATE_FOLDER: &str = "private";
/// Those of [`PRIVATE`] that were not there before, below the cluster's directory.
const MADE: &str = "made";
/// The kernel's settings as they were, below the cluster's directory.
const SETTINGS: &str = "settings";
const KERNEL: &str = "/proc/sys";
/// What the kubelet sets, for the whole machine.
const KERNEL_SETTINGS: [&str; 6] = [
    "vm/overcommit_memory",
    "vm/panic_on_oom",
    "kernel/panic",
    "kernel/panic_on_oops",
    "kernel/keys/root_maxkeys",
    "kernel/keys/root_maxbytes",
];
const GROUPS_DEADLINE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);

/// The file in a cluster's directory that lies over a private path.
pub fn private(dir: &Path, path: &str) -> PathBuf {
    dir.join(PRIVATE_FOLDER).join(path.replace('/', "-"))
}

/// Makes the places of private mounts, and the control groups below which pods are; notes what the kubelet will change.
pub fn make(dir: &Path, name: &str) -> Result<()> {
    keep_settings(dir)?;
    let mut made = String::new();
    for path in PRIVATE {
        fs::create_dir_all(private(dir, path))?;
        if !Path::new(path).exists() {
            made.push_str(&format!("{path}\n"));
            fs::write(dir.join(MADE), &made)?;
            fs::create_dir_all(path)?;
        }
    }
    make_groups(name)
}

/// Makes a control group in every hierarchy.
pub fn make_groups(name: &str) -> Result<()> {
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
        // In version 1 a group can hold no process before it has processors and memory.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if group.join(file).exists() {
                fs::write(group.join(file), fs::read(hierarchy.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// Removes all that is left, once no process is.
pub fn remove(dir: &Path, name: &str) -> Result<()> {
    let deadline = Instant::now() + GROUPS_DEADLINE;
    for hierarchy in hierarchies() {
        remove_group(&hierarchy.join(name), deadline)?;
    }
    Network::remove(name);
    let made = fs::read_to_string(dir.join(MADE)).unwrap_or_default();
    for path in made.lines() {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {path}"));
            }
            _ => {}
        }
    }
    remove_file(&dir.join(MADE))?;
    restore_settings(dir)
}

/// Removes a control group and those below it; the kernel needs a moment after the last process.
fn remove_group(group: &Path, deadline: Instant) -> Result<()> {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(group) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error).with_context(|| format!("cannot remove {}", group.display()));
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

/// Where control groups are mounted.
pub fn hierarchies() -> BTreeSet<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table.lines().map(|line| line.split(' '));
    mounts
        .filter_map(|mut fields| {
            let place = fields.nth(1)?;
            fields.next()?.starts_with("cgroup").then(|| place.into())
        })
        .collect()
}

/// The kernel's settings as they were; they are so again when this is dropped.
pub struct Settings(PathBuf);

impl Settings {
    /// Notes them in a directory.
    pub fn keep(dir: &Path) -> Result<Self> {
        keep_settings(dir)?;
        Ok(Self(dir.to_owned()))
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        if let Err(error) = restore_settings(&self.0) {
            eprintln!("the kernel's settings are not as they were: {error:#}");
        }
    }
}

/// Notes the kernel's settings, so that they can be as they were also when this process was killed meanwhile.
fn keep_settings(dir: &Path) -> Result<()> {
    let mut text = String::new();
    for name in KERNEL_SETTINGS {
        let path = Path::new(KERNEL).join(name);
        let value =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        text.push_str(&format!("{name} {}\n", value.trim()));
    }
    Ok(fs::write(dir.join(SETTINGS), text)?)
}

fn restore_settings(dir: &Path) -> Result<()> {
    let text = fs::read_to_string(dir.join(SETTINGS)).unwrap_or_default();
    for (name, value) in text.lines().filter_map(|line| line.split_once(' ')) {
        let path = Path::new(KERNEL).join(name);
        let same = fs::read_to_string(&path).is_ok_and(|now| now.trim() == value);
        if !same {
            fs::write(&path, value)
                .with_context(|| format!("cannot set {} to {value}", path.display()))?;
        }
    }
    remove_file(&dir.join(SETTINGS))
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_paths_lie_apart() {
        let dir = Path::new("/tmp/cluster");
        let places: BTreeSet<_> = PRIVATE.iter().map(|path| private(dir, path)).collect();
        assert_eq!(places.len(), PRIVATE.len());
        assert!(
            places
                .iter()
                .all(|place| place.parent() == Some(&dir.join(PRIVATE_FOLDER)))
        );
    }
}
