//! The work queue of every reconciler, with upstream's semantics (client-go `util/workqueue`).
//!
//! A key that is added while it waits is there once. A key that is added while a worker has it waits until that worker
//! calls [`WorkQueue::done`], and is then handed out again: never two workers on one key, never a lost wake-up. Delays
//! share one heap, which the waiting workers sleep on; there is no timer task.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// First delay of a failing key; doubled with each failure (upstream `ItemExponentialFailureRateLimiter`).
const RETRY_BASE: Duration = Duration::from_millis(5);
/// Longest delay of a failing key.
const RETRY_MAX: Duration = Duration::from_secs(1000);
/// Longest delay at all: whoever waits for something further away looks again then, and waits again.
const DELAY_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a key in the heap waits for.
enum Waiting<T> {
    /// Its delay.
    Delay(T),
    /// The end of its rest, until which it counts as being processed.
    Rest(T),
}

struct State<T> {
    ready: VecDeque<T>,
    /// Wants processing: in `ready`, or added again while being processed.
    dirty: HashSet<T>,
    processing: HashSet<T>,
    /// The earliest time each delayed key is due. The heap may hold later, outdated entries for it.
    due: HashMap<T, Instant>,
    /// Ordered by time, then by arrival; the number finds the key in `delayed`.
    heap: BinaryHeap<Reverse<(Instant, u64)>>,
    delayed: HashMap<u64, Waiting<T>>,
    sequence: u64,
    failures: HashMap<T, u32>,
    /// The first and the longest delay of a failing key.
    retries: (Duration, Duration),
    shut_down: bool,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    wake: Notify,
}

/// A deduplicating queue of keys. Clones share it.
pub struct WorkQueue<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T: Clone + Eq + Hash> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    pub fn new() -> Self {
        Self::with_retries(RETRY_BASE, RETRY_MAX)
    }

    /// A queue whose failing keys come back after `first`, and after twice as long with each failure, but `longest` at most.
    pub fn with_retries(first: Duration, longest: Duration) -> Self {
        let state = State {
            ready: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            due: HashMap::new(),
            heap: BinaryHeap::new(),
            delayed: HashMap::new(),
            sequence: 0,
            failures: HashMap::new(),
            retries: (first, longest),
            shut_down: false,
        };
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                wake: Notify::new(),
            }),
        }
    }

    /// Asks for `key` to be processed (once more).
    pub fn add(&self, key: T) {
        let woken = self.shared.state.lock().add(key);
        if woken {
            self.shared.wake.notify_one();
        }
    }

    /// [`Self::add`] after `delay`. Of several delays of one key the earliest counts.
    pub fn add_after(&self, key: T, delay: Duration) {
        if delay.is_zero() {
            return self.add(key);
        }
        // A delay may be made from a time in an object, which may be any.
        let at = Instant::now() + delay.min(DELAY_MAX);
        let first = self.shared.state.lock().add_at(key, at);
        if first {
            // A sleeping worker has to learn of the earlier time.
            self.shared.wake.notify_one();
        }
    }

    /// [`Self::add_after`] the delay that the number of failures since [`Self::forget`] asks for: 5 ms to 1000 s, unless the queue has others.
    pub fn add_rate_limited(&self, key: T) {
        let delay = {
            let mut state = self.shared.state.lock();
            let failures = state.failures.entry(key.clone()).or_insert(0);
            let exponent = *failures;
            *failures += 1;
            let (first, longest) = state.retries;
            first
                .saturating_mul(2u32.saturating_pow(exponent))
                .min(longest)
        };
        self.add_after(key, delay);
    }

    /// How often `key` was rate limited since it was last forgotten.
    pub fn failures(&self, key: &T) -> u32 {
        self.shared
            .state
            .lock()
            .failures
            .get(key)
            .copied()
            .unwrap_or(0)
    }

    /// The key was processed well: its next failure is its first.
    pub fn forget(&self, key: &T) {
        self.shared.state.lock().failures.remove(key);
    }

    /// Waits for a key. The caller owes a [`Self::done`] for it. `None` once the queue is shut down.
    ///
    /// Safe to cancel: a key is taken only when it is returned.
    pub async fn next(&self) -> Option<T> {
        loop {
            let woken = self.shared.wake.notified();
            tokio::pin!(woken);
            woken.as_mut().enable();
            let due = {
                let mut state = self.shared.state.lock();
                if state.shut_down {
                    drop(state);
                    self.shared.wake.notify_waiters();
                    return None;
                }
                state.release_due(Instant::now());
                if let Some(key) = state.take() {
                    let more = !state.ready.is_empty() || !state.heap.is_empty();
                    drop(state);
                    if more {
                        self.shared.wake.notify_one();
                    }
                    return Some(key);
                }
                state.heap.peek().map(|Reverse((at, _))| *at)
            };
            match due {
                Some(at) => tokio::select! {
                    () = woken => {}
                    () = sleep_until(at) => {}
                },
                None => woken.await,
            }
        }
    }

    /// Gives `key` back; it is ready again if it was added meanwhile.
    pub fn done(&self, key: &T) {
        let woken = self.shared.state.lock().done(key);
        if woken {
            self.shared.wake.notify_one();
        }
    }

    /// [`Self::done`] after `rest`: whatever asks for the key until then asks once.
    pub fn done_after(&self, key: &T, rest: Duration) {
        if rest.is_zero() {
            return self.done(key);
        }
        let at = Instant::now() + rest.min(DELAY_MAX);
        let first = (self.shared.state.lock()).wait(Waiting::Rest(key.clone()), at);
        if first {
            self.shared.wake.notify_one();
        }
    }

    /// Keys that are ready to be taken.
    pub fn len(&self) -> usize {
        self.shared.state.lock().ready.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends every [`Self::next`], now and later.
    pub fn shut_down(&self) {
        self.shared.state.lock().shut_down = true;
        self.shared.wake.notify_waiters();
    }
}

