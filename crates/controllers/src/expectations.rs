//! What a controller has done that its informers do not show yet.
//!
//! A pod that was created is in the informer only a moment later. Deciding again before that would create it twice, so a
//! controller notes what it expects to see and does not decide until it was seen (upstream `ControllerExpectations`).
//! Expectations expire: an event may be missed when a watch is replaced by a list.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::runner::Key;

/// After this time unmet expectations do not count any more.
pub(crate) const EXPECTATIONS_TIMEOUT: Duration = Duration::from_secs(300);

struct Expected {
    creations: usize,
    /// By uid, so that an event seen twice is counted once.
    deletions: HashSet<String>,
    since: Instant,
}

/// Expectations by the key of the controlling object.
#[derive(Default)]
pub(crate) struct Expectations {
    by_key: Mutex<HashMap<Key, Expected>>,
}

impl Expectations {
    /// To be called before the creations, or their events could be seen too early.
    pub(crate) fn expect_creations(&self, key: &Key, count: usize) {
        self.set(key, count, HashSet::new());
    }

    /// To be called before the deletions.
    pub(crate) fn expect_deletions(&self, key: &Key, uids: impl IntoIterator<Item = String>) {
        self.set(key, 0, uids.into_iter().collect());
    }

    /// To be called before creations and deletions that are done together.
    pub(crate) fn expect(
        &self,
        key: &Key,
        creations: usize,
        uids: impl IntoIterator<Item = String>,
    ) {
        self.set(key, creations, uids.into_iter().collect());
    }

    fn set(&self, key: &Key, creations: usize, deletions: HashSet<String>) {
        let expected = Expected {
            creations,
            deletions,
            since: Instant::now(),
        };
        self.by_key.lock().insert(key.clone(), expected);
    }

    /// A creation was seen, or it failed and will not be.
    pub(crate) fn creation_observed(&self, key: &Key) {
        if let Some(expected) = self.by_key.lock().get_mut(key) {
            expected.creations = expected.creations.saturating_sub(1);
        }
    }

    /// A deletion was seen (its beginning counts), or it failed and will not be.
    pub(crate) fn deletion_observed(&self, key: &Key, uid: &str) {
        if let Some(expected) = self.by_key.lock().get_mut(key) {
            expected.deletions.remove(uid);
        }
    }

    /// The controlling object is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.by_key.lock().remove(key);
    }

    /// `None` when everything was seen: decide. Otherwise the time after which to decide all the same.
    pub(crate) fn unmet(&self, key: &Key) -> Option<Duration> {
        let mut by_key = self.by_key.lock();
        let expected = by_key.get(key)?;
        let left = EXPECTATIONS_TIMEOUT.saturating_sub(expected.since.elapsed());
        if (expected.creations == 0 && expected.deletions.is_empty()) || left.is_zero() {
            by_key.remove(key);
            return None;
        }
        Some(left)
    }
}

#[cfg(test)]
mod tests;
