//! What plugins say of a request beside its answer.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU8, Ordering},
};

use parking_lot::Mutex;

use crate::Level;

/// Annotations of one request, bytes of keys and values together: webhooks write them.
const MAX_BYTES: usize = 256 << 10;

/// Annotations, collected while a request is handled. Nothing is kept until the request is audited at some level.
#[derive(Debug, Default)]
pub struct Annotations {
    level: AtomicU8,
    all: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    by_key: BTreeMap<String, String>,
    bytes: usize,
}

impl Annotations {
    /// Keeps from now on what events of this level hold.
    pub fn keep(&self, level: Level) {
        self.level.store(level as u8, Ordering::Relaxed);
    }

    /// Whether what belongs to `level` is kept: what is costly to say need not be said otherwise.
    pub fn wants(&self, level: Level) -> bool {
        self.level.load(Ordering::Relaxed) >= level as u8
    }

    /// Annotates at level Metadata. The first value of a key counts: a write that is tried again says the same again.
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        self.add_at(Level::Metadata, key, value);
    }

    /// Annotates events of a level and above.
    pub fn add_at(&self, level: Level, key: impl Into<String>, value: impl Into<String>) {
        if !self.wants(level) {
            return;
        }
        let (key, value) = (key.into(), value.into());
        let mut all = self.all.lock();
        let more = key.len().saturating_add(value.len());
        let bytes = all.bytes.saturating_add(more);
        if bytes > MAX_BYTES {
            tracing::warn!(key, "an audit annotation finds no room");
            return;
        }
        match all.by_key.get(&key) {
            Some(known) if *known != value => {
                tracing::warn!(key, value, known, "an audit annotation is already set");
            }
            Some(_) => {}
            None => {
                all.bytes = bytes;
                all.by_key.insert(key, value);
            }
        }
    }

    /// All that is kept.
    pub fn all(&self) -> BTreeMap<String, String> {
        self.all.lock().by_key.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_level_holds_is_kept() {
        let annotations = Annotations::default();
        annotations.add("early", "lost");
        annotations.keep(Level::Metadata);
        annotations.add("a", "1");
        annotations.add("a", "2");
        annotations.add_at(Level::Request, "patch", "[]");
        let wanted = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert_eq!(annotations.all(), wanted);
    }

    #[test]
    fn they_have_a_limit() {
        let annotations = Annotations::default();
        annotations.keep(Level::Metadata);
        annotations.add("large", "x".repeat(MAX_BYTES));
        annotations.add("small", "x");
        assert_eq!(annotations.all().len(), 1);
    }
}