impl<T: Clone + Eq + Hash> State<T> {
    /// True when a worker should be woken.
    fn add(&mut self, key: T) -> bool {
        if self.shut_down || !self.dirty.insert(key.clone()) || self.processing.contains(&key) {
            return false;
        }
        self.ready.push_back(key);
        true
    }

    /// True when this is now the earliest delay of all.
    fn add_at(&mut self, key: T, at: Instant) -> bool {
        if self.shut_down || self.due.get(&key).is_some_and(|due| *due <= at) {
            return false;
        }
        self.due.insert(key.clone(), at);
        self.wait(Waiting::Delay(key), at)
    }

    /// True when this is now the earliest of all that waits.
    fn wait(&mut self, what: Waiting<T>, at: Instant) -> bool {
        let first = self.heap.peek().is_none_or(|Reverse((due, _))| at < *due);
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence)));
        self.delayed.insert(self.sequence, what);
        first
    }

    /// True when a worker should be woken.
    fn done(&mut self, key: &T) -> bool {
        self.processing.remove(key);
        let again = self.dirty.contains(key);
        if again {
            self.ready.push_back(key.clone());
        }
        again
    }

    fn release_due(&mut self, now: Instant) {
        while let Some(Reverse((at, sequence))) = self.heap.peek().copied() {
            if at > now {
                return;
            }
            self.heap.pop();
            match self.delayed.remove(&sequence) {
                Some(Waiting::Delay(key)) if self.due.get(&key) == Some(&at) => {
                    self.due.remove(&key);
                    self.add(key);
                }
                Some(Waiting::Rest(key)) => {
                    self.done(&key);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self) -> Option<T> {
        let key = self.ready.pop_front()?;
        self.dirty.remove(&key);
        self.processing.insert(key.clone());
        Some(key)
    }
}

#[cfg(test)]
mod tests;
