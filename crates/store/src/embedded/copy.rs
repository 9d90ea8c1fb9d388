//! Copies of a store, each one file: taken while the store is written to, checked when it is taken and when it is used.
//!
//! A copy is the engine's data file, compacted, as it was at one revision, and behind it a trailer: what is in it in JSON, the length
//! of that (4 bytes, big-endian) and [`MAGIC`]. A copy that was cut off, or changed, has another hash than its trailer says.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    Embedded, Options,
    disk::{CommitError, DATA_FILE, Disk, Marks, NEW_DIR},
    load,
};
use crate::types::{Error, Result};

const FORMAT: u32 = 1;
/// How a copy ends.
const MAGIC: [u8; 8] = *b"knarrsnp";
/// Most bytes of a trailer's JSON.
const TRAILER_BYTES: u32 = 4 << 10;
const BUFFER_BYTES: usize = 1 << 20;
const OWNER_ONLY: u32 = 0o600;

/// How far behind a copy's revision those of its restored store go on: more than a cluster commits between the two. etcdutl's
/// `--bump-revision` does the same.
const LEAP_REVISIONS: u64 = 1_000_000_000;

/// What a copy holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Copied {
    format: u32,
    /// Of the last commit that is in it.
    pub revision: u64,
    /// Keys that are there at that revision.
    pub keys: u64,
    /// Of the data, without the trailer.
    pub bytes: u64,
    /// Of the data, hexadecimal.
    pub sha256: String,
}

impl Embedded {
    /// Writes a copy of what is durable now to `file`, which must not exist. Commits go on meanwhile. Blocks for as long as it takes to
    /// write the data twice.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoSpace`]; [`Error::Corrupt`] where what was copied is not what it should be. `file` is not made then.
    pub fn copy_to(&self, file: &Path) -> Result<Copied> {
        if file.try_exists()? {
            return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
        }
        let disk = self.shared.disk()?;
        let aside = Aside::new(file)?;
        let data = aside.0.join(DATA_FILE);
        disk.copy_to(&data)?;
        drop(disk);
        let (revision, keys) = check(&aside.0)?;
        seal(&data, revision, keys).and_then(|copied| {
            fs::rename(&data, file)?;
            sync_parent(file)?;
            Ok(copied)
        })
    }
}

/// A directory beside a file, removed when dropped.
struct Aside(PathBuf);

impl Aside {
    fn new(file: &Path) -> Result<Self> {
        let mut name = file.file_name().unwrap_or_default().to_os_string();
        name.push(".partial");
        let dir = file.with_file_name(name);
        remove(&dir)?;
        fs::DirBuilder::new().mode(0o700).create(&dir)?;
        Ok(Self(dir))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove what a copy left");
        }
    }
}

fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Opens what is in a directory and reads all of it: its revision, and how many keys there are.
fn check(dir: &Path) -> Result<(u64, u64)> {
    let options = Options::default();
    let disk = Disk::open(dir, options.max_bytes)?;
    let counted = (|| {
        let state = load(&disk, &options)?;
        let (live, _) = state.index.range("", None, 0, state.revision);
        let snapshot = disk.snapshot()?;
        let keys = live.len() as u64;
        for (key, revision) in live {
            snapshot.value(key, revision)?;
        }
        Ok((state.revision, keys))
    })();
    disk.close();
    counted
}

/// Writes the trailer behind the data.
fn seal(data: &Path, revision: u64, keys: u64) -> Result<Copied> {
    let mut file = File::options().read(true).append(true).open(data)?;
    let bytes = file.metadata()?.len();
    let copied = Copied {
        format: FORMAT,
        revision,
        keys,
        bytes,
        sha256: hash(&mut file, bytes, &mut io::sink())?,
    };
    let trailer = serde_json::to_vec(&copied).map_err(|error| Error::Corrupt(error.to_string()))?;
    // It has a few numbers and a hash.
    let length = u32::try_from(trailer.len()).unwrap_or(u32::MAX);
    file.write_all(&trailer)?;
    file.write_all(&length.to_be_bytes())?;
    file.write_all(&MAGIC)?;
    file.sync_all()?;
    Ok(copied)
}

