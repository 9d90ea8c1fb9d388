//! What goes into a store and what comes out.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;

/// One key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: Arc<str>,
    pub value: Bytes,
    /// Revision of the commit that created the key (again, when it was deleted in between).
    pub create_revision: u64,
    /// Revision of the commit that wrote this value.
    pub mod_revision: u64,
    /// 1 at creation, one more for each change since.
    pub version: u64,
}

/// A change of one key, made only if the key is as expected.
#[derive(Clone, Debug)]
pub struct Op {
    pub key: String,
    pub expect: Expect,
    pub change: Change,
}

impl Op {
    /// Creates the key; a conflict if it exists.
    pub fn create(key: impl Into<String>, value: impl Into<Bytes>) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Absent,
            change: Change::Put(value.into()),
        }
    }

    /// Creates or overwrites the key.
    pub fn put(key: impl Into<String>, value: impl Into<Bytes>) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Any,
            change: Change::Put(value.into()),
        }
    }

    /// Overwrites the key; a conflict if its mod revision is another.
    pub fn update(key: impl Into<String>, revision: u64, value: impl Into<Bytes>) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Revision(revision),
            change: Change::Put(value.into()),
        }
    }

    /// Deletes the key, if it exists.
    pub fn delete(key: impl Into<String>) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Any,
            change: Change::Delete,
        }
    }

    /// Deletes the key; a conflict if its mod revision is another.
    pub fn delete_at(key: impl Into<String>, revision: u64) -> Op {
        Op {
            key: key.into(),
            expect: Expect::Revision(revision),
            change: Change::Delete,
        }
    }
}

/// The state a key must be in for a change to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    Any,
    Absent,
    /// The key's mod revision. 0 means absent, as in etcd.
    Revision(u64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Put(Bytes),
    Delete,
}

/// What became of an [`Op`]. Everything it tells is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The change was made at `revision`. A delete of a key that does not exist takes no revision: it reports the
    /// store's current one and no previous value.
    Committed {
        revision: u64,
        previous: Option<KeyValue>,
    },
    /// The key was not as expected but `current` (`None`: absent), when the store was at `revision`.
    Conflict {
        current: Option<KeyValue>,
        revision: u64,
    },
}

/// A page of keys in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The store's current revision, also when an older one was asked for.
    pub revision: u64,
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the page off.
    pub more: bool,
    /// How many keys follow the page.
    pub remaining: u64,
}

/// The changes of one revision under a watch's prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    pub revision: u64,
    pub events: Vec<Event>,
}

/// A change of one key: created (no previous), changed (both), or deleted (no value).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub key: Arc<str>,
    pub value: Option<KeyValue>,
    pub previous: Option<KeyValue>,
}

/// Commits of a watch in revision order, and how far they reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub commits: Vec<Commit>,
    /// Every commit under the prefix up to this revision has been handed out, with this batch.
    pub revision: u64,
}

/// Why the store could not answer. Cheap to clone: one failed batch fails every writer in it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The revision asked for is gone (etcd: "required revision has been compacted").
    #[error("revision has been compacted (compacted up to {compacted})")]
    Compacted { compacted: u64 },
    /// The revision asked for has not happened yet (etcd: "required revision is a future revision").
    #[error("revision is in the future (current is {current})")]
    Future { current: u64 },
    /// The store was closed, or ended after an error that it could not survive.
    #[error("store is closed")]
    Closed,
    /// Another process (or another handle in this one) has the directory open.
    #[error("store {} is in use by another process", .path.display())]
    Locked { path: PathBuf },
    /// The change is larger than the store takes.
    #[error("key and value of {bytes} bytes exceed the limit of {limit} bytes")]
    TooLarge { bytes: usize, limit: usize },
    /// The store has reached its size limit; nothing was changed.
    #[error("store has reached its size limit, nothing was changed")]
    Full,
    /// The disk (or its quota) has no room for the change; nothing was changed, and a later try may succeed.
    #[error("no space left on the store's disk, nothing was changed")]
    NoSpace,
    /// Nobody answers who could; what was asked for may be done, or come to be done, all the same. A later try may succeed.
    #[error("the store does not answer: {reason}")]
    Unavailable { reason: String },
    /// The store does not do this for us.
    #[error("the store refuses: {reason}")]
    Refused { reason: String },
    /// What is on disk contradicts itself.
    #[error("store is corrupt: {0}")]
    Corrupt(String),
    #[error("store i/o error: {0}")]
    Io(#[source] Arc<std::io::Error>),
}

impl From<std::io::Error> for Error {
    /// The disk, the quota or the process's own limit may just have no room for more.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
                Error::NoSpace
            }
            _ => Error::Io(Arc::new(error)),
        }
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;
