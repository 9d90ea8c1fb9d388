//! Control groups of hierarchies in which only another runtime makes any: the embedded one leaves named ones (systemd's) and
//! the version 2 of a hybrid host alone.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// Where the kubelet has its pods, below the cluster's own group.
const PODS: &str = "kubepods";
/// Where the runtime has its shims, each in a group named by its sandbox, and what they are called.
const SHIMS: &str = "shims";
const SHIM: &str = "knarr-shim";

/// Removes the parent groups of pods, then `root`, the cluster's own, and the one above it, from every hierarchy, where
/// nothing is in them. Blocks.
pub fn remove_empty(root: &Path) -> Result<()> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    for hierarchy in hierarchies(&table) {
        let group = hierarchy.join(root.strip_prefix("/").unwrap_or(root));
        let pods = group.join(PODS);
        remove_tree(&pods).with_context(|| format!("cannot remove {}", pods.display()))?;
        for group in group.ancestors().take(2).filter(|g| *g != hierarchy) {
            // Others may have groups in it.
            let _ = fs::remove_dir(group);
        }
    }
    Ok(())
}

/// The control groups of that name, up to `depth` below the root of any hierarchy, as paths from there.
pub fn named(name: &str, depth: usize) -> Result<BTreeSet<PathBuf>> {
    let table =
        fs::read_to_string("/proc/self/mountinfo").context("cannot read the mount table")?;
    let mut found = BTreeSet::new();
    for hierarchy in hierarchies(&table) {
        below(&hierarchy, Path::new("/"), name, depth, &mut found)
            .with_context(|| format!("cannot look at {}", hierarchy.display()))?;
    }
    Ok(found)
}

fn below(
    directory: &Path,
    group: &Path,
    name: &str,
    depth: usize,
    found: &mut BTreeSet<PathBuf>,
) -> io::Result<()> {
    if depth == 0 {
        return Ok(());
    }
    let entries = match fs::read_dir(directory) {
        // Groups come and go.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries.flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let group = group.join(entry.file_name());
        match entry.file_name() == name {
            true => drop(found.insert(group)),
            false => below(&entry.path(), &group, name, depth - 1, found)?,
        }
    }
    Ok(())
}

/// The groups, as [`named`] has them, of whoever has shims for sandboxes below `data_dir`: also of further nodes of a cluster, whose
/// names only their own directories tell.
pub fn of_shims(data_dir: &Path) -> io::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for process in fs::read_dir("/proc")?.flatten() {
        // Others end meanwhile, or are no processes at all.
        let read = |name: &str| fs::read_to_string(process.path().join(name)).unwrap_or_default();
        let line = read("cmdline");
        let mut arguments = line.split('\0');
        let (Some(SHIM), Some(sandbox)) = (arguments.next(), arguments.next()) else {
            continue;
        };
        let sandbox = Path::new(sandbox);
        if sandbox.starts_with(data_dir) {
            found.extend(parents_of_shim(&read("cgroup"), sandbox));
        }
    }
    Ok(found)
}

/// The groups that have the shim's own, by what the kernel says of it: a name of a process may be anybody's.
fn parents_of_shim(groups: &str, sandbox: &Path) -> Vec<PathBuf> {
    let groups = groups.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let parents = groups.filter_map(|group| {
        let group = Path::new(group);
        let shims = group.parent()?;
        let is_its = group.file_name() == sandbox.file_name() && shims.ends_with(SHIMS);
        // Never the root: what is there is everybody's.
        let parent = shims.parent().filter(|parent| parent.parent().is_some())?;
        is_its.then(|| parent.to_owned())
    });
    parents.collect()
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
mod tests;
