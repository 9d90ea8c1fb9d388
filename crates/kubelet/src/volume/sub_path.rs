//! `subPath` mounts that a container cannot lead out of its volume.
//!
//! The kernel resolves the path below the volume and refuses any symbolic link that leaves it (`openat2`), and what
//! was opened is bound to a place of the kubelet's own. The runtime gets that place: whatever the container does to
//! the volume afterwards, the bind stays on the inode that was checked.

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, chmod, fstat, mkdirat, openat2};

use super::mount;

/// Opens `sub` in `volume`, creating missing directories, and binds it under
/// `<pod_dir>/volume-subpaths/<volume>/<container>/<index>`.
pub(crate) fn prepare(
    pod_dir: &Path,
    volume: (&str, &Path),
    sub: &str,
    container: &str,
    index: usize,
) -> io::Result<PathBuf> {
    let (name, root) = volume;
    let opened = open_inside(root, sub)?;
    let target = pod_dir
        .join("volume-subpaths")
        .join(name)
        .join(container)
        .join(index.to_string());
    // A previous start of the container may have left its bind; the volume's file may be another one now.
    if target.symlink_metadata().is_ok() {
        mount::unmount_below(&target)?;
    }
    let source = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
    let is_dir = fs::metadata(&source)?.is_dir();
    if let Some(parent) = target.parent() {
        fs::create_dir_all(parent)?;
    }
    if is_dir {
        if target.is_file() {
            fs::remove_file(&target)?;
        }
        fs::create_dir_all(&target)?;
    } else {
        if target.is_dir() {
            fs::remove_dir(&target)?;
        }
        fs::File::create(&target)?;
    }
    mount::bind(&source, &target)?;
    Ok(target)
}

/// Opens `sub` below `root`, creating directories that are missing; whoever may write to the volume may write to them.
fn open_inside(root: &Path, sub: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let mut at = openat2(
        CWD,
        root,
        flags | OFlags::DIRECTORY,
        Mode::empty(),
        ResolveFlags::empty(),
    )?;
    let base = at.try_clone()?;
    let mode = Mode::from_raw_mode(fstat(&base)?.st_mode & 0o7777);
    let open = |path: &Path| {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(base.as_fd(), path, flags, Mode::empty(), inside)
    };
    let mut done = PathBuf::new();
    for part in Path::new(sub).components() {
        let part = match part {
            Component::Normal(part) => part,
            Component::CurDir => continue,
            _ => {
                return Err(io::Error::other(format!(
                    "subPath {sub:?} leaves its volume"
                )));
            }
        };
        done.push(part);
        at = match open(&done) {
            Err(rustix::io::Errno::NOENT) => {
                mkdirat(at.as_fd(), part, Mode::RWXU)?;
                let made = open(&done)?;
                // Set apart from creation, so that the umask does not count; through /proc, since the descriptor is a path.
                let path = format!("/proc/self/fd/{}", made.as_raw_fd());
                chmod(path.as_str(), mode)?;
                made
            }
            Err(rustix::io::Errno::XDEV) => {
                return Err(io::Error::other(format!(
                    "subPath {sub:?} leaves its volume"
                )));
            }
            opened => opened?,
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests;
