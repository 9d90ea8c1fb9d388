//! Removing a tree, however deep it is: no recursion, few descriptors, no way out of it.

use std::{
    ffi::{CString, OsStr},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, renameat, unlinkat},
    io::Errno,
};

use crate::Directory;

/// Directories open at a time. What is deeper is moved up to the top and removed from there.
const MAX_OPEN_DIRECTORIES: usize = 32;
/// Names of what was moved up start with this.
const MOVED: &str = ".removed-";

/// Removes a file or a tree by a path whose parent is trusted; what is not there is removed. Something mounted inside is an
/// error, and is left with what is in it.
///
/// # Errors
/// Those of the kernel: a mount inside, a file that may not be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} cannot be removed", path.display()),
        ));
    };
    let parent = if parent.as_os_str().is_empty() {
        Path::new(".")
    } else {
        parent
    };
    match Directory::open(parent) {
        Ok(parent) => remove_at(parent.as_fd(), Path::new(name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// As [`remove`], for a name of `parent`'s.
pub(crate) fn remove_at(parent: BorrowedFd<'_>, name: &Path) -> io::Result<()> {
    loop {
        match unlinkat(parent, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        match unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::NOTEMPTY | Errno::EXIST) => empty(&open(parent, name.as_os_str())?)?,
            // A file has taken the name meanwhile.
            Err(Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(parent: BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(openat2(parent, name, flags, Mode::empty(), inside)?)
}

struct Level {
    fd: OwnedFd,
    entries: Dir,
    /// In the level above; empty at the top.
    name: CString,
}

impl Level {
    fn new(fd: OwnedFd, name: CString) -> io::Result<Self> {
        let entries = Dir::read_from(&fd)?;
        Ok(Self { fd, entries, name })
    }
}

/// Removes what is in `top`. What is moved up may be seen by the pass that moved it or not: passes go on until one finds
/// nothing.
fn empty(top: &OwnedFd) -> io::Result<()> {
    let mut moved = 0_u64;
    loop {
        let mut levels = vec![Level::new(top.try_clone()?, CString::default())?];
        let mut found = false;
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.next() else {
                let done = levels.pop();
                if let (Some(done), Some(above)) = (done, levels.last()) {
                    leave(above, &done)?;
                }
                continue;
            };
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            found = true;
            if !is_full_directory(level, name, entry.file_type())? {
                continue;
            }
            if levels.len() < MAX_OPEN_DIRECTORIES {
                if let Some(level) = levels.last() {
                    let below = open(level.fd.as_fd(), as_os(name))?;
                    levels.push(Level::new(below, name.to_owned())?);
                }
            } else if let Some(level) = levels.last() {
                move_up(level, name, top, &mut moved)?;
            }
        }
        if !found {
            return Ok(());
        }
    }
}

/// Removes a directory that was emptied. One that has something again is left to the next pass.
fn leave(above: &Level, done: &Level) -> io::Result<()> {
    match unlinkat(&above.fd, &done.name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Removes a name; true when it is a directory that has something in it.
fn is_full_directory(level: &Level, name: &std::ffi::CStr, kind: FileType) -> io::Result<bool> {
    if kind != FileType::Directory {
        match unlinkat(&level.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(false),
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    match unlinkat(&level.fd, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn move_up(level: &Level, name: &std::ffi::CStr, top: &OwnedFd, moved: &mut u64) -> io::Result<()> {
    loop {
        let to = format!("{MOVED}{moved}");
        *moved += 1;
        match renameat(&level.fd, name, top, &to) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // Left by a removal that was cut short.
            Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn as_os(name: &std::ffi::CStr) -> &OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes())
}

#[cfg(test)]
mod tests;
