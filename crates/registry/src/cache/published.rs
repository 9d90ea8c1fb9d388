//! The published revision: every ring has every event up to it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Where readers wait for a revision.
#[derive(Debug)]
pub struct Published {
    revision: Arc<AtomicU64>,
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Published {
    pub fn new(revision: u64) -> Published {
        Published {
            revision: Arc::new(AtomicU64::new(revision)),
            waiting: Mutex::new(BTreeMap::new()),
        }
    }

    pub fn shared(&self) -> Arc<AtomicU64> {
        self.revision.clone()
    }

    pub fn get(&self) -> u64 {
        self.revision.load(Ordering::Acquire)
    }

    /// Advances to `revision`, waking who waits for it or less.
    pub fn advance(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
        let mut waiting = self.waiting.lock();
        while let Some(entry) = waiting.first_entry() {
            if *entry.key() > revision {
                break;
            }
            for waiter in entry.remove() {
                // A waiter that gave up has dropped its end.
                let _ = waiter.send(());
            }
        }
    }

    /// Waits until `revision` is published; false after `deadline`.
    pub async fn reached(&self, revision: u64, deadline: Duration) -> bool {
        if self.get() >= revision {
            return true;
        }
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock();
            if self.get() >= revision {
                return true;
            }
            waiting.entry(revision).or_default().push(sender);
        }
        if matches!(tokio::time::timeout(deadline, receiver).await, Ok(Ok(()))) {
            return true;
        }
        let mut waiting = self.waiting.lock();
        if let Some(waiters) = waiting.get_mut(&revision) {
            waiters.retain(|w| !w.is_closed());
            if waiters.is_empty() {
                waiting.remove(&revision);
            }
        }
        false
    }
}
