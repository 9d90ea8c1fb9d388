//! One name of a layer's directory: what is there, and what it is made of.

use std::ffi::{CString, OsStr};
use std::io::{self, Read};
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, readlinkat};
use nix::sys::stat::{Mode, UtimensatFlags, fstatat, makedev, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, unlinkat};
use tar::{Entry, Header};

use super::super::implied::IMPLIED_MODE;

/// Removes what an earlier entry of the same name made.
pub(super) fn clear(parent: RawFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(Some(parent), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => {
            knarr_host::remove(&Path::new(&format!("/proc/self/fd/{parent}")).join(name))
        }
        Err(error) => Err(error.into()),
    }
}

/// What a layer has of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    None,
    Directory,
    Whiteout,
    Other,
}

pub(super) fn node(parent: RawFd, name: &OsStr) -> io::Result<Node> {
    match fstatat(Some(parent), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Err(Errno::ENOENT) => Ok(Node::None),
        Err(error) => Err(error.into()),
        Ok(stat) => Ok(match stat.st_mode & libc::S_IFMT {
            libc::S_IFDIR => Node::Directory,
            libc::S_IFCHR if stat.st_rdev == 0 => Node::Whiteout,
            _ => Node::Other,
        }),
    }
}

/// Where a name leads, if it is a link.
pub(super) fn link(parent: RawFd, name: &OsStr) -> io::Result<Option<PathBuf>> {
    match readlinkat(Some(parent), name) {
        Ok(target) => Ok(Some(target.into())),
        Err(Errno::EINVAL) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// An existing directory stays; anything else of that name goes.
pub(super) fn make_directory(parent: RawFd, name: &OsStr) -> io::Result<()> {
    if node(parent, name)? == Node::Directory {
        return Ok(());
    }
    clear(parent, name)?;
    let mode = Mode::from_bits_truncate(IMPLIED_MODE);
    Ok(mkdirat(Some(parent), name, mode)?)
}

/// A layer is kept once, whatever it is on, so that a file of another cannot become part of it.
pub(super) fn not_linked(error: Errno, target: &Path) -> io::Error {
    match error {
        Errno::ENOENT => io::Error::other(format!(
            "hard link to {}, which this layer does not have: links to files of other layers are not supported",
            target.display()
        )),
        error => error.into(),
    }
}

/// The number of a device. As in Go's archive/tar, an empty field is 0.
pub(super) fn device(header: &Header) -> io::Result<libc::dev_t> {
    let fields = match (header.as_ustar(), header.as_gnu()) {
        (Some(header), _) => [header.dev_major, header.dev_minor],
        (_, Some(header)) => [header.dev_major, header.dev_minor],
        _ => return Ok(makedev(0, 0)),
    };
    let [major, minor] = fields.map(|field| field.iter().all(|byte| matches!(byte, 0 | b' ')));
    let major = if major { None } else { header.device_major()? };
    let minor = if minor { None } else { header.device_minor()? };
    Ok(makedev(
        major.unwrap_or(0).into(),
        minor.unwrap_or(0).into(),
    ))
}

pub(super) fn mtime(entry: &Entry<'_, impl Read>) -> i64 {
    entry
        .header()
        .mtime()
        .ok()
        .and_then(|time| i64::try_from(time).ok())
        .unwrap_or(0)
}

pub(super) fn set_time(parent: RawFd, name: &OsStr, seconds: i64) -> io::Result<()> {
    let time = TimeSpec::new(seconds, 0);
    Ok(utimensat(
        Some(parent),
        name,
        &time,
        &time,
        UtimensatFlags::NoFollowSymlink,
    )?)
}

/// `SCHILY.xattr.*` of PAX headers: file capabilities, mostly.
pub(super) fn set_xattrs(
    entry: &mut Entry<'_, impl Read>,
    parent: RawFd,
    name: &CString,
) -> io::Result<()> {
    let Some(extensions) = entry.pax_extensions()? else {
        return Ok(());
    };
    for extension in extensions.flatten() {
        let Some(attribute) = extension
            .key()
            .ok()
            .and_then(|key| key.strip_prefix("SCHILY.xattr."))
        else {
            continue;
        };
        // The overlay's own attributes are ours to set.
        if attribute.starts_with("trusted.overlay.") {
            continue;
        }
        let path = [
            format!("/proc/self/fd/{parent}/").as_bytes(),
            name.as_bytes(),
        ]
        .concat();
        let (path, attribute) = (CString::new(path)?, CString::new(attribute)?);
        let value = extension.value_bytes();
        // SAFETY: all pointers outlive the call and the length is the value's.
        let outcome = unsafe {
            libc::lsetxattr(
                path.as_ptr(),
                attribute.as_ptr(),
                value.as_ptr().cast(),
                value.len(),
                0,
            )
        };
        let error = io::Error::last_os_error();
        // Links and devices have no attributes of users, whatever an archive says.
        let refused =
            error.raw_os_error() == Some(libc::EPERM) && attribute.to_bytes().starts_with(b"user.");
        if outcome != 0 && !refused && error.raw_os_error() != Some(libc::EOPNOTSUPP) {
            return Err(error);
        }
    }
    Ok(())
}

pub(super) fn set_xattr(fd: RawFd, name: &str, value: &[u8]) -> io::Result<()> {
    let name = CString::new(name)?;
    // SAFETY: all pointers outlive the call and the length is the value's.
    let outcome =
        unsafe { libc::fsetxattr(fd, name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    if outcome == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
