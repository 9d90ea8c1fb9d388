//! `fsGroup`: files belong to the group, which may read them (and write them, in writable volumes); new files in
//! a directory inherit the group.

use std::{
    fs, io,
    os::unix::fs::{PermissionsExt, lchown},
    path::Path,
};

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const DIRECTORY: u32 = 0o2110;

/// Gives `path` and everything below it to `group`.
pub(super) fn apply(path: &Path, group: i64, writable: bool) -> io::Result<()> {
    let group = u32::try_from(group).map_err(io::Error::other)?;
    walk(path, group, if writable { READ_WRITE } else { READ_ONLY })
}

/// Gives just the directory to `group`.
pub(super) fn directory(path: &Path, group: i64) -> io::Result<()> {
    let group = u32::try_from(group).map_err(io::Error::other)?;
    one(path, group, READ_ONLY | DIRECTORY)
}

fn walk(path: &Path, group: u32, mask: u32) -> io::Result<()> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        return lchown(path, None, Some(group));
    }
    if !kind.is_dir() {
        return one(path, group, mask);
    }
    for entry in fs::read_dir(path)? {
        walk(&entry?.path(), group, mask)?;
    }
    one(path, group, mask | DIRECTORY)
}

fn one(path: &Path, group: u32, mask: u32) -> io::Result<()> {
    lchown(path, None, Some(group))?;
    // A change of owner clears the set-group bit, so the mode comes last.
    let mode = fs::metadata(path)?.permissions().mode();
    fs::set_permissions(path, fs::Permissions::from_mode(mode | mask))
}
