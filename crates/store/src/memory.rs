//! A store in memory, for tests of what stands on a store: no disk, no thread, so that time may be paused.
//!
//! It keeps the same contract as the embedded one (and passes its tests), but nothing outlives it, and history takes memory
//! until the end.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::store::{Store, Watch, WatchSource};
use crate::types::{
    Batch, Change, Commit, Error, Event, Expect, KeyValue, Op, Outcome, Range, Result,
};

/// Revision of an empty store, as in etcd.
const FIRST_REVISION: u64 = 1;

#[derive(Default)]
struct State {
    /// The event of each revision from the second on.
    events: Vec<Event>,
    /// What each key was from a revision on; `None` while it was deleted.
    keys: BTreeMap<Arc<str>, Vec<(u64, Option<KeyValue>)>>,
    compacted: u64,
}

impl State {
    fn revision(&self) -> u64 {
        FIRST_REVISION + self.events.len() as u64
    }

    fn check_read(&self, at: Option<u64>) -> Result<u64> {
        let current = self.revision();
        match at {
            None | Some(0) => Ok(current),
            Some(at) if at > current => Err(Error::Future { current }),
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

    fn commit(&mut self, op: Op) -> Outcome {
        let key: Arc<str> = Arc::from(op.key);
        let versions = self.keys.get(&key);
        let current = versions.and_then(|versions| versions.last()?.1.clone());
        let expected = match op.expect {
            Expect::Any => true,
            Expect::Absent | Expect::Revision(0) => current.is_none(),
            Expect::Revision(at) => current.as_ref().is_some_and(|kv| kv.mod_revision == at),
        };
        let revision = self.revision();
        if !expected {
            return Outcome::Conflict { current, revision };
        }
        if current.is_none() && op.change == Change::Delete {
            return Outcome::Committed {
                revision,
                previous: None,
            };
        }
        let revision = revision + 1;
        let value = match op.change {
            Change::Delete => None,
            Change::Put(value) => Some(KeyValue {
                key: key.clone(),
                value,
                create_revision: current.as_ref().map_or(revision, |kv| kv.create_revision),
                mod_revision: revision,
                version: current.as_ref().map_or(1, |kv| kv.version + 1),
            }),
        };
        self.events.push(Event {
            key: key.clone(),
            value: value.clone(),
            previous: current.clone(),
        });
        self.keys.entry(key).or_default().push((revision, value));
        Outcome::Committed {
            revision,
            previous: current,
        }
    }
}

fn at(versions: &[(u64, Option<KeyValue>)], revision: u64) -> Option<KeyValue> {
    let mut versions = versions.iter().rev();
    let (_, value) = versions.find(|(from, _)| *from <= revision)?;
    value.clone()
}

/// See the module. Clones share it.
#[derive(Clone)]
pub struct Memory {
    state: Arc<RwLock<State>>,
    published: watch::Sender<u64>,
}

impl Default for Memory {
    fn default() -> Self {
        Memory {
            state: Arc::default(),
            published: watch::Sender::new(FIRST_REVISION),
        }
    }
}

#[async_trait]
impl Store for Memory {
    fn hands_back_bytes(&self) -> bool {
        true
    }

    async fn revision(&self) -> Result<u64> {
        Ok(self.state.read().revision())
    }

    async fn get(&self, key: &str, revision: Option<u64>) -> Result<(u64, Option<KeyValue>)> {
        let state = self.state.read();
        let revision = state.check_read(revision)?;
        let found = state.keys.get(key);
        Ok((
            state.revision(),
            found.and_then(|versions| at(versions, revision)),
        ))
    }

    async fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        revision: Option<u64>,
    ) -> Result<Range> {
        let state = self.state.read();
        let revision = state.check_read(revision)?;
        let start = match start_after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let keys = state.keys.range::<str, _>((start, Bound::Unbounded));
        let mut kvs: Vec<KeyValue> = keys
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(_, versions)| at(versions, revision))
            .collect();
        let total = kvs.len();
        if limit > 0 {
            kvs.truncate(limit);
        }
        let remaining = (total - kvs.len()) as u64;
        Ok(Range {
            revision: state.revision(),
            kvs,
            more: remaining > 0,
            remaining,
        })
    }

    async fn commit(&self, op: Op) -> Result<Outcome> {
        let mut state = self.state.write();
        let outcome = state.commit(op);
        self.published.send_replace(state.revision());
        Ok(outcome)
    }

    async fn watch(&self, prefix: &str, from: u64) -> Result<Watch> {
        let state = self.state.read();
        let from = match from {
            0 => state.revision() + 1,
            from => from,
        };
        state.check_watch(from)?;
        let cursor = Cursor {
            state: self.state.clone(),
            published: self.published.subscribe(),
            prefix: prefix.to_owned(),
            next: from,
        };
        Ok(Watch::new(Box::new(cursor), from))
    }

    async fn compact(&self, revision: u64) -> Result<()> {
        let mut state = self.state.write();
        let current = state.revision();
        if revision > current {
            return Err(Error::Future { current });
        }
        state.check_watch(revision)?;
        state.compacted = revision;
        Ok(())
    }

    fn compacted(&self) -> u64 {
        self.state.read().compacted
    }
}

struct Cursor {
    state: Arc<RwLock<State>>,
    published: watch::Receiver<u64>,
    prefix: String,
    next: u64,
}

#[async_trait]
impl WatchSource for Cursor {
    async fn next_batch(&mut self) -> Result<Batch> {
        let next = self.next;
        let wait = self.published.wait_for(|revision| *revision >= next);
        wait.await.map_err(|_| Error::Closed)?;
        let state = self.state.read();
        state.check_watch(next)?;
        let skip = usize::try_from(next.saturating_sub(FIRST_REVISION + 1)).unwrap_or(usize::MAX);
        let commits = (state.events.iter().enumerate().skip(skip))
            .filter(|(_, event)| event.key.starts_with(&self.prefix))
            .map(|(n, event)| Commit {
                revision: FIRST_REVISION + 1 + n as u64,
                events: vec![event.clone()],
            })
            .collect();
        let revision = state.revision();
        self.next = revision + 1;
        Ok(Batch { commits, revision })
    }
}
