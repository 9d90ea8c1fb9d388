//! A watch of the embedded store: a place in the stream of revisions. It costs nothing while it waits.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::Shared;
use super::index::Stamp;
use crate::store::WatchSource;
use crate::types::{Batch, Commit, Error, Event, Result};

/// Entries of the ring that a cursor looks at under one lock.
const RING_ENTRIES: usize = 1024;
/// Revisions, and bytes of values, that one read of history replays.
const REPLAY_REVISIONS: u64 = 512;
const REPLAY_BYTES: usize = 4 << 20;

pub(crate) struct Cursor {
    pub(crate) shared: Arc<Shared>,
    pub(crate) prefix: Arc<str>,
    /// First revision that was not looked at.
    pub(crate) next: u64,
    pub(crate) published: watch::Receiver<u64>,
}

#[async_trait]
impl WatchSource for Cursor {
    async fn next_batch(&mut self) -> Result<Batch> {
        let next = self.next;
        self.published
            .wait_for(|revision| *revision >= next)
            .await
            .map_err(|_| Error::Closed)?;
        let recent = {
            let state = self.shared.state.read();
            state.check_watch(next)?;
            state.ring.read(&self.prefix, next, RING_ENTRIES)
        };
        let (commits, next) = match recent {
            Some(recent) => recent,
            None => {
                let prefix = self.prefix.clone();
                self.shared
                    .blocking(move |shared| replay(&shared, &prefix, next))
                    .await?
            }
        };
        self.next = next;
        Ok(Batch {
            commits,
            revision: next - 1,
        })
    }
}

/// Reads commits under the prefix from the engine, and the revision to go on from.
fn replay(shared: &Shared, prefix: &str, from: u64) -> Result<(Vec<Commit>, u64)> {
    let disk = shared.disk()?;
    let (snapshot, last) = {
        let state = shared.state.read();
        state.check_watch(from)?;
        (
            disk.snapshot()?,
            state.revision.min(from + REPLAY_REVISIONS - 1),
        )
    };
    let mut entries = Vec::new();
    for entry in snapshot.entries(from..=last)? {
        let entry = entry?;
        if entry.key.starts_with(prefix) {
            entries.push((entry.key.to_owned(), entry.stamp));
        }
    }
    let mut changes = Vec::with_capacity(entries.len());
    {
        let state = shared.state.read();
        // What a compaction takes out of the index meanwhile would be missing as a previous value.
        state.check_watch(from)?;
        for (key, stamp) in entries {
            let Some((key, _)) = state.index.last(&key) else {
                continue;
            };
            let before = state.index.before(&key, stamp.revision());
            changes.push((key, stamp, before));
        }
    }
    let (mut commits, mut bytes, mut next) = (Vec::new(), 0, last + 1);
    for (key, stamp, before) in changes {
        if bytes > REPLAY_BYTES {
            next = stamp.revision();
            break;
        }
        let read = |at: Option<u64>| at.map(|at| snapshot.value(key.clone(), at)).transpose();
        let (value, previous) = (read(stamp.live())?, read(before.and_then(Stamp::live))?);
        let event = Event {
            key,
            value,
            previous,
        };
        bytes += event
            .value
            .iter()
            .chain(&event.previous)
            .map(|kv| kv.value.len())
            .sum::<usize>();
        commits.push(Commit {
            revision: stamp.revision(),
            events: vec![event],
        });
    }
    Ok((commits, next))
}