/// Hashes the first `bytes` of a file, and writes them to `out`.
fn hash(file: &mut File, bytes: u64, out: &mut impl Write) -> Result<String> {
    file.seek(SeekFrom::Start(0))?;
    let mut left = file.take(bytes);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let read = left.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let part = &buffer[..read];
        hasher.update(part);
        out.write_all(part)?;
    }
    let digits = hasher.finalize();
    Ok(digits.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a copy's trailer says, which nobody has checked.
///
/// # Errors
/// [`Error::Corrupt`] where the file is no whole copy, [`Error::Io`].
pub fn read_copy(path: &Path) -> Result<Copied> {
    trailer(&mut open(path)?)
}

/// Opens a file that somebody names. Of a pipe nobody may be at the other end, and a device has none: neither is a copy.
fn open(path: &Path) -> Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(Error::Corrupt("it is no file".to_owned())),
    }
}

fn trailer(file: &mut File) -> Result<Copied> {
    let none = || Error::Corrupt("it is no copy of a store, or was cut off".to_owned());
    let length = file.metadata()?.len();
    let mut end = [0; 12];
    let at = length.checked_sub(end.len() as u64).ok_or_else(none)?;
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut end)?;
    let (size, magic) = end.split_at(4);
    let size = size
        .iter()
        .fold(0_u32, |size, byte| size << 8 | u32::from(*byte));
    if magic != MAGIC || size > TRAILER_BYTES {
        return Err(none());
    }
    let begin = at.checked_sub(u64::from(size)).ok_or_else(none)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut text = vec![0; size as usize];
    file.read_exact(&mut text)?;
    let copied: Copied = serde_json::from_slice(&text).map_err(|_| none())?;
    if copied.format != FORMAT {
        return Err(Error::Corrupt(format!(
            "its format {} is not known, only {FORMAT}",
            copied.format
        )));
    }
    match copied.bytes == begin {
        true => Ok(copied),
        false => Err(none()),
    }
}

/// Makes the store of a copy in `dir`, which must have none. A crash leaves either none or all of it. Its revisions go on far behind the
/// copy's, and behind those of the store that it replaces, where that can be read: see [`leap`].
///
/// # Errors
/// [`Error::Corrupt`] where the copy is damaged, [`Error::Io`] also where there is a store already.
pub fn restore_copy(copy: &Path, dir: &Path, replaced: Option<&Path>) -> Result<Copied> {
    let mut file = open(copy)?;
    let said = trailer(&mut file)?;
    let place = dir.join(DATA_FILE);
    if place.try_exists()? {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists).into());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    let new = dir.join(NEW_DIR);
    remove(&new)?;
    fs::DirBuilder::new().mode(0o700).create(&new)?;
    let data = new.join(DATA_FILE);
    let mut out = File::options()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&data)?;
    if hash(&mut file, said.bytes, &mut out)? != said.sha256 {
        return Err(Error::Corrupt(
            "its content is not what was copied".to_owned(),
        ));
    }
    out.sync_all()?;
    drop(out);
    let found = check(&new)?;
    if found != (said.revision, said.keys) {
        return Err(Error::Corrupt("it does not hold what it says".to_owned()));
    }
    let seen = replaced.and_then(|old| check(old).ok());
    leap(&new, seen.map_or(0, |(revision, _)| revision))?;
    fs::rename(&data, &place)?;
    File::open(dir)?.sync_all()?;
    remove(&new)?;
    Ok(said)
}

/// Lets the history of a restored store begin behind all that was committed since it was copied. Clients that have seen revisions of that
/// time hold compacted ones then, and list again: they would wait for revisions that tell of other changes by now, and never
/// learn what is gone.
fn leap(dir: &Path, seen: u64) -> Result<()> {
    let options = Options::default();
    let disk = Disk::open(dir, options.max_bytes)?;
    let leapt = (|| {
        let state = load(&disk, &options)?;
        let begin = state.revision.max(seen).saturating_add(LEAP_REVISIONS);
        let snapshot = disk.snapshot()?;
        let mut txn = disk.begin()?;
        for entry in snapshot.entries(0..=u64::MAX)? {
            let entry = entry?;
            let last = state.index.last(entry.key).map(|(_, stamp)| stamp);
            if entry.stamp.deleted() || last != Some(entry.stamp) {
                txn.forget(entry.stamp)?;
            }
        }
        txn.set_marks(Marks {
            compacted: begin,
            swept: begin,
        })?;
        txn.commit().map_err(CommitError::into_inner)
    })();
    disk.close();
    leapt
}

fn sync_parent(file: &Path) -> io::Result<()> {
    let parent = file
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests;
