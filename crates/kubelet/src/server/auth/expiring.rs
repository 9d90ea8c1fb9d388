//! Answers that are good for a while.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

/// An HMAC: no key is longer than it, and none tells what it was made from.
pub(super) type Key = [u8; 32];

/// A bounded number of values, each with its end; the least recently used makes room.
pub(super) struct Expiring<V> {
    most: NonZeroUsize,
    entries: Mutex<LruCache<Key, (Instant, V)>>,
}

impl<V: Clone> Expiring<V> {
    pub(super) fn new(most: NonZeroUsize) -> Self {
        Self {
            most,
            // One of a capacity takes the memory of all its places at once.
            entries: Mutex::new(LruCache::unbounded()),
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<V> {
        let mut entries = self.entries.lock();
        match entries.get(key) {
            Some((ends, value)) if Instant::now() < *ends => Some(value.clone()),
            Some(_) => {
                entries.pop(key);
                None
            }
            None => None,
        }
    }

    pub(super) fn put(&self, key: Key, value: V, life: Duration) {
        // A time that no clock reaches is none to keep anything until.
        if let Some(ends) = Instant::now().checked_add(life) {
            let mut entries = self.entries.lock();
            entries.put(key, (ends, value));
            if entries.len() > self.most.get() {
                entries.pop_lru();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn values_end_and_make_room() {
        let cache = Expiring::new(NonZeroUsize::new(2).unwrap());
        cache.put([1; 32], "a", Duration::from_secs(10));
        tokio::time::advance(Duration::from_millis(9_999)).await;
        assert_eq!(cache.get(&[1; 32]), Some("a"));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&[1; 32]), None);
        for (key, value) in [(1, "a"), (2, "b")] {
            cache.put([key; 32], value, Duration::from_secs(10));
        }
        assert_eq!(cache.get(&[1; 32]), Some("a"));
        cache.put([3; 32], "c", Duration::from_secs(10));
        assert_eq!(cache.get(&[2; 32]), None, "used least recently");
        assert_eq!(cache.get(&[1; 32]), Some("a"));
    }
}
