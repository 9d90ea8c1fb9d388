//! Reading one's own writes: what was written and is not yet in the informers.
//!
//! Deciding on a state from before the last write costs a conflict at best and a duplicate at worst. A controller notes
//! the revision of what it wrote and waits, by doing nothing, until its informer shows that or a later one; the event that
//! brings it wakes the key. Against an event that never comes (a list replaced the watch) notes expire.

use std::collections::HashMap;
use std::time::Duration;

use kube::Resource;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::runner::Key;

/// After this time what was written need not be seen any more.
const EXPIRY: Duration = Duration::from_secs(10);

struct Entry {
    revision: u64,
    at: Instant,
}

/// Notes by key and by the name of the object (and its kind, where a key stands for several).
#[derive(Default)]
pub(crate) struct Written {
    entries: Mutex<HashMap<Key, HashMap<String, Entry>>>,
}

/// The object's revision; 0 for servers whose revisions are no numbers, so that nothing is waited for.
pub(crate) fn revision<K: Resource>(object: &K) -> u64 {
    let text = object.meta().resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Written {
    /// `object` is the server's answer to a write.
    pub(crate) fn note<K: Resource>(&self, key: &Key, name: &str, object: &K) {
        let note = Entry {
            revision: revision(object),
            at: Instant::now(),
        };
        self.entries
            .lock()
            .entry(key.clone())
            .or_default()
            .insert(name.to_owned(), note);
    }

    /// An object is gone: nothing of it will be seen.
    pub(crate) fn forget_object(&self, key: &Key, name: &str) {
        let mut entries = self.entries.lock();
        if let Some(objects) = entries.get_mut(key) {
            objects.remove(name);
            if objects.is_empty() {
                entries.remove(key);
            }
        }
    }

    pub(crate) fn forget(&self, key: &Key) {
        self.entries.lock().remove(key);
    }

    /// `None` when all that was written is seen: decide. Otherwise the time after which to decide all the same. `seen` tells
    /// the revision an informer shows.
    pub(crate) fn unseen(&self, key: &Key, seen: impl Fn(&str) -> Option<u64>) -> Option<Duration> {
        let mut entries = self.entries.lock();
        let objects = entries.get_mut(key)?;
        objects.retain(|name, note| {
            note.at.elapsed() < EXPIRY && seen(name).unwrap_or(0) < note.revision
        });
        let left = objects
            .values()
            .map(|note| EXPIRY.saturating_sub(note.at.elapsed()))
            .max();
        if left.is_none() {
            entries.remove(key);
        }
        left
    }
}

#[cfg(test)]
mod tests;
