//! The revisioned key-value store: the [`Store`] trait and the embedded engine.
//!
//! The store knows nothing of Kubernetes. It has etcd's semantics, so that an etcd cluster can stand in for it: one
//! global revision counter (1 in an empty store, each commit takes the next one), reads at any revision that is still
//! kept, commits that compare a key's mod revision, and watches of a key prefix from a revision on.
//!
//! How data flows through [`Embedded`]:
//!
//! ```text
//! commit() -> bounded queue -> writer thread: decide each op against the newest state, write the batch into one
//!     engine transaction, fsync -> index + ring of recent commits -> `published` revision -> answers
//! get(), range() -> index (key to revisions, in memory) -> values from the engine (LMDB's memory map)
//! watch() -> a cursor: into the ring, or, when it is older, into the engine's history
//! ```
//!
//! Nobody sees a commit before its fsync: neither its writer, nor a reader, nor a watcher. Values are in memory only
//! while they are in the ring (which has a limit in bytes): the API server's cache has them already.
//!
//! A copy of it in one file is taken while it is written to ([`Embedded::copy_to`]), and checked before it is used again.
//!
//! Rejected: a task per commit with an fsync each (batches of 32 are ten times faster); an in-memory cache of current
//! values (a read from the map costs about a microsecond); channels per watcher (a slow watcher would cost memory or be
//! cut off). Why LMDB: `docs/decisions/0001-store-engine.md`.

mod embedded;
#[cfg(feature = "memory")]
mod memory;
mod store;
mod types;

pub use embedded::{
    Embedded, FatalHook, Options,
    copy::{Copied, read_copy, restore_copy},
};
#[cfg(feature = "memory")]
pub use memory::Memory;
pub use store::{Store, Watch, WatchSource};
pub use types::{
    Batch, Change, Commit, Error, Event, Expect, KeyValue, Op, Outcome, Range, Result,
};
