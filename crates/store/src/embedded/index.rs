//! Which revisions a key has, in memory: 8 bytes a revision, no values.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

/// A revision of a key, and whether it deleted the key. One word: every kept revision of every key has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp(u64);

impl Stamp {
    pub(crate) fn new(revision: u64, deleted: bool) -> Stamp {
        Stamp(revision << 1 | u64::from(deleted))
    }

    pub(crate) fn revision(self) -> u64 {
        self.0 >> 1
    }

    pub(crate) fn deleted(self) -> bool {
        self.0 & 1 == 1
    }

    /// The revision to read the value at, unless the key was deleted.
    pub(crate) fn live(self) -> Option<u64> {
        (!self.deleted()).then_some(self.revision())
    }
}

struct History {
    last: Stamp,
    /// Ascending; empty for most keys, and then without an allocation.
    older: Vec<Stamp>,
}

impl History {
    fn at(&self, revision: u64) -> Option<Stamp> {
        if self.last.revision() <= revision {
            return Some(self.last);
        }
        let after = self
            .older
            .partition_point(|stamp| stamp.revision() <= revision);
        after.checked_sub(1).map(|i| self.older[i])
    }
}

#[derive(Default)]
pub(crate) struct Index {
    keys: BTreeMap<Arc<str>, History>,
}

impl Index {
    /// The key's newest revision, with the one allocation of the key that everybody shares.
    pub(crate) fn last(&self, key: &str) -> Option<(Arc<str>, Stamp)> {
        self.keys
            .get_key_value(key)
            .map(|(key, history)| (key.clone(), history.last))
    }

    /// The key's newest revision that is not after `revision`.
    pub(crate) fn at(&self, key: &str, revision: u64) -> Option<(Arc<str>, Stamp)> {
        let (key, history) = self.keys.get_key_value(key)?;
        Some((key.clone(), history.at(revision)?))
    }

    /// The key's revision just before `revision`.
    pub(crate) fn before(&self, key: &str, revision: u64) -> Option<Stamp> {
        self.keys.get(key)?.at(revision.checked_sub(1)?)
    }

    /// Live keys under `prefix` and after `start_after` at `revision`: the first `limit` (0: all) with their
    /// revisions, and how many follow.
    pub(crate) fn range(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
        revision: u64,
    ) -> (Vec<(Arc<str>, u64)>, u64) {
        let lower = match start_after {
            Some(key) if key >= prefix => Bound::Excluded(key),
            _ => Bound::Included(prefix),
        };
        let (mut found, mut remaining) = (Vec::new(), 0);
        for (key, history) in self.keys.range::<str, _>((lower, Bound::Unbounded)) {
            if !key.starts_with(prefix) {
                break;
            }
            let Some(live) = history.at(revision).and_then(Stamp::live) else {
                continue;
            };
            if limit == 0 || found.len() < limit {
                found.push((key.clone(), live));
            } else {
                remaining += 1;
            }
        }
        (found, remaining)
    }

    /// Adds the key's next revision.
    pub(crate) fn push(&mut self, key: Arc<str>, stamp: Stamp) {
        match self.keys.get_mut(&key) {
            Some(history) => history
                .older
                .push(std::mem::replace(&mut history.last, stamp)),
            None => {
                self.keys.insert(
                    key,
                    History {
                        last: stamp,
                        older: Vec::new(),
                    },
                );
            }
        }
    }

    /// Takes one revision out of the key's history, and the key out when it was the last one.
    pub(crate) fn remove(&mut self, key: &str, revision: u64) {
        let Some(history) = self.keys.get_mut(key) else {
            return;
        };
        if history.last.revision() != revision {
            history.older.retain(|stamp| stamp.revision() != revision);
            if history.older.is_empty() {
                history.older = Vec::new();
            }
            return;
        }
        match history.older.pop() {
            Some(stamp) => history.last = stamp,
            None => {
                self.keys.remove(key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
