//! Unpacks a layer's tar into a directory that becomes an overlay's lower one.
//!
//! Nothing an archive says can reach outside: every directory is opened with openat2(2) `RESOLVE_IN_ROOT`, which resolves
//! links and `..` as if the layer were the root, and the last component is never followed.

use std::collections::{BTreeSet, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use knarr_host::Directory;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fchmodat, makedev, mkdirat, mknodat};
use nix::unistd::{Gid, Uid, fchownat, linkat, symlinkat};
use tar::{Archive, Entry, EntryType};

use super::implied::IMPLIED_MODE;
use super::metered::{MAX_HEADER_BYTES, Metered};
use super::room;
use nodes::{
    Node, clear, device, link, make_directory, mtime, node, not_linked, set_time, set_xattr,
    set_xattrs,
};

mod nodes;

/// Marks a name as deleted from the layers below.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory as hiding everything below it.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// Entries of one layer.
const MAX_ENTRIES: u64 = 4_000_000;
/// One layer's files, bytes.
const MAX_LAYER_BYTES: u64 = 64 << 30;
/// Names of directories that are remembered until a layer's end, bytes.
const MAX_DIRECTORY_NAME_BYTES: usize = 64 << 20;
/// Paths that are looked up to make directories, bytes: what one of them costs is what it has before it, and a short one may lead
/// through many long links.
const MAX_WALKED_BYTES: usize = 128 << 20;
/// Between two looks at what is free, entries.
const ROOM_CHECK_ENTRIES: u64 = 4_096;
/// Links on the way to one directory, as the kernel's own limit.
const MAX_LINKS: u32 = 40;
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
        opaque: BTreeSet::new(),
        name_bytes: 0,
        walked_bytes: 0,
        unchecked_bytes: 0,
    };
    let (tar, allowance) = Metered::new(tar);
    let mut archive = Archive::new(tar);
    let mut entries = archive.entries()?;
    let (mut size, mut count) = (0_u64, 0_u64);
    layer.check_room()?;
    loop {
        allowance.set(MAX_HEADER_BYTES);
        let Some(entry) = entries.next() else { break };
        let mut entry = entry?;
        count = count.saturating_add(1);
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
    let opaque = &layer.opaque;
    // A directory below keeps no attributes that are hidden.
    let hidden = |path: &PathBuf| path.ancestors().skip(1).any(|above| opaque.contains(above));
    let implied = layer.implied.into_iter().filter(|path| !hidden(path));
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
    /// They hide what layers below have in them.
    opaque: BTreeSet<PathBuf>,
    /// Of all names in the three.
    name_bytes: usize,
    /// Of the paths that were looked up to make directories.
    walked_bytes: usize,
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
        // Names are bytes: what is not UTF-8 can be hidden too.
        if name.as_bytes() == OPAQUE {
            return self.hide_below(parent, &parent_path);
        }
        if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
            if matches!(hidden, b"" | b"." | b"..") || hidden.starts_with(WHITEOUT) {
                return Ok(());
            }
            let hidden = OsStr::from_bytes(hidden);
            return self.whiteout(parent, &parent_path.join(hidden), hidden);
        }
        self.make(entry, &clean, &name, parent)
    }

    /// Hides what layers below have of a name. What this one has of it stays, whichever of the two comes first in the archive.
    fn whiteout(&mut self, parent: RawFd, path: &Path, name: &OsStr) -> io::Result<()> {
        match node(parent, name)? {
            Node::None => Ok(mknodat(
                Some(parent),
                name,
                SFlag::S_IFCHR,
                Mode::empty(),
                makedev(0, 0),
            )?),
            Node::Directory => {
                self.implied.remove(path);
                let directory = self.open_in_root(path)?;
                self.hide_below(directory.as_fd().as_raw_fd(), path)
            }
            Node::Whiteout | Node::Other => Ok(()),
        }
    }

    /// Hides what layers below have in a directory.
    fn hide_below(&mut self, directory: RawFd, path: &Path) -> io::Result<()> {
        self.remember(path)?;
        self.opaque.insert(path.to_path_buf());
        set_xattr(directory, "trusted.overlay.opaque", b"y")
    }

    /// Makes a directory of a name that this layer hides in those below.
    fn replace_whiteout(&mut self, parent: RawFd, path: &Path, name: &OsStr) -> io::Result<()> {
        clear(parent, name)?;
        mkdirat(Some(parent), name, Mode::from_bits_truncate(IMPLIED_MODE))?;
        let directory = self.open_in_root(path)?;
        self.hide_below(directory.as_fd().as_raw_fd(), path)
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
                match node(parent, name)? {
                    Node::Whiteout => self.replace_whiteout(parent, path, name)?,
                    _ => make_directory(parent, name)?,
                }
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
                let directory = self
                    .open_in_root(target.parent().unwrap_or(Path::new("")))
                    .map_err(|error| match Errno::try_from(error) {
                        Ok(errno) => not_linked(errno, &target),
                        Err(error) => error,
                    })?;
                clear(parent, name)?;
                let from = Some(directory.as_fd().as_raw_fd());
                let made = linkat(from, &*target_name, Some(parent), name, AtFlags::empty());
                return made.map_err(|error| not_linked(error, &target));
            }
            EntryType::Char | EntryType::Block | EntryType::Fifo => {
                clear(parent, name)?;
                let (node, device) = match kind {
                    EntryType::Char => (SFlag::S_IFCHR, device(entry.header())?),
                    EntryType::Block => (SFlag::S_IFBLK, device(entry.header())?),
                    _ => (SFlag::S_IFIFO, 0),
                };
                mknodat(Some(parent), name, node, mode, device)?;
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
                // Or where this layer has a whiteout, which is no directory.
                Err(error)
                    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENOTDIR)) =>
                {
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
            self.unchecked_bytes = self.unchecked_bytes.saturating_add(count);
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
        let name = path.as_os_str().len();
        self.name_bytes = self.name_bytes.saturating_add(name);
        if self.name_bytes > MAX_DIRECTORY_NAME_BYTES {
            let message = format!("names of directories are over {MAX_DIRECTORY_NAME_BYTES} bytes");
            return Err(io::Error::other(message));
        }
        Ok(())
    }

    fn walk(&mut self, path: &Path) -> io::Result<()> {
        let looked_up = path.as_os_str().len().saturating_add(1);
        self.walked_bytes = self.walked_bytes.saturating_add(looked_up);
        if self.walked_bytes > MAX_WALKED_BYTES {
            let message = format!("ways to directories are over {MAX_WALKED_BYTES} bytes");
            return Err(io::Error::other(message));
        }
        Ok(())
    }

    /// Makes what is missing of a path, also where a link of this layer leads: what it leads to may be of a layer below.
    fn make_directories(&mut self, path: &Path) -> io::Result<()> {
        let mut current = PathBuf::new();
        let mut rest = names_backwards(path);
        let mut links = 0..MAX_LINKS;
        while let Some(name) = rest.pop() {
            if name == OsStr::new("..") {
                current.pop();
                continue;
            }
            self.walk(&current)?;
            let opened = self.open_in_root(&current)?;
            let (parent, name) = (opened.as_fd().as_raw_fd(), name.as_os_str());
            match mkdirat(Some(parent), name, Mode::from_bits_truncate(IMPLIED_MODE)) {
                Ok(()) => {
                    current.push(name);
                    self.remember(&current)?;
                    self.implied.insert(current.clone());
                }
                Err(Errno::EEXIST) => {
                    if let Some(target) = link(parent, name)? {
                        links.next().ok_or(Errno::ELOOP)?;
                        if target.is_absolute() {
                            current.clear();
                        }
                        rest.extend(names_backwards(&target));
                        continue;
                    }
                    current.push(name);
                    if node(parent, name)? == Node::Whiteout {
                        self.replace_whiteout(parent, &current, name)?;
                    }
                }
                Err(error) => return Err(error.into()),
            }
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

/// The last first, without what says nothing.
fn names_backwards(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter_map(|component| {
        let wanted = matches!(component, Component::Normal(_) | Component::ParentDir);
        wanted.then(|| component.as_os_str().to_owned())
    });
    names.collect()
}

fn link_target(entry: &Entry<'_, impl Read>) -> io::Result<PathBuf> {
    let target = entry.link_name()?.ok_or(Errno::EINVAL)?;
    Ok(target.into_owned())
}

#[cfg(test)]
mod tests;
