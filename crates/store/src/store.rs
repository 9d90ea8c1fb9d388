//! The interface that the embedded engine and an etcd cluster share.

use std::collections::VecDeque;

use async_trait::async_trait;

use crate::types::{Batch, Commit, KeyValue, Op, Outcome, Range, Result};

/// A revisioned key-value store with etcd's semantics. Used as `Arc<dyn Store>`.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Revision of the last durable commit; 1 in an empty store. Linearizable: not below that of any commit, of this server or
    /// another, that was answered before this was asked. Who only needs what this server has seen so far asks its watch cache.
    async fn revision(&self) -> Result<u64>;

    /// Whether watches of this process get the very bytes that a commit put, and not a copy.
    fn hands_back_bytes(&self) -> bool {
        false
    }

    /// The key as it was at revision `at` (`None` or 0: now), and the store's current revision.
    async fn get(&self, key: &str, at: Option<u64>) -> Result<(u64, Option<KeyValue>)>;

    /// Keys that start with `prefix` and are greater than `start_after`, in byte order, at most `limit` of them (0: all),
    /// as they were at revision `at` (`None` or 0: now). A revision below the last compaction is `Compacted`, one
    /// that has not happened is `Future`.
    async fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        at: Option<u64>,
    ) -> Result<Range>;

    /// Makes the change if the key is as expected. Whatever the outcome, what it tells is durable when this returns.
    /// The change may happen even if the future is dropped.
    async fn commit(&self, op: Op) -> Result<Outcome>;

    /// Every commit under `prefix` whose revision is at least `from` (0: from the next one on), in revision order,
    /// without gap or repeat. `Compacted` if `from` is not after the last compaction; a revision that has not
    /// happened yet is waited for.
    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch>;

    /// Forgets what `revision` or an earlier one superseded: reads below `revision` and watches from it or before
    /// are `Compacted` from now on. Space is reclaimed in the background. `Compacted` if that was done
    /// already, `Future` if the revision has not happened.
    async fn compact(&self, revision: u64) -> Result<()>;

    /// The revision of the last compaction that is known here; 0 if there was none. Where several servers share the store,
    /// another's may be later: then a read tells.
    fn compacted(&self) -> u64;
}

/// What a [`Watch`] reads from: one for each kind of store.
#[async_trait]
pub trait WatchSource: Send {
    /// The next commits under the prefix, or none of them with the news that the store got further. Cancel safe.
    async fn next_batch(&mut self) -> Result<Batch>;
}

/// A watch of a prefix. After an error it yields no more: open another one from `revision() + 1`.
pub struct Watch {
    source: Box<dyn WatchSource>,
    buffer: VecDeque<Commit>,
    /// What the buffer's batch reaches to.
    reached: u64,
}

impl Watch {
    /// A watch that has everything before revision `from` behind it.
    pub fn new(source: Box<dyn WatchSource>, from: u64) -> Watch {
        Watch {
            source,
            buffer: VecDeque::new(),
            reached: from.saturating_sub(1),
        }
    }

    /// The next commit under the prefix. Cancel safe.
    pub async fn next(&mut self) -> Result<Commit> {
        loop {
            if let Some(commit) = self.buffer.pop_front() {
                return Ok(commit);
            }
            let batch = self.source.next_batch().await?;
            self.buffer = batch.commits.into();
            self.reached = batch.revision;
        }
    }

    /// All commits that are ready, at least when there is progress: for a reader that has to know that it has seen
    /// everything up to a revision, also when none of it was under its prefix. Cancel safe.
    pub async fn next_batch(&mut self) -> Result<Batch> {
        if self.buffer.is_empty() {
            let batch = self.source.next_batch().await?;
            self.reached = batch.revision;
            return Ok(batch);
        }
        Ok(Batch {
            commits: std::mem::take(&mut self.buffer).into(),
            revision: self.reached,
        })
    }

    /// Every commit under the prefix up to this revision has been handed out.
    pub fn revision(&self) -> u64 {
        self.buffer
            .front()
            .map_or(self.reached, |commit| commit.revision - 1)
    }
}
