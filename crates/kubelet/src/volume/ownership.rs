//! `fsGroup`: files belong to the group, which may read them (and write them, in writable volumes); new files in
//! a directory inherit the group.

use std::{
    fs, io,
    ops::ControlFlow,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::MetadataExt,
    },
    path::Path,
};

use k8s_openapi::api::core::v1::Pod;
use knarr_host::Directory;
use rustix::fs::{AtFlags, FileType, Gid, Mode, Stat, chmod, chownat, fstat};

const READ_WRITE: u32 = 0o660;
const READ_ONLY: u32 = 0o440;
const DIRECTORY: u32 = 0o2110;
const MODE: u32 = 0o7777;
/// What the group may do in a directory that is its own, with the bit that hands it on to new files.
pub(super) const GROUP_BITS: u32 = 0o2070;

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

/// Whether the pod wants a top directory that is right already to spare the walk through everything below.
pub(super) fn only_if_root_differs(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let security = spec.and_then(|spec| spec.security_context.as_ref());
    let policy = security.and_then(|security| security.fs_group_change_policy.as_deref());
    policy == Some("OnRootMismatch")
}

/// As [`apply`] for a writable volume, unless its top directory is right already and that is enough.
pub(super) fn apply_to_volume(
    path: &Path,
    group: i64,
    only_if_root_differs: bool,
) -> io::Result<()> {
    let top = fs::metadata(path)?;
    let right = i64::from(top.gid()) == group && top.mode() & GROUP_BITS == GROUP_BITS;
    match right && only_if_root_differs {
        true => Ok(()),
        false => apply(path, group, true),
    }
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
