//! A directory whose contents somebody else may change.

use std::{
    ffi::{OsStr, OsString},
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStringExt, fs::OpenOptionsExt},
    },
    path::{Component, Path, PathBuf},
};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat2,
    renameat,
};

use crate::remove;

/// Nothing that was put into the directory leads out of it, and no link is followed.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
/// Links are followed as if the directory were the root, as the programs of an image see them.
const AS_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

/// Links on the way to one path, as the kernel has it.
const MAX_LINKS: usize = 40;

/// An open directory. Paths given to its methods are relative to it, and whatever is below it is distrusted.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

impl Directory {
    /// Opens a directory by a path that is trusted itself.
    ///
    /// # Errors
    /// Those of the kernel, here as everywhere below.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::resolve(CWD, path, ResolveFlags::empty())
    }

    /// A directory below this one, reached without links.
    pub fn child(&self, path: &Path) -> io::Result<Self> {
        Self::resolve(self.fd.as_fd(), path, INSIDE)
    }

    /// A directory below this one, reached as if this were the root.
    pub fn child_in_root(&self, path: &Path) -> io::Result<Self> {
        Self::resolve(self.fd.as_fd(), here(path), AS_ROOT)
    }

    fn resolve(at: BorrowedFd<'_>, path: &Path, how: ResolveFlags) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(at, path, flags, Mode::empty(), how)?;
        Ok(Self { fd })
    }

    /// Opens a regular file for reading. A FIFO, a device or a link is refused without being opened.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        self.regular(path, INSIDE, OpenOptions::new().read(true))
    }

    /// The first `limit` bytes of a regular file.
    pub fn read_head(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        head(self.open_file(path)?, limit)
    }

    /// As [`Self::read_head`], with links resolved as if this directory were the root.
    pub fn read_head_in_root(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        let path = path.strip_prefix("/").unwrap_or(path);
        head(
            self.regular(path, AS_ROOT, OpenOptions::new().read(true))?,
            limit,
        )
    }

    /// Opens a regular file to add to it; makes one of this mode where there is none.
    pub fn open_for_appending(&self, path: &Path, mode: u32) -> io::Result<File> {
        match self.create(path, b"", mode) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => self.regular(path, INSIDE, OpenOptions::new().append(true)),
        }
    }

    /// Replaces the contents of a regular file in place, since it may be mounted somewhere; makes one of this mode where
    /// there is none.
    pub fn write_in_place(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        match self.create(path, bytes, mode) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => return done,
        }
        let mut file = self.regular(path, INSIDE, OpenOptions::new().write(true).truncate(true))?;
        file.write_all(bytes)?;
        fchmod(&file, Mode::from_raw_mode(mode))?;
        Ok(())
    }

    /// Makes a file that is not there yet. The umask does not count.
    pub fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let fd = openat2(&self.fd, path, flags, Mode::RUSR | Mode::WUSR, INSIDE)?;
        fchmod(&fd, Mode::from_raw_mode(mode))?;
        File::from(fd).write_all(bytes)
    }

    /// Makes a directory and those above it, each of this mode, where there are none.
    pub fn make_directories(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut current = PathBuf::new();
        for component in path.components() {
            let Component::Normal(name) = component else {
                continue;
            };
            let parent = Self::resolve(self.fd.as_fd(), here(&current), INSIDE)?;
            parent.make(name, mode)?;
            current.push(name);
        }
        Ok(())
    }

    /// As [`Self::make_directories`], with links resolved as if this directory were the root. Where a link leads to what is not
    /// there, that is made.
    ///
    /// # Errors
    /// Also where there are too many links on the way.
    pub fn make_directories_in_root(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mut current = PathBuf::new();
        let mut links = 0_usize;
        // What is still to be walked, the next component last.
        let mut rest: Vec<OsString> = reversed(path).collect();
        while let Some(component) = rest.pop() {
            match Path::new(&component).components().next() {
                Some(Component::RootDir) => current.clear(),
                Some(Component::ParentDir) => drop(current.pop()),
                Some(Component::Normal(name)) => {
                    let parent = Self::resolve(self.fd.as_fd(), here(&current), AS_ROOT)?;
                    if parent.make(name, mode)? {
                        current.push(name);
                        continue;
                    }
                    match parent.read_link(Path::new(name)) {
                        Ok(target) if links < MAX_LINKS => {
                            links += 1;
                            rest.extend(reversed(&target));
                        }
                        Ok(_) => return Err(rustix::io::Errno::LOOP.into()),
                        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                            current.push(name);
                        }
                        Err(error) => return Err(error),
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Makes one directory; whether it was not there.
    fn make(&self, name: &OsStr, mode: u32) -> io::Result<bool> {
        match mkdirat(&self.fd, name, Mode::RWXU) {
            Ok(()) => {
                let made = self.child(Path::new(name))?;
                fchmod(&made.fd, Mode::from_raw_mode(mode))?;
                Ok(true)
            }
            Err(rustix::io::Errno::EXIST) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a symbolic link; what it says is not looked at.
    pub fn link(&self, target: &Path, name: &Path) -> io::Result<()> {
        Ok(rustix::fs::symlinkat(target, &self.fd, name)?)
    }

    /// What a symbolic link says.
    pub fn read_link(&self, name: &Path) -> io::Result<PathBuf> {
        let target = rustix::fs::readlinkat(&self.fd, name, Vec::new())?;
        Ok(OsString::from_vec(target.into_bytes()).into())
    }

    /// Gives one of this directory's own names to what another has.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes one of this directory's own names, with all that is below it; what is not there is removed.
    pub fn remove(&self, name: &Path) -> io::Result<()> {
        remove::remove_at(self.fd.as_fd(), name)
    }

    /// The names in this directory with their kinds, in no order.
    pub fn entries(&self) -> io::Result<Vec<(OsString, FileType)>> {
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode)
                }
                kind => kind,
            };
            entries.push((OsString::from_vec(name.to_bytes().to_vec()), kind));
        }
        Ok(entries)
    }

    /// The file is looked at by a descriptor that opens nothing, and opened by that descriptor: what is opened is what was
    /// looked at.
    fn regular(
        &self,
        path: &Path,
        how: ResolveFlags,
        options: &mut OpenOptions,
    ) -> io::Result<File> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let seen = openat2(&self.fd, path, flags, Mode::empty(), how)?;
        if FileType::from_raw_mode(fstat(&seen)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ));
        }
        let unblocking = OFlags::NONBLOCK | OFlags::NOCTTY;
        options
            .custom_flags(unblocking.bits().cast_signed())
            .open(format!("/proc/self/fd/{}", seen.as_raw_fd()))
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Directory {
    fn from(fd: OwnedFd) -> Self {
        Self { fd }
    }
}

fn head(file: File, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The components of a path, the first one last.
fn reversed(path: &Path) -> impl Iterator<Item = OsString> {
    let components = path.components().rev();
    components.map(|component| component.as_os_str().to_owned())
}

fn here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() {
        Path::new(".")
    } else {
        path
    }
}

#[cfg(test)]
mod tests;
