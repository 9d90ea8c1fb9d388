//! Unpacks a layer's tar into a directory that becomes an overlay's lower one.
//!
//! Nothing an archive says can reach outside: every directory is opened with openat2(2) `RESOLVE_IN_ROOT`, which resolves
//! links and `..` as if the layer were the root, and the last component is never followed.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use knarr_host::Directory;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, makedev, mkdirat, mknodat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, symlinkat, unlinkat};
use tar::{Archive, Entry, EntryType};

use super::metered::{MAX_HEADER_BYTES, Metered};
use super::room;

/// Marks a name as deleted from the layers below.
const WHITEOUT: &str = ".wh.";
/// Marks a directory as hiding everything below it.
const OPAQUE: &str = ".wh..wh..opq";
/// Entries of one layer.
const MAX_ENTRIES: u64 = 4_000_000;
/// One layer's files, bytes.
const MAX_LAYER_BYTES: u64 = 64 << 30;
/// Names of directories that are remembered until a layer's end, bytes.
const MAX_DIRECTORY_NAME_BYTES: usize = 64 << 20;
/// Between two looks at what is free, entries.
const ROOM_CHECK_ENTRIES: u64 = 4_096;
/// What an archive's blocks are filled up to, bytes.
const BLOCK_BYTES: u64 = 512;

#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    #[error("{path}: {source}")]
    Entry { path: PathBuf, source: io::Error },
    #[error("read the archive: {0}")]
    Archive(#[from] io::Error),
    #[error("more than {MAX_ENTRIES} entries")]
    TooMany,
    #[error("more than {MAX_LAYER_BYTES} bytes of files")]
    TooLarge,
}

/// What came of a layer.
#[derive(Debug, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of the files.
    pub size: u64,
    /// Directories that the archive only implies.
    pub implied: Vec<String>,
}

/// Unpacks.
pub fn layer(tar: impl Read, root: &Path) -> Result<Unpacked, ExtractError> {
    let mut layer = Layer {
        root: Directory::open(root)?,
        parent: None,
        directory_times: HashMap::new(),
        implied: BTreeSet::new(),
        name_bytes: 0,
        unchecked_bytes: 0,
    };
    let (tar, allowance) = Metered::new(tar);
    let mut archive = Archive::new(tar);
    let mut entries = archive.entries()?;
    let (mut size, mut count) = (0_u64, 0);
    layer.check_room()?;
    loop {
        allowance.set(MAX_HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        count += 1;
        if count > MAX_ENTRIES {
            return Err(ExtractError::TooMany);
        }
        if count.is_multiple_of(ROOM_CHECK_ENTRIES) {
            layer.check_room()?;
        }
        size = size.saturating_add(entry.size());
        if size > MAX_LAYER_BYTES {
            return Err(ExtractError::TooLarge);
        }
        allowance.set(entry.size().saturating_add(BLOCK_BYTES));
        let path = entry.path()?.into_owned();
        layer
            .entry(&mut entry, &path)
            .map_err(|source| ExtractError::Entry { path, source })?;
        // What was not wanted must not count as the next one's headers.
        io::copy(&mut entry, &mut io::sink())?;
    }
    layer.finish()?;
    let implied = layer.implied.into_iter();
    Ok(Unpacked {
        size,
        implied: implied
            .filter_map(|path| path.into_os_string().into_string().ok())
            .collect(),
    })
}

struct Layer {
    root: Directory,
    /// The last directory used: archives come sorted by directory.
    parent: Option<(PathBuf, Directory)>,
    /// Set last: files made inside would change them.
    directory_times: HashMap<PathBuf, i64>,
    /// Made for what is in them.
    implied: BTreeSet<PathBuf>,
    /// Of all names in the two.
    name_bytes: usize,
    /// Written since the last look at what is free.
    unchecked_bytes: u64,
}

impl Layer {
    fn entry(&mut self, entry: &mut Entry<'_, impl Read>, path: &Path) -> io::Result<()> {
        let clean = clean(path);
        let Some(name) = clean.file_name().map(OsStr::to_owned) else {
            // The root directory itself.
            return self.root_entry(entry);
        };
        let parent_path = clean.parent().unwrap_or(Path::new("")).to_path_buf();
        let parent_fd = self.directory(&parent_path)?.as_fd().try_clone_to_owned()?;
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
        nix::sys::stat::fchmod(self.root.as_fd().as_raw_fd(), mode)?;
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
                self.remember(path)?;
                self.implied.remove(path);
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
                self.write(entry, &mut file)?;
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
                    Some(directory.as_fd().as_raw_fd()),
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
                let _ = set_time(parent.as_fd().as_raw_fd(), name, time);
            }
        }
        Ok(())
    }

    /// Opens a directory of the layer, making what an archive left out.
    fn directory(&mut self, path: &Path) -> io::Result<&Directory> {
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

    fn write(&mut self, entry: &mut Entry<'_, impl Read>, file: &mut File) -> io::Result<()> {
        loop {
            let count = io::copy(&mut entry.by_ref().take(room::CHECK_BYTES), file)?;
            self.unchecked_bytes += count;
            if self.unchecked_bytes >= room::CHECK_BYTES {
                self.check_room()?;
            }
            if count < room::CHECK_BYTES {
                return Ok(());
            }
        }
    }

    /// A layer must not fill the disk that everything else is on, whatever it unpacks to.
    fn check_room(&mut self) -> io::Result<()> {
        self.unchecked_bytes = 0;
        room::check(&self.root)
    }

    fn remember(&mut self, path: &Path) -> io::Result<()> {
        self.name_bytes += path.as_os_str().len();
        if self.name_bytes > MAX_DIRECTORY_NAME_BYTES {
            let message = format!("names of directories are over {MAX_DIRECTORY_NAME_BYTES} bytes");
            return Err(io::Error::other(message));
        }
        Ok(())
    }

    fn make_directories(&mut self, path: &Path) -> io::Result<()> {
        let mut current = PathBuf::new();
        for component in path.components() {
            let parent = self.open_in_root(&current)?;
            match mkdirat(
                Some(parent.as_fd().as_raw_fd()),
                component.as_os_str(),
                Mode::from_bits_truncate(0o755),
            ) {
                Ok(()) => {
                    let made = current.join(component);
                    self.remember(&made)?;
                    self.implied.insert(made);
                }
                Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            current.push(component);
        }
        Ok(())
    }

    fn open_in_root(&self, path: &Path) -> io::Result<Directory> {
        self.root.child_in_root(path)
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
        Err(Errno::EISDIR) => {
            knarr_host::remove(&Path::new(&format!("/proc/self/fd/{parent}")).join(name))
        }
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
