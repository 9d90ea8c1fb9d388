//! States on their way into the store, for the feed: what the writer knows of them need not be found out from their bytes again.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use bytes::Bytes;
use knarr_api::Kind;
use parking_lot::Mutex;

use super::entry::Entry;

/// Most drafts, and bytes of them, that wait for the feed; those of longest ago are forgotten, and their states read as any others.
const MAX_DRAFTS: usize = 2048;
const MAX_BYTES: usize = 16 << 20;

/// By where the bytes are that a store in this process hands back as they are. A draft holds them, so that nothing else can be there.
#[derive(Debug, Default)]
pub struct Drafts {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    drafts: HashMap<usize, (Arc<Kind>, Entry)>,
    /// Oldest first; those that were taken are still among them.
    order: VecDeque<usize>,
    bytes: usize,
}

impl Drafts {
    /// Keeps a state that is about to be stored. Its kind is as it was written by.
    pub fn put(&self, kind: Arc<Kind>, draft: Entry) {
        let place = place(&draft.json);
        let mut waiting = self.waiting.lock();
        waiting.bytes += draft.json.len();
        if let Some((_, replaced)) = waiting.drafts.insert(place, (kind, draft)) {
            waiting.bytes -= replaced.json.len();
        }
        waiting.order.push_back(place);
        while waiting.order.len() > MAX_DRAFTS || waiting.bytes > MAX_BYTES {
            let Some(oldest) = waiting.order.pop_front() else {
                break;
            };
            waiting.remove(oldest);
        }
    }

    /// The draft of a stored value, where its writer left one and its kind is still the same.
    pub fn take(&self, kind: &Kind, value: &Bytes) -> Option<Entry> {
        let (of, draft) = self.waiting.lock().remove(place(value))?;
        let is_it = std::ptr::eq(&*of, kind) && draft.json.len() == value.len();
        is_it.then_some(draft)
    }

    /// Forgets a state that was not stored.
    pub fn forget(&self, value: &Bytes) {
        self.waiting.lock().remove(place(value));
    }
}

impl Waiting {
    fn remove(&mut self, place: usize) -> Option<(Arc<Kind>, Entry)> {
        let removed = self.drafts.remove(&place)?;
        self.bytes -= removed.1.json.len();
        Some(removed)
    }
}

fn place(value: &Bytes) -> usize {
    value.as_ptr() as usize
}

#[cfg(test)]
mod tests;
