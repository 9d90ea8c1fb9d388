//! Answers that are remembered for a while, by hash of the token.

use std::{num::NonZeroUsize, time::Duration};

use lru::LruCache;
use parking_lot::Mutex;
use ring::digest;
use tokio::time::Instant;

/// Tokens that are remembered; those that were asked for least recently go first.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(4096).expect("is not zero");

/// What a token is, until when.
pub struct Cache<T>(Mutex<LruCache<[u8; 32], (Instant, T)>>);

impl<T: Clone> Default for Cache<T> {
    fn default() -> Self {
        Cache(Mutex::new(LruCache::new(ENTRIES)))
    }
}

impl<T: Clone> Cache<T> {
    pub fn get(&self, token: &str) -> Option<T> {
        let mut cache = self.0.lock();
        let key = key(token);
        let (until, answer) = cache.get(&key)?;
        if Instant::now() < *until {
            return Some(answer.clone());
        }
        cache.pop(&key);
        None
    }

    /// Remembers an answer for `time`.
    pub fn put(&self, token: &str, answer: T, time: Duration) {
        let until = Instant::now().checked_add(time);
        if let Some(until) = until.filter(|_| !time.is_zero()) {
            self.0.lock().put(key(token), (until, answer));
        }
    }
}

fn key(token: &str) -> [u8; 32] {
    let mut key = [0; 32];
    key.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_forgotten() {
        let cache = Cache::default();
        cache.put("a", 1, Duration::from_secs(10));
        cache.put("b", 2, Duration::ZERO);
        assert_eq!((cache.get("a"), cache.get("b")), (Some(1), None));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(cache.get("a"), None);
    }
}
