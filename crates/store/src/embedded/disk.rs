//! What is on disk: an LMDB environment with three tables.
//!
//! - `index`: revision -> flag (0 put, 1 delete), key. All of it is read at open, and it is small.
//! - `values`: revision -> create revision, version, value. Deletes have none.
//! - `meta`: the format, the compaction, and how far its sweep got.
//!
//! Revisions only grow, so writes append to the right edge of both trees, and a crash leaves either all of a
//! transaction or none of it. One process at a time: a lock file says so (LMDB alone would let two in).

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use heed::byteorder::BE;
use heed::types::{Bytes as Raw, Str, U64};
use heed::{
    CommitOrAbort, CompactionOption, Database, Env, EnvFlags, EnvOpenOptions, MdbError, PutFlags,
    RoTxn, RwTxn, WithoutTls,
};

use super::index::Stamp;
use crate::types::{Error, KeyValue, Result};

/// Version of the tables' layout. Another one is not opened.
const FORMAT: u64 = 1;
/// Reader slots in LMDB's lock file (64 bytes each): more than ever read at a time.
const MAX_READERS: u32 = 1024;
/// LMDB's lock file: its head and [`MAX_READERS`] slots, with room to spare.
const LOCK_BYTES: usize = 72 << 10;
const HEADER_BYTES: usize = 16;

pub(crate) const DATA_FILE: &str = "data.mdb";
const LOCK_FILE: &str = "lock.mdb";
/// A new environment is made in this directory and then moved, whole, to where it belongs.
pub(crate) const NEW_DIR: &str = "new";

const META_FORMAT: &str = "format";
const META_COMPACTED: &str = "compacted";
const META_SWEPT: &str = "swept";

type Table = Database<'static, U64<BE>, Raw>;

pub(crate) struct Disk {
    env: Env<WithoutTls>,
    index: Table,
    values: Table,
    meta: Database<'static, Str, U64<BE>>,
    /// The data file through a descriptor of our own: see [`Disk::is_sound`].
    data: File,
    /// The next commit fails as if fsync had.
    #[cfg(test)]
    pub(crate) fail_commit: std::sync::atomic::AtomicBool,
    /// Held as long as the environment is open.
    _lock: File,
}

/// How far compaction got. `swept` is the first revision that may still have leftovers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) compacted: u64,
    pub(crate) swept: u64,
}

/// A row of the index table.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'t> {
    pub(crate) stamp: Stamp,
    pub(crate) key: &'t str,
}

impl Disk {
    /// Opens or creates the environment in `dir`, of at most `max_bytes`.
    pub(crate) fn open(dir: &Path, max_bytes: usize) -> Result<Disk> {
        create_dir(dir)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Locked {
                path: dir.to_path_buf(),
            },
            TryLockError::Error(error) => error.into(),
        })?;
        if !dir.join(DATA_FILE).try_exists()? {
            create(dir, max_bytes)?;
        }
        Disk::open_in(dir, max_bytes, lock)
    }

    fn open_in(dir: &Path, max_bytes: usize, lock: File) -> Result<Disk> {
        fill_lock_file(dir)?;
        let env = open_env(dir, max_bytes)?;
        let data = File::open(dir.join(DATA_FILE))?;
        let txn = env.write_txn().map_err(engine)?;
        let tables = env.create_databases_and_commit(txn, |opener, txn| {
            let index = opener.create_database(txn, Some("index"))?;
            let values = opener.create_database(txn, Some("values"))?;
            let meta = opener.create_database(txn, Some("meta"))?;
            Ok::<_, heed::Error>(CommitOrAbort::<_, ()>::Commit((index, values, meta)))
        });
        let Some((index, values, meta)) = tables.map_err(engine)?.commit() else {
            return Err(Error::Corrupt("tables could not be opened".to_owned()));
        };
        let disk = Disk {
            env,
            index,
            values,
            meta,
            data,
            #[cfg(test)]
            fail_commit: false.into(),
            _lock: lock,
        };
        disk.check_format()?;
        Ok(disk)
    }

    fn check_format(&self) -> Result<()> {
        let mut txn = self.begin()?;
        match self.meta.get(&txn.txn, META_FORMAT).map_err(engine)? {
            Some(FORMAT) => Ok(()),
            Some(other) => Err(Error::Corrupt(format!(
                "format {other} is not known, only {FORMAT}"
            ))),
            None => {
                self.meta
                    .put(&mut txn.txn, META_FORMAT, &FORMAT)
                    .map_err(engine)?;
                txn.commit().map_err(CommitError::into_inner)
            }
        }
    }

    /// After a commit that failed: whether only that commit is lost. The engine does not say which of its steps failed
    /// (it reports a short write as an i/o error), but two things can be asked. A write-back error is reported once to
    /// each descriptor that was open when it happened, so that a sync through ours fails if the engine's did. And after a
    /// failed write of the page that makes a transaction visible the engine refuses every other one. If neither is so,
    /// it was a write of pages that nothing refers to.
    fn is_sound(&self) -> bool {
        self.data.sync_data().is_ok() && self.env.write_txn().is_ok()
    }

    /// A consistent view of what is durable now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot<'_>> {
        Ok(Snapshot {
            disk: self,
            txn: self.env.read_txn().map_err(engine)?,
        })
    }

    /// The one write transaction; the caller makes sure that there is no other.
    pub(crate) fn begin(&self) -> Result<Transaction<'_>> {
        Ok(Transaction {
            disk: self,
            txn: self.env.write_txn().map_err(engine)?,
        })
    }

    /// Writes what is durable now, and nothing else, to a file that must not exist.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<()> {
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let copied = self.env.copy_to_file(&mut file, CompactionOption::Enabled);
        copied.map_err(engine)?;
        Ok(file.sync_all()?)
    }

    /// Waits until the engine has let go of its files.
    pub(crate) fn close(self) {
        self.env.prepare_for_closing().wait();
    }

    fn value(&self, txn: &RoTxn<'_>, key: Arc<str>, revision: u64) -> Result<KeyValue> {
        let Some(record) = self.values.get(txn, &revision).map_err(engine)? else {
            return Err(Error::Corrupt(format!("revision {revision} has no value")));
        };
        let Some((header, value)) = record.split_first_chunk::<HEADER_BYTES>() else {
            return Err(Error::Corrupt(format!(
                "value of revision {revision} is cut off"
            )));
        };
        let (create, version) = header.split_at(HEADER_BYTES / 2);
        let number = |bytes: &[u8]| {
            bytes
                .iter()
                .rev()
                .fold(0, |n, byte| n << 8 | u64::from(*byte))
        };
        Ok(KeyValue {
            key,
            value: Bytes::copy_from_slice(value),
            create_revision: number(create),
            mod_revision: revision,
            version: number(version),
        })
    }
}

