//! What the runtime makes in the root file system of a container whose users are not the host's is to be theirs: the host's root is
//! nobody to them.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use knarr_host::Directory;
use nix::fcntl::AtFlags;
use nix::sys::stat::fstatat;
use nix::unistd::{Gid, Uid, fchownat};

use crate::users::Users;

/// Gives away what of a path the host's root owns: nothing that an image has is owned by it. The path has no links in it, and is
/// relative to the root.
pub fn give(root: &Directory, path: &Path, users: &Users) -> io::Result<()> {
    let (uid, gid) = users.root();
    let mut parent = PathBuf::from(".");
    for name in path {
        let within = root.child(&parent)?;
        let within = Some(within.as_fd().as_raw_fd());
        if fstatat(within, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_uid == 0 {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            fchownat(within, name, uid, gid, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        }
        parent.push(name);
    }
    Ok(())
}

/// As [`give`], of a directory that links may lead to.
pub fn give_directory(root: &Directory, path: &Path, users: &Users) -> io::Result<()> {
    let place = |directory: &Directory| {
        std::fs::read_link(format!("/proc/self/fd/{}", directory.as_fd().as_raw_fd()))
    };
    let (base, found) = (place(root)?, place(&root.child_in_root(path)?)?);
    match found.strip_prefix(&base) {
        Ok(inside) => give(root, inside, users),
        Err(_) => Err(io::Error::other("the directory is outside of the root")),
    }
}
