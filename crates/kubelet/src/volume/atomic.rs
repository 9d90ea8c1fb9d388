//! Files that change all at once: the layout of upstream's AtomicWriter, which programs that watch their
//! configuration rely on.
//!
//!     name -> ..data/name          one symbolic link for each first path component
//!     ..data -> ..2026_11_23_...   renamed into place on a change
//!     ..2026_11_23_.../name        the files

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Component, Path},
};

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

/// Makes `dir` show exactly `files`; does nothing when it already does.
pub(crate) fn write(dir: &Path, files: &Files, fs_group: Option<i64>) -> io::Result<()> {
    for path in files.keys() {
        check(path)?;
    }
    let old = fs::read_link(dir.join(DATA)).ok();
    if old.as_ref().is_some_and(|old| same(&dir.join(old), files)) {
        // A crash may have come between the swap and the links.
        return link(dir, files);
    }
    let name = format!("{}{}", stamp(), fastrand::u32(..));
    let fresh = dir.join(&name);
    fs::create_dir(&fresh)?;
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755))?;
    for (path, file) in files {
        let target = fresh.join(path);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, &file.content)?;
        // Set apart from creation, so that the umask does not count.
        fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
        if let Some(owner) = file.owner {
            std::os::unix::fs::chown(&target, Some(owner), None)?;
        }
    }
    if let Some(group) = fs_group {
        ownership::apply(&fresh, group, false)?;
        ownership::directory(dir, group)?;
    }
    let swap = dir.join(DATA_NEW);
    match fs::remove_file(&swap) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&name, &swap)?;
    fs::rename(&swap, dir.join(DATA))?;
    link(dir, files)?;
    clean(dir, &name, files)
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

fn link(dir: &Path, files: &Files) -> io::Result<()> {
    let names: BTreeSet<&str> = files.keys().map(|path| first(path)).collect();
    for name in names {
        match symlink(Path::new(DATA).join(name), dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Removes links to what is no longer there, and all generations but the present one.
fn clean(dir: &Path, present: &str, files: &Files) -> io::Result<()> {
    let names: BTreeSet<&str> = files.keys().map(|path| first(path)).collect();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let kind = entry.file_type()?;
        if kind.is_dir() && name.starts_with("..") && name != present {
            fs::remove_dir_all(entry.path())?;
        } else if kind.is_symlink() && name != DATA && !names.contains(name.as_str()) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn same(dir: &Path, files: &Files) -> bool {
    let mut found = 0;
    if count(dir, &mut found).is_err() || found != files.len() {
        return false;
    }
    files
        .iter()
        .all(|(path, file)| fs::read(dir.join(path)).is_ok_and(|old| old == file.content))
}

fn count(dir: &Path, found: &mut usize) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            count(&entry.path(), found)?;
        } else {
            *found += 1;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