/// See [`Disk::snapshot`].
pub(crate) struct Snapshot<'d> {
    disk: &'d Disk,
    txn: RoTxn<'d, WithoutTls>,
}

impl Snapshot<'_> {
    pub(crate) fn marks(&self) -> Result<Marks> {
        let mark = |name| {
            self.disk
                .meta
                .get(&self.txn, name)
                .map_err(engine)
                .map(Option::unwrap_or_default)
        };
        Ok(Marks {
            compacted: mark(META_COMPACTED)?,
            swept: mark(META_SWEPT)?,
        })
    }

    /// The value that `key` got at `revision`.
    pub(crate) fn value(&self, key: Arc<str>, revision: u64) -> Result<KeyValue> {
        self.disk.value(&self.txn, key, revision)
    }

    /// The index rows of `revisions`, in order.
    pub(crate) fn entries(
        &self,
        revisions: std::ops::RangeInclusive<u64>,
    ) -> Result<impl Iterator<Item = Result<Entry<'_>>>> {
        let rows = self
            .disk
            .index
            .range(&self.txn, &revisions)
            .map_err(engine)?;
        Ok(rows.map(|row| entry(row.map_err(engine)?)))
    }
}

/// See [`Disk::begin`]. Nothing of it happens unless it is committed.
pub(crate) struct Transaction<'d> {
    disk: &'d Disk,
    txn: RwTxn<'d>,
}

