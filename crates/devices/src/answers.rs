//! What selectors said of devices, kept from one attempt to the next: a pod that waits is tried again and again, and slices and
//! expressions are the same meanwhile.

use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

/// Most bytes of answers, about.
const MAX_BYTES: usize = 16 << 20;
/// Of the answers about a slice, besides a byte a device.
const ENTRY_BYTES: usize = 160;
/// Longest reason that is kept for a device, in bytes.
const MAX_REASON_BYTES: usize = 1_024;

/// What a selector says of a device, or why nothing.
pub(crate) type Answer = Result<bool, Arc<str>>;

/// A selector, and what a slice is at one revision.
type Key = (u64, Arc<str>);

/// Of the devices of a slice, by their places.
#[derive(Debug, Default)]
struct Entry {
    known: Vec<Known>,
    failures: Vec<(usize, Arc<str>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Known {
    #[default]
    Nothing,
    Yes,
    No,
    Failed,
}

impl Entry {
    fn bytes(&self) -> usize {
        let failures = self.failures.iter().map(|(_, why)| why.len());
        let failures = failures.fold(0, |sum: usize, length| {
            sum.saturating_add(length).saturating_add(ENTRY_BYTES)
        });
        ENTRY_BYTES
            .saturating_add(self.known.len())
            .saturating_add(failures)
    }

    fn get(&self, device: usize) -> Option<Answer> {
        match self.known.get(device)? {
            Known::Nothing => None,
            Known::Yes => Some(Ok(true)),
            Known::No => Some(Ok(false)),
            Known::Failed => {
                let mut failures = self.failures.iter();
                let (_, why) = failures.find(|(place, _)| *place == device)?;
                Some(Err(why.clone()))
            }
        }
    }

    fn put(&mut self, device: usize, of: usize, answer: &Answer) {
        self.known.resize(of, Known::Nothing);
        let Some(known) = self.known.get_mut(device) else {
            return;
        };
        *known = match answer {
            Ok(true) => Known::Yes,
            Ok(false) => Known::No,
            Err(why) if why.len() > MAX_REASON_BYTES || *known == Known::Failed => return,
            Err(why) => {
                self.failures.push((device, why.clone()));
                Known::Failed
            }
        };
    }
}

/// The answers that were used last.
#[derive(Debug)]
pub(crate) struct Answers(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    most: usize,
}

impl Default for Answers {
    fn default() -> Self {
        Self::within(MAX_BYTES)
    }
}

impl Answers {
    fn within(most: usize) -> Self {
        Self(Mutex::new(Kept {
            entries: LruCache::unbounded(),
            bytes: 0,
            most,
        }))
    }

    /// What a selector says of the device of a place, where it was asked.
    pub fn get(&self, selector: u64, slice: &Arc<str>, device: usize) -> Option<Answer> {
        let mut kept = self.0.lock();
        kept.entries.get(&(selector, slice.clone()))?.get(device)
    }

    /// Keeps an answer about a device of a slice that has so many.
    pub fn put(
        &self,
        selector: u64,
        slice: &Arc<str>,
        (device, of): (usize, usize),
        answer: &Answer,
    ) {
        let mut kept = self.0.lock();
        let key = (selector, slice.clone());
        let mut entry = kept.entries.pop(&key).unwrap_or_default();
        if !entry.known.is_empty() {
            kept.bytes = kept.bytes.saturating_sub(entry.bytes());
        }
        entry.put(device, of, answer);
        kept.bytes = kept.bytes.saturating_add(entry.bytes());
        kept.entries.put(key, entry);
        while kept.bytes > kept.most {
            let Some((_, oldest)) = kept.entries.pop_lru() else {
                return;
            };
            kept.bytes = kept.bytes.saturating_sub(oldest.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_a_selector_about_a_device() {
        let answers = Answers::default();
        let (one, other) = (Arc::from("s/1"), Arc::from("s/2"));
        let failed: Answer = Err("no such key: a".into());
        answers.put(1, &one, (0, 3), &Ok(true));
        answers.put(1, &one, (1, 3), &Ok(false));
        answers.put(1, &one, (2, 3), &failed);
        let of = |selector, slice| [0, 1, 2].map(|device| answers.get(selector, slice, device));
        assert_eq!(of(1, &one), [Some(Ok(true)), Some(Ok(false)), Some(failed)]);
        assert_eq!(of(2, &one), [None, None, None]);
        assert_eq!(of(1, &other), [None, None, None]);
        assert_eq!(answers.get(1, &one, 3), None);
    }

    #[test]
    fn they_have_a_size() {
        let answers = Answers::within(4 * ENTRY_BYTES);
        let slices: Vec<Arc<str>> = (0..10).map(|n| format!("s/{n}").into()).collect();
        for slice in &slices {
            answers.put(1, slice, (0, 1), &Ok(true));
            assert!(answers.get(1, slice, 0).is_some());
        }
        let kept = slices
            .iter()
            .filter(|slice| answers.get(1, slice, 0).is_some());
        assert_eq!(kept.count(), 3);
        let long: Answer = Err("x".repeat(MAX_REASON_BYTES + 1).into());
        answers.put(2, &slices[0], (0, 1), &long);
        assert_eq!(answers.get(2, &slices[0], 0), None);
    }
}
