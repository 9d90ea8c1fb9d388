//! Unpacks a layer's tar into a directory that becomes an overlay's lower one.
//!
//! Nothing an archive says can reach outside: every directory is opened with openat2(2) `RESOLVE_IN_ROOT`, which resolves
//! links and `..` as if the layer were the root, and the last component is never followed.

use std::collections::HashMap;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use crate::files;

/// Marks a name as deleted from the layers below.
const WHITEOUT: &str = ".wh.";
/// Marks a directory as hiding everything below it.
const OPAQUE: &str = ".wh..wh..opq";
/// Entries of one layer.
const MAX_ENTRIES: u64 = 4_000_000;

#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("{path}: {source}")]
    Entry { path: PathBuf, source: io::Error },
    #[error("read the archive: {0}")]
    Archive(#[from] io::Error),
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
}

/// Unpacks; the bytes of the files.
pub fn layer(tar: impl Read, root: &Path) -> Result<u64, ExtractError> {
    let root = File::open(root)?;
    let mut layer = Layer {
        root: root.into(),
        parent: None,
        directory_times: HashMap::new(),
    };
    let mut archive = Archive::new(tar);
    let (mut size, mut count) = (0, 0);
    for entry in archive.entries()? {
        let mut entry = entry?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(ExtractError::TooMany);
        }
        let path = entry.path()?.into_owned();
        size += entry.size();
        layer
            .entry(&mut entry, &path)
            .map_err(|source| ExtractError::Entry { path, source })?;
    }
    layer.finish()?;
    Ok(size)
}

struct Layer {
    root: OwnedFd,
    /// The last directory used: archives come sorted by directory.
    parent: Option<(PathBuf, OwnedFd)>,
    /// Set last: files made inside would change them.
    directory_times: HashMap<PathBuf, i64>,
}

impl Layer {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        let clean = clean(path);
        let Some(name) = clean.file_name().map(OsStr::to_owned) else {
            // The root directory itself.
            return self.root_entry(entry);
        };
        let parent_path = clean.parent().unwrap_or(Path::new("")).to_path_buf();
        let parent_fd = self.directory(&parent_path)?.try_clone()?;
        let parent = parent_fd.as_raw_fd();
        if let Some(text) = name.to_str() {
            if text == OPAQUE {
                return set_xattr(parent, "trusted.overlay.opaque", b"y");
            }
            if let Some(hidden) = text.strip_prefix(WHITEOUT) {
                if hidden.is_empty()
                    || hidden == "."
                    || hidden == ".."
                    || hidden.starts_with(WHITEOUT)
                {
                    return Ok(());
                }
                clear(parent, OsStr::new(hidden))?;
                mknodat(
                    Some(parent),
                    hidden,
                    SFlag::S_IFCHR,
                    Mode::empty(),
                    makedev(0, 0),
                )?;
                return Ok(());
            }
        }
        self.make(entry, &clean, &name, parent)
    }

    fn root_entry(&mut self, entry: &mut Entry<'_, impl Read>) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(entry.header().mode()?);
        nix::sys::stat::fchmod(self.root.as_raw_fd(), mode)?;
        Ok(())
    }

    fn make(
        &mut self,
        entry: &mut Entry<'_, impl Read>,
        path: &Path,
        name: &OsStr,
        parent: RawFd,
    ) -> io::Result<()> {
        let kind = entry.header().entry_type();
        let mode = Mode::from_bits_truncate(entry.header().mode()? & 0o7777);
        let name_c = CString::new(name.as_bytes())?;
        match kind {
            EntryType::Directory => {
                make_directory(parent, name)?;
                self.directory_times
                    .insert(path.to_path_buf(), mtime(entry));
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                clear(parent, name)?;
                let flags = OFlag::O_WRONLY
                    | OFlag::O_CREAT
                    | OFlag::O_EXCL
                    | OFlag::O_NOFOLLOW
                    | OFlag::O_CLOEXEC;
                let fd = openat(Some(parent), name, flags, Mode::from_bits_truncate(0o600))?;
                // SAFETY: just opened, owned by nobody else.
                let mut file = unsafe { File::from_raw_fd(fd) };
                io::copy(entry, &mut file)?;
            }
            EntryType::Symlink => {
                clear(parent, name)?;
                symlinkat(&*link_target(entry)?, Some(parent), name)?;
            }
            EntryType::Link => {
                let target = clean(&link_target(entry)?);
                let target_name = target.file_name().ok_or(Errno::EINVAL)?.to_owned();
                let directory = self.open_in_root(target.parent().unwrap_or(Path::new("")))?;
                clear(parent, name)?;
                linkat(
                    Some(directory.as_raw_fd()),
                    &*target_name,
                    Some(parent),
                    name,
                    AtFlags::empty(),
                )?;
                return Ok(());
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                clear(parent, name)?;
                let major = entry.header().device_major()?.unwrap_or(0);
                let minor = entry.header().device_minor()?.unwrap_or(0);
                let node = match kind {
                    EntryType::Char => SFlag::S_IFCHR,
                    EntryType::Block => SFlag::S_IFBLK,
                    _ => SFlag::S_IFIFO,
                };
                mknodat(
                    Some(parent),
                    name,
                    node,
                    mode,
                    makedev(major.into(), minor.into()),
                )?;
            }
            // Headers of further kinds carry nothing to unpack.
            _ => return Ok(()),
        }
        let (uid, gid) = (entry.header().uid()?, entry.header().gid()?);
        let owner = (Uid::from_raw(uid as u32), Gid::from_raw(gid as u32));
        fchownat(
            Some(parent),
            name,
            Some(owner.0),
            Some(owner.1),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )?;
        if kind != EntryType::Symlink {
            // After the owner, which clears set-id bits. The name was made above and is no link.
            fchmodat(Some(parent), name, mode, FchmodatFlags::FollowSymlink)?;
        }
        set_xattrs(entry, parent, &name_c)?;
        if kind != EntryType::Directory {
            set_time(parent, name, mtime(entry))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        for (path, time) in std::mem::take(&mut self.directory_times) {
            let Some(name) = path.file_name() else {
                continue;
            };
            // A directory that a later entry replaced has no time to set.
            if let Ok(parent) = self.open_in_root(path.parent().unwrap_or(Path::new(""))) {
                let _ = set_time(parent.as_raw_fd(), name, time);
            }
        }
        Ok(())
    }

    /// Opens a directory of the layer, making what an archive left out.
    fn directory(&mut self, path: &Path) -> io::Result<&OwnedFd> {
        let cached = self.parent.as_ref().is_some_and(|(known, _)| known == path);
        if !cached {
            let fd = match self.open_in_root(path) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    self.make_directories(path)?;
                    self.open_in_root(path)?
                }
                other => other?,
            };
            self.parent = Some((path.to_path_buf(), fd));
        }
        self.parent
            .as_ref()
            .map(|(_, fd)| fd)
            .ok_or_else(|| io::Error::other("no directory"))
    }

    fn make_directories(&self, path: &Path) -> io::Result<()> {
        let mut current = PathBuf::new();
        for component in path.components() {
            let parent = self.open_in_root(&current)?;
            match mkdirat(
                Some(parent.as_raw_fd()),
                component.as_os_str(),
                Mode::from_bits_truncate(0o755),
            ) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            current.push(component);
        }
        Ok(())
    }

    fn open_in_root(&self, path: &Path) -> io::Result<OwnedFd> {
        files::open_in_root(&self.root, path, libc::O_DIRECTORY | libc::O_RDONLY)
    }
}