impl Transaction<'_> {
    /// Like [`Snapshot::value`], and sees what this transaction wrote.
    pub(crate) fn value(&self, key: Arc<str>, revision: u64) -> Result<KeyValue> {
        self.disk.value(&self.txn, key, revision)
    }

    pub(crate) fn put(&mut self, kv: &KeyValue) -> Result<()> {
        self.append_index(kv.mod_revision, 0, &kv.key)?;
        let size = HEADER_BYTES + kv.value.len();
        let mut record = Vec::with_capacity(size);
        record.extend(kv.create_revision.to_le_bytes());
        record.extend(kv.version.to_le_bytes());
        record.extend_from_slice(&kv.value);
        let values = self.disk.values;
        values
            .put_with_flags(&mut self.txn, PutFlags::APPEND, &kv.mod_revision, &record)
            .map_err(engine)
    }

    pub(crate) fn delete(&mut self, key: &str, revision: u64) -> Result<()> {
        self.append_index(revision, 1, key)
    }

    fn append_index(&mut self, revision: u64, flag: u8, key: &str) -> Result<()> {
        let mut record = Vec::with_capacity(1 + key.len());
        record.push(flag);
        record.extend_from_slice(key.as_bytes());
        let index = self.disk.index;
        index
            .put_with_flags(&mut self.txn, PutFlags::APPEND, &revision, &record)
            .map_err(engine)
    }

    /// Takes a revision out of history.
    pub(crate) fn forget(&mut self, stamp: Stamp) -> Result<()> {
        let revision = stamp.revision();
        self.disk
            .index
            .delete(&mut self.txn, &revision)
            .map_err(engine)?;
        if !stamp.deleted() {
            self.disk
                .values
                .delete(&mut self.txn, &revision)
                .map_err(engine)?;
        }
        Ok(())
    }

    pub(crate) fn set_marks(&mut self, marks: Marks) -> Result<()> {
        let meta = self.disk.meta;
        meta.put(&mut self.txn, META_COMPACTED, &marks.compacted)
            .map_err(engine)?;
        meta.put(&mut self.txn, META_SWEPT, &marks.swept)
            .map_err(engine)
    }

    /// Durable when it returns.
    pub(crate) fn commit(self) -> Result<(), CommitError> {
        #[cfg(test)]
        if self
            .disk
            .fail_commit
            .load(std::sync::atomic::Ordering::SeqCst)
        {
            return Err(CommitError::Unknown(
                std::io::Error::other("injected").into(),
            ));
        }
        let Err(error) = self.txn.commit().map_err(engine) else {
            return Ok(());
        };
        match error {
            // A short write: no other i/o error leaves the file sound.
            Error::NoSpace | Error::Io(_) if self.disk.is_sound() => {
                Err(CommitError::Refused(Error::NoSpace))
            }
            // The engine found no page before it wrote any.
            Error::Full => Err(CommitError::Refused(error)),
            _ => Err(CommitError::Unknown(error)),
        }
    }
}

/// Why a transaction did not commit.
#[derive(Debug)]
pub(crate) enum CommitError {
    /// It never became visible, and nothing that was committed before is in doubt.
    Refused(Error),
    /// Nobody can say what is on disk.
    Unknown(Error),
}

impl CommitError {
    pub(crate) fn into_inner(self) -> Error {
        match self {
            CommitError::Refused(error) | CommitError::Unknown(error) => error,
        }
    }
}

fn entry<'t>((revision, record): (u64, &'t [u8])) -> Result<Entry<'t>> {
    let corrupt = || Error::Corrupt(format!("index row of revision {revision} is malformed"));
    let (flag, key) = record.split_first().ok_or_else(corrupt)?;
    let key = std::str::from_utf8(key).map_err(|_| corrupt())?;
    Ok(Entry {
        stamp: Stamp::new(revision, *flag == 1),
        key,
    })
}

#[allow(unsafe_code)]
fn open_env(dir: &Path, max_bytes: usize) -> Result<Env<WithoutTls>> {
    let page = 1 << 16;
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options
        .map_size(max_bytes.next_multiple_of(page))
        .max_dbs(3)
        .max_readers(MAX_READERS);
    // SAFETY: the map is undefined behaviour if something else changes the file under it. The directory is ours alone
    // (mode 0700, and the lock file keeps other processes of ours out), and no flag that weakens LMDB's own locking
    // or syncing is set: NO_READ_AHEAD is advice to the kernel.
    unsafe { options.flags(EnvFlags::NO_READ_AHEAD).open(dir) }.map_err(engine)
}

/// Makes an empty environment, so that a crash at any point leaves either none or a whole one: LMDB writes the first pages
/// of a new file without order and later takes a torn one for another program's.
fn create(dir: &Path, max_bytes: usize) -> Result<()> {
    let new = dir.join(NEW_DIR);
    match fs::remove_dir_all(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => create_dir(&new)?,
    }
    let lock = File::create(new.join("lock"))?;
    Disk::open_in(&new, max_bytes, lock)?.close();
    let data = new.join(DATA_FILE);
    File::open(&data)?.sync_all()?;
    fs::rename(&data, dir.join(DATA_FILE))?;
    // The file's name has to survive a power failure too.
    File::open(dir)?.sync_all()?;
    fs::remove_dir_all(&new)?;
    Ok(())
}

/// LMDB maps its lock file for writing, and a page of it that has no block on a full disk ends the process with SIGBUS when
/// it is first touched. So all of it is written before: nobody else uses it, and what is in it does not outlive a process.
fn fill_lock_file(dir: &Path) -> Result<()> {
    let mut file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(dir.join(LOCK_FILE))?;
    file.write_all(&[0; LOCK_BYTES])?;
    Ok(())
}

/// Creates the directory for us only, and makes its name durable.
fn create_dir(dir: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn engine(error: heed::Error) -> Error {
    match error {
        heed::Error::Io(error) => error.into(),
        heed::Error::Mdb(MdbError::MapFull) => Error::Full,
        heed::Error::Mdb(error) if error.not_found() => {
            Error::Corrupt("a record is missing".to_owned())
        }
        heed::Error::Mdb(MdbError::Other(code)) => std::io::Error::from_raw_os_error(code).into(),
        other => Error::Corrupt(other.to_string()),
    }
}
