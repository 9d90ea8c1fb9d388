//! The embedded engine: one directory, one process, one writer thread.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Semaphore, watch};

pub(crate) mod copy;
mod cursor;
mod disk;
mod index;
mod policy;
mod queue;
mod ring;
mod writer;

use crate::store::{Store, Watch};
use crate::types::{Change, Error, KeyValue, Op, Outcome, Range, Result};
use cursor::Cursor;
use disk::Disk;
use index::{Index, Stamp};
use policy::Policy;
use queue::Queue;
use ring::Ring;
use writer::Writer;

/// Revision of an empty store, as in etcd.
const FIRST_REVISION: u64 = 1;
/// Key and value of one change. etcd's limit for a request is 1.5 MiB; the API server's for a body is 3 MiB.
const MAX_CHANGE_BYTES: usize = 16 << 20;
/// Reads that may use a blocking thread at a time.
const MAX_BLOCKING_READS: usize = 32;
/// Pages of up to so many keys are read on the caller's thread.
const INLINE_RANGE_KEYS: usize = 64;

/// Called when a sync failed, before the store stops. The default logs and aborts the process.
pub type FatalHook = Arc<dyn Fn(&Error) + Send + Sync>;

/// How an [`Embedded`] store is run.
#[derive(Clone)]
pub struct Options {
    /// Most bytes on disk. It is address space, not memory or disk, until it is used.
    pub max_bytes: usize,
    /// Most commits that may wait for the writer.
    pub queue_requests: usize,
    /// Recent commits kept in memory for watchers, in commits and in bytes.
    pub ring_commits: usize,
    pub ring_bytes: usize,
    /// How often to look whether history can be compacted.
    pub compaction_interval: Duration,
    /// History younger than this is kept, also across restarts.
    pub history_retention: Duration,
    /// But at most so many revisions: a limit against a flood of writes.
    pub history_entries: u64,
    pub fatal: FatalHook,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            max_bytes: 64 << 30,
            queue_requests: 4096,
            ring_commits: 8192,
            ring_bytes: 8 << 20,
            compaction_interval: Duration::from_secs(30),
            history_retention: Duration::from_secs(5 * 60),
            history_entries: 4_000_000,
            fatal: Arc::new(writer::abort),
        }
    }
}

/// The durable revisions, as readers and watchers see them.
struct State {
    index: Index,
    ring: Ring,
    revision: u64,
    compacted: u64,
    /// First revision whose leftovers the compaction has not removed. At most `compacted`, or 1.
    swept: u64,
}

impl State {
    /// The revision that a read at `at` means.
    fn check_read(&self, at: Option<u64>) -> Result<u64> {
        match at {
            None | Some(0) => Ok(self.revision),
            Some(at) if at > self.revision => Err(Error::Future {
                current: self.revision,
            }),
            Some(at) if at < self.compacted => Err(Error::Compacted {
                compacted: self.compacted,
            }),
            Some(at) => Ok(at),
        }
    }

    fn check_watch(&self, from: u64) -> Result<()> {
        match from <= self.compacted {
            true => Err(Error::Compacted {
                compacted: self.compacted,
            }),
            false => Ok(()),
        }
    }
}

struct Shared {
    state: RwLock<State>,
    queue: Queue,
    /// `None` once the store is closed.
    disk: Mutex<Option<Arc<Disk>>>,
    reads: Semaphore,
}

impl Shared {
    fn disk(&self) -> Result<Arc<Disk>> {
        self.disk.lock().clone().ok_or(Error::Closed)
    }

    /// Runs a read that may take longer than an async task should, on a blocking thread.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(Arc<Shared>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let _slot = self.reads.acquire().await.map_err(|_| Error::Closed)?;
        let shared = self.clone();
        tokio::task::spawn_blocking(move || read(shared))
            .await
            .map_err(|_| Error::Closed)?
    }

    fn get(&self, key: &str, at: Option<u64>) -> Result<(u64, Option<KeyValue>)> {
        let disk = self.disk()?;
        let (revision, found, snapshot) = {
            let state = self.state.read();
            let at = state.check_read(at)?;
            let found = state
                .index
                .at(key, at)
                .and_then(|(key, stamp)| Some((key, stamp.live()?)));
            let Some(found) = found else {
                return Ok((state.revision, None));
            };
            // Under the lock: whatever a compaction removes from now on stays in this snapshot.
            (state.revision, found, disk.snapshot()?)
        };
        Ok((revision, Some(snapshot.value(found.0, found.1)?)))
    }

    fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Range> {
        let disk = self.disk()?;
        let (revision, (found, remaining), snapshot) = {
            let state = self.state.read();
            let at = state.check_read(at)?;
            (
                state.revision,
                state.index.range(prefix, start_after, limit, at),
                disk.snapshot()?,
            )
        };
        let kvs = found
            .into_iter()
            .map(|(key, at)| snapshot.value(key, at))
            .collect::<Result<_>>()?;
        Ok(Range {
            revision,
            kvs,
            more: remaining > 0,
            remaining,
        })
    }
}

