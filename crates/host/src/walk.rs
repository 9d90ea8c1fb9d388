//! Looking at every entry of a tree, however deep it is: two descriptors, a few bytes a level.

use std::{
    io,
    mem::MaybeUninit,
    ops::ControlFlow,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom, Stat, fstat, openat2, seek},
    io::Errno,
};

use crate::Directory;

/// Room for a batch of names.
const BUFFER_BYTES: usize = 16 << 10;

/// One entry.
#[derive(Debug)]
pub struct Found {
    /// Opened for nothing but being named (`O_PATH`); of a link, the link itself.
    pub fd: OwnedFd,
    pub stat: Stat,
}

impl Found {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }
}

/// Where a directory above the present one is to be gone on with.
struct Level {
    device: u64,
    inode: u64,
    cookie: u64,
}

/// Shows `visit` everything below `top`, a directory before what is in it; `top` itself is not shown. Other mounts are
/// skipped, and so is what is gone when its turn comes.
///
/// # Errors
/// Those of the kernel and of `visit`, and one when a directory was moved while it was looked at.
pub fn walk(
    top: &Directory,
    mut visit: impl FnMut(Found) -> io::Result<ControlFlow<()>>,
) -> io::Result<()> {
    let mut current = open(top, c".")?;
    let mut above: Vec<Level> = Vec::new();
    let mut cookie = 0;
    loop {
        match next_directory(&current, &mut cookie, &mut visit)? {
            ControlFlow::Break(()) => return Ok(()),
            ControlFlow::Continue(Some(below)) => {
                let (device, inode) = identity(&current)?;
                above.push(Level {
                    device,
                    inode,
                    cookie,
                });
                (current, cookie) = (below, 0);
            }
            ControlFlow::Continue(None) => {
                let Some(level) = above.pop() else {
                    return Ok(());
                };
                current = up(&current)?;
                if identity(&current)? != (level.device, level.inode) {
                    return Err(io::Error::other("a directory was moved meanwhile"));
                }
                cookie = level.cookie;
            }
        }
    }
}

fn identity(fd: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

fn open(at: impl AsFd, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(at, name, flags, Mode::empty(), inside)?)
}

/// The directory above; whoever asks makes sure that it is the one they came from.
fn up(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(fd, c"..", flags, Mode::empty())?)
}

/// Visits the entries from `cookie` on, up to the first directory, which is returned open.
fn next_directory(
    current: &OwnedFd,
    cookie: &mut u64,
    visit: &mut impl FnMut(Found) -> io::Result<ControlFlow<()>>,
) -> io::Result<ControlFlow<(), Option<OwnedFd>>> {
    seek(current, SeekFrom::Start(*cookie))?;
    let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
    let mut entries = RawDir::new(current, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        *cookie = entry.next_entry_cookie();
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
        let fd = match openat2(current, name, flags, Mode::empty(), inside) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::XDEV) => continue,
            Err(error) => return Err(error.into()),
        };
        let stat = fstat(&fd)?;
        let found = Found { fd, stat };
        let directory = found.kind() == FileType::Directory;
        if visit(found)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
        if directory {
            match open(current, name) {
                Ok(below) => return Ok(ControlFlow::Continue(Some(below))),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(ControlFlow::Continue(None))
}

#[cfg(test)]
mod tests;