/// Relative, without `.` and `..` (which, at a root, leads nowhere).
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                clean.pop();
            }
            _ => {}
        }
    }
    clean
}

fn link_target(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    let target = entry.link_name()?.ok_or(Errno::EINVAL)?;
    Ok(target.into_owned())
}

/// Removes what an earlier entry of the same name made.
fn clear(parent: RawFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(Some(parent), name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EISDIR) => Ok(std::fs::remove_dir_all(
            Path::new(&format!("/proc/self/fd/{parent}")).join(name),
        )?),
        Err(error) => Err(error.into()),
    }
}

/// An existing directory stays; anything else of that name goes.
fn make_directory(parent: RawFd, name: &OsStr) -> io::Result<()> {
    match mkdirat(Some(parent), name, Mode::from_bits_truncate(0o755)) {
        Err(Errno::EEXIST) => {
            let stat = nix::sys::stat::fstatat(Some(parent), name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            if stat.st_mode & libc::S_IFMT == libc::S_IFDIR {
                return Ok(());
            }
            clear(parent, name)?;
            Ok(mkdirat(
                Some(parent),
                name,
                Mode::from_bits_truncate(0o755),
            )?)
        }
        outcome => Ok(outcome?),
    }
}

fn mtime(entry: &Entry<'_, impl Read>) -> i64 {
    entry
        .header()
        .mtime()
        .ok()
        .and_then(|time| i64::try_from(time).ok())
        .unwrap_or(0)
}

fn set_time(parent: RawFd, name: &OsStr, seconds: i64) -> io::Result<()> {
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
fn set_xattrs(entry: &mut Entry<'_, impl Read>, parent: RawFd, name: &CString) -> io::Result<()> {
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
        if outcome != 0 && error.raw_os_error() != Some(libc::EOPNOTSUPP) {
            return Err(error);
        }
    }
    Ok(())
}

fn set_xattr(fd: RawFd, name: &str, value: &[u8]) -> io::Result<()> {
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

#[cfg(test)]
mod tests;
