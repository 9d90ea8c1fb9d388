//! Trees of mounts that are mounted nowhere yet: copied, given other owners, and then put somewhere (Linux 5.12).
//!
//! The runtime and the shim both make them, for pods whose users are not the host's.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Of linux/mount.h: the descriptor itself is what is meant.
const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 0x4;

/// A copy of what is mounted at a path, with what is mounted below it if `recursive`. Links are followed.
///
/// # Errors
/// There is no such path, or something below it that may not be uncovered.
#[allow(unsafe_code)]
pub fn copy(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    let path = c_string(path)?;
    let mut flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    if recursive {
        flags |= libc::AT_RECURSIVE as libc::c_uint;
    }
    // SAFETY: the path is NUL-terminated and outlives the call, whose result is checked and owned by nobody else.
    unsafe {
        let fd = libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedFd::from_raw_fd(fd as i32))
    }
}

/// Shows the files at the top of a tree with other owners: an owner on disk is one inside `users`, a user namespace. Not what is
/// mounted below, as runc's `idmap`.
///
/// # Errors
/// `EINVAL` where the file system cannot do that, `EPERM` where its owners are others already.
#[allow(unsafe_code)]
pub fn map_owners(tree: impl AsFd, users: impl AsFd) -> io::Result<()> {
    // SAFETY: a structure of integers may be zero.
    let mut attributes: libc::mount_attr = unsafe { std::mem::zeroed() };
    attributes.attr_set = libc::MOUNT_ATTR_IDMAP;
    attributes.userns_fd = users.as_fd().as_raw_fd() as u64;
    // SAFETY: both descriptors are open, the structure has the size that is told and outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Mounts a tree at a path, which is followed if it is a link. It stays when the descriptor goes.
///
/// # Errors
/// There is no such path, or one of another kind (a file for a directory).
#[allow(unsafe_code)]
pub fn attach(tree: impl AsFd, target: &Path) -> io::Result<()> {
    let target = c_string(target)?;
    // SAFETY: the descriptor is open, both paths are NUL-terminated and outlive the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_fd().as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            target.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn c_string(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path holds a NUL byte"))
}