/// The store of a single server. Dropping it closes it: queued commits are finished first.
pub struct Embedded {
    shared: Arc<Shared>,
    published: watch::Receiver<u64>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl Embedded {
    /// Opens the store in the directory `path`, which is created if it is missing. Blocks for the time it takes to
    /// read the index (about a millisecond for 1 000 revisions). `Locked` if somebody else has it open.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Embedded> {
        let path = path.as_ref();
        let begin = Instant::now();
        let disk = Arc::new(Disk::open(path, options.max_bytes)?);
        let state = load(&disk, &options)?;
        let revision = state.revision;
        tracing::info!(path = %path.display(), revision, elapsed = ?begin.elapsed(), "store opened");
        let (sender, published) = watch::channel(revision);
        let shared = Arc::new(Shared {
            state: RwLock::new(state),
            queue: Queue::new(options.queue_requests),
            disk: Mutex::new(Some(disk.clone())),
            reads: Semaphore::new(MAX_BLOCKING_READS),
        });
        let now = Instant::now();
        let policy = Policy::new(
            options.compaction_interval,
            options.history_retention,
            options.history_entries,
            now,
        );
        let writer = Writer {
            shared: shared.clone(),
            disk,
            published: sender,
            policy,
            sweep_at: now,
            fatal: options.fatal,
        };
        let thread = std::thread::Builder::new().name("store-writer".to_owned());
        let writer = Mutex::new(Some(thread.spawn(move || writer.run())?));
        Ok(Embedded {
            shared,
            published,
            writer,
        })
    }

    /// Revision of the last durable commit, also when the store is closed. Nobody else commits: it is what [`Store::revision`] tells.
    pub fn published(&self) -> u64 {
        *self.published.borrow()
    }

    /// Finishes the commits that wait, and closes the directory; every later call answers `Closed`. Blocks for as
    /// long as the last sync takes.
    pub fn close(&self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.lock().take()
            && writer.join().is_err()
        {
            tracing::error!("store writer panicked");
        }
        self.shared.disk.lock().take();
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

/// Builds the index from disk, and checks that no revision is missing.
fn load(disk: &Disk, options: &Options) -> Result<State> {
    let snapshot = disk.snapshot()?;
    let marks = snapshot.marks()?;
    let swept = marks.swept.max(FIRST_REVISION);
    let mut revision = marks.compacted.max(FIRST_REVISION);
    let mut index = Index::default();
    let mut expected = swept + 1;
    for entry in snapshot.entries(0..=u64::MAX)? {
        let entry = entry?;
        let found = entry.stamp.revision();
        // Below the sweep there are holes; above it every revision left a row.
        if found > swept {
            if found != expected {
                return Err(Error::Corrupt(format!("revision {expected} is missing")));
            }
            expected += 1;
        }
        revision = revision.max(found);
        let key = index
            .last(entry.key)
            .map_or_else(|| Arc::from(entry.key), |(key, _): (_, Stamp)| key);
        index.push(key, entry.stamp);
    }
    if expected <= marks.compacted {
        return Err(Error::Corrupt(format!("revision {expected} is missing")));
    }
    let ring = Ring::new(revision, options.ring_commits, options.ring_bytes);
    Ok(State {
        index,
        ring,
        revision,
        compacted: marks.compacted,
        swept,
    })
}

#[async_trait]
impl Store for Embedded {
    fn hands_back_bytes(&self) -> bool {
        true
    }

    async fn revision(&self) -> Result<u64> {
        self.shared.disk()?;
        Ok(self.published())
    }

    async fn get(&self, key: &str, at: Option<u64>) -> Result<(u64, Option<KeyValue>)> {
        self.shared.get(key, at)
    }

    async fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Range> {
        if (1..=INLINE_RANGE_KEYS).contains(&limit) {
            return self.shared.range(prefix, start_after, limit, at);
        }
        let (prefix, start_after) = (prefix.to_owned(), start_after.map(str::to_owned));
        let read =
            move |shared: Arc<Shared>| shared.range(&prefix, start_after.as_deref(), limit, at);
        self.shared.blocking(read).await
    }

    async fn commit(&self, op: Op) -> Result<Outcome> {
        let bytes = op.key.len()
            + if let Change::Put(value) = &op.change {
                value.len()
            } else {
                0
            };
        if bytes > MAX_CHANGE_BYTES {
            return Err(Error::TooLarge {
                bytes,
                limit: MAX_CHANGE_BYTES,
            });
        }
        self.shared
            .queue
            .submit(op)
            .await?
            .await
            .map_err(|_| Error::Closed)?
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch> {
        self.shared.disk()?;
        let from = {
            let state = self.shared.state.read();
            let from = if from == 0 { state.revision + 1 } else { from };
            state.check_watch(from)?;
            from
        };
        let published = self.published.clone();
        let cursor = Cursor {
            shared: self.shared.clone(),
            prefix: Arc::from(prefix),
            next: from,
            published,
        };
        Ok(Watch::new(Box::new(cursor), from))
    }

    async fn compact(&self, revision: u64) -> Result<()> {
        self.shared.disk()?;
        let mut state = self.shared.state.write();
        if revision > state.revision {
            return Err(Error::Future {
                current: state.revision,
            });
        }
        if revision <= state.compacted {
            return Err(Error::Compacted {
                compacted: state.compacted,
            });
        }
        state.compacted = revision;
        state.ring.forget(revision);
        drop(state);
        self.shared.queue.nudge();
        Ok(())
    }

    fn compacted(&self) -> u64 {
        self.shared.state.read().compacted
    }
}

#[cfg(test)]
mod tests;
