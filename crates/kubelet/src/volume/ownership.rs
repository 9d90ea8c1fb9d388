//! `fsGroup`: files belong to the group, which may read them (and write them, in writable volumes); new files in
//! a directory inherit the group.

use std::{
    io,
    ops::ControlFlow,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    path::Path,
};

use knarr_host::Directory;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, chmod, chownat, fstat};

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const DIRECTORY: u32 = 0o2110;
const MODE: u32 = 0o7777;

/// Gives `path` and everything below it to `group`.
pub(super) fn apply(path: &Path, group: i64, writable: bool) -> io::Result<()> {
    let group = gid(group)?;
    let mask = if writable { READ_WRITE } else { READ_ONLY };
    let top = Directory::open(path)?;
    knarr_host::walk(&top, |found| {
        own(found.fd.as_fd(), &found.stat, group, mask)?;
        Ok(ControlFlow::Continue(()))
    })?;
    own(top.as_fd(), &fstat(&top)?, group, mask)
}

/// Gives just the directory to `group`.
pub(super) fn directory(top: &Directory, group: i64) -> io::Result<()> {
    own(top.as_fd(), &fstat(top)?, gid(group)?, READ_ONLY)
}

fn gid(group: i64) -> io::Result<Gid> {
    let group = u32::try_from(group).map_err(io::Error::other)?;
    // The kernel reads it as "leave it as it is".
    if group == u32::MAX {
        return Err(io::Error::other("no such group"));
    }
    Ok(Gid::from_raw(group))
}

fn own(fd: BorrowedFd<'_>, stat: &Stat, group: Gid, mask: u32) -> io::Result<()> {
    chownat(fd, c"", None, Some(group), AtFlags::EMPTY_PATH)?;
    let mask = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Symlink => return Ok(()),
        FileType::Directory => mask | DIRECTORY,
        _ => mask,
    };
    // A change of owner clears set-id bits, so the mode comes last; through /proc, since the descriptor may open nothing.
    let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
    chmod(
        path.as_str(),
        Mode::from_raw_mode(stat.st_mode & MODE | mask),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
