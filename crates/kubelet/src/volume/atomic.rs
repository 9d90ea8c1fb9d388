//! Files that change all at once: the layout of upstream's AtomicWriter, which programs that watch their
//! configuration rely on.
//!
//!     name -> ..data/name          one symbolic link for each first path component
//!     ..data -> ..2026_11_23_...   renamed into place on a change
//!     ..2026_11_23_.../name        the files

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::{Component, Path},
};

use knarr_host::Directory;
use rustix::fs::{AtFlags, FileType, Uid, chownat};

use super::ownership;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Contents and mode of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub content: Vec<u8>,
    pub mode: u32,
    /// Owner, when it is not root: token files of pods that run as one user.
    pub owner: Option<u32>,
}

/// Files by path relative to the volume.
pub(crate) type Files = BTreeMap<String, File>;

/// Makes `dir` show exactly `files`; does nothing when it already does. Whatever has got into the directory, nothing is
/// read or written outside of it.
pub(crate) fn write(dir: &Path, files: &Files, fs_group: Option<i64>) -> io::Result<()> {
    for path in files.keys() {
        check(path)?;
    }
    let top = Directory::open(dir)?;
    let old = top.read_link(Path::new(DATA)).ok();
    if old.is_some_and(|old| top.child(&old).is_ok_and(|old| same(&old, files))) {
        // A crash may have come between the swap and the links.
        return link(&top, files);
    }
    let name = format!("{}{}", stamp(), fastrand::u32(..));
    top.make_directories(Path::new(&name), 0o755)?;
    let fresh = top.child(Path::new(&name))?;
    for (path, file) in files {
        let path = Path::new(path);
        if let Some(parent) = path.parent() {
            fresh.make_directories(parent, 0o755)?;
        }
        fresh.create(path, &file.content, file.mode)?;
        give(&fresh, path, file.owner)?;
    }
    if let Some(group) = fs_group {
        ownership::apply(&dir.join(&name), group, false)?;
        ownership::directory(&top, group)?;
    }
    let swap = Path::new(DATA_NEW);
    top.remove(swap)?;
    top.link(Path::new(&name), swap)?;
    top.rename(swap, Path::new(DATA))?;
    link(&top, files)?;
    clean(&top, &name, files)
}

fn give(within: &Directory, path: &Path, owner: Option<u32>) -> io::Result<()> {
    let Some(owner) = owner.map(Uid::from_raw) else {
        return Ok(());
    };
    chownat(within, path, Some(owner), None, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn check(path: &str) -> io::Result<()> {
    let relative = Path::new(path);
    let plain = relative
        .components()
        .all(|c| matches!(c, Component::Normal(_)));
    if path.is_empty() || !plain || path.starts_with("..") {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("invalid path {path:?}"),
        ));
    }
    Ok(())
}

fn stamp() -> String {
    jiff::Timestamp::now()
        .strftime("..%Y_%m_%d_%H_%M_%S.")
        .to_string()
}

fn first(path: &str) -> &str {
    path.split('/').next().unwrap_or(path)
}

/// A link belongs to whom its file does: programs that mind whose their key is look at both.
fn link(top: &Directory, files: &Files) -> io::Result<()> {
    let links: BTreeMap<&str, Option<u32>> = files
        .iter()
        .map(|(path, file)| (first(path), file.owner))
        .collect();
    for (name, owner) in links {
        let path = Path::new(name);
        match top.link(&Path::new(DATA).join(name), path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Err(_) => {}
            Ok(()) => give(top, path, owner)?,
        }
    }
    Ok(())
}

/// Removes links to what is no longer there, and all generations but the present one.
fn clean(top: &Directory, present: &str, files: &Files) -> io::Result<()> {
    let names: BTreeSet<&str> = files.keys().map(|path| first(path)).collect();
    for (name, kind) in top.entries()? {
        let text = name.to_string_lossy();
        let old = kind == FileType::Directory && text.starts_with("..") && text != present;
        let dangling = kind == FileType::Symlink && text != DATA && !names.contains(&*text);
        if old || dangling {
            top.remove(Path::new(&name))?;
        }
    }
    Ok(())
}

fn same(old: &Directory, files: &Files) -> bool {
    let mut found = 0;
    let counted = knarr_host::walk(old, |entry| {
        found += usize::from(entry.kind() != FileType::Directory);
        Ok(ControlFlow::Continue(()))
    });
    counted.is_ok()
        && found == files.len()
        && files.iter().all(|(path, file)| {
            old.read_head(Path::new(path), file.content.len() + 1)
                .is_ok_and(|head| head == file.content)
        })
}

#[cfg(test)]
mod tests;
