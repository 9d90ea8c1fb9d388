//! Answers of resolvers, kept for as long as they are true.
//!
//! ```text
//! question -> key (name, type, class, DO, CD) -> shelf of records, or of denials -> bytes, with the seconds that are left
//! ```
//!
//! An answer is kept under the question that was asked and no other name that it mentions, so that whoever answers for one name has no
//! way to another. Records and denials have a shelf each, as in CoreDNS: a flood of random names moves only denials. Shelves are
//! bounded in entries and bytes, and what has not been asked for longest goes first.
//!
//! What has outlived its time stays for a while, for when the resolvers are away (RFC 8767).

mod kept;

use std::{
    hash::RandomState,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use hickory_proto::rr::Name;
use lru::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use kept::{Judged, Kept, Sort};

use crate::wire::Question;

/// What an entry costs beside its bytes: two boxes, the list's links, its place in the table.
const ENTRY_BYTES: usize = 200;
/// What clients are told of an answer that has outlived its time (RFC 8767, 4).
const STALE_TTL_SECONDS: u32 = 30;
/// For how long after a failure a question is answered with what is stale, without asking again.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long one sort of answers is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Seconds.
    pub least: u32,
    pub most: u32,
}

/// For how long and how many answers are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub success: Range,
    pub denial: Range,
    /// Answers with SERVFAIL, in seconds.
    pub failure: u32,
    /// How many entries each shelf may have.
    pub successes: usize,
    pub denials: usize,
    /// What each shelf may weigh.
    pub bytes: usize,
    /// For how long an answer that has outlived its time is better than none; zero where it never is.
    pub stale: Duration,
    /// How long resolvers may take while there is an old answer (RFC 8767, 5).
    pub stale_wait: Duration,
    /// Questions within an entry's life that make it popular; zero where none is.
    pub popular: u32,
    /// How much of its time an entry has left when it is asked for again, if it is popular.
    pub prefetch_percent: u32,
    /// Where answers are kept, and where no records or no denials are.
    pub zones: Vec<Name>,
    pub except_successes: Vec<Name>,
    pub except_denials: Vec<Name>,
}

impl Default for Rules {
    /// What kubeadm's configuration of CoreDNS says (`cache 30`), and what CoreDNS leaves to whoever asks for it: stale answers, and
    /// popular ones ahead of time.
    fn default() -> Self {
        let range = Range { least: 5, most: 30 };
        Self {
            success: range,
            denial: range,
            failure: 5,
            successes: 9984,
            denials: 9984,
            bytes: 4 * 1024 * 1024,
            stale: Duration::from_secs(3600),
            stale_wait: Duration::from_millis(1800),
            popular: 5,
            prefetch_percent: 10,
            zones: vec![Name::root()],
            except_successes: Vec::new(),
            except_denials: Vec::new(),
        }
    }
}

impl Rules {
    /// Whether answers about a name are kept.
    pub fn keeps(&self, sort: Sort, name: &Name) -> bool {
        let except = match sort {
            Sort::Success => &self.except_successes,
            Sort::Denial | Sort::Failure => &self.except_denials,
        };
        let has = |zones: &[Name]| zones.iter().any(|zone| zone.zone_of(name));
        has(&self.zones) && !has(except)
    }

    fn ttl(&self, sort: Sort, ttl: u32) -> u32 {
        let range = match sort {
            Sort::Success => self.success,
            Sort::Denial => self.denial,
            Sort::Failure => return self.failure,
        };
        // In this order: a minimum above the maximum is the administrator's word.
        ttl.min(range.most).max(range.least)
    }
}

/// An answer with its times.
#[derive(Debug)]
pub struct Entry {
    kept: Kept,
    sort: Sort,
    ttl: u32,
    stored: Instant,
    expires: Instant,
    hits: AtomicU32,
    /// Somebody asks for it ahead of time.
    is_prefetched: AtomicBool,
    /// When the resolvers last failed to renew it.
    failed: Mutex<Option<Instant>>,
}

impl Entry {
    pub fn new(judged: Judged, now: Instant) -> Self {
        Self {
            kept: judged.kept,
            sort: judged.sort,
            ttl: judged.ttl,
            stored: now,
            // 68 years at most (RFC 2181, 8).
            expires: later(now, Duration::from_secs(judged.ttl.into())),
            hits: AtomicU32::new(0),
            is_prefetched: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// The answer while it is true.
    pub fn answer(&self, question: &Question<'_>, now: Instant) -> Vec<u8> {
        let age = now.saturating_duration_since(self.stored).as_secs();
        let age = u32::try_from(age).unwrap_or(u32::MAX);
        self.kept.answer(question, self.ttl.saturating_sub(age))
    }

    /// The answer when it is better than none.
    pub fn stale_answer(&self, question: &Question<'_>) -> Vec<u8> {
        self.kept.answer(question, STALE_TTL_SECONDS)
    }

    /// The resolvers have failed.
    pub fn mark_failed(&self, now: Instant) {
        *self.failed.lock() = Some(now);
    }

    /// Whether they had failed a moment ago.
    pub fn has_failed(&self, now: Instant) -> bool {
        let failed = *self.failed.lock();
        failed.is_some_and(|at| now.saturating_duration_since(at) < RECHECK_INTERVAL)
    }

    pub fn is_failure(&self) -> bool {
        self.sort == Sort::Failure
    }

    /// Whether it is to be asked for ahead of time, which one caller is told.
    fn is_due(&self, rules: &Rules, now: Instant) -> bool {
        let popular = rules.popular;
        let hits = self.hits.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if popular == 0 || hits < popular || self.is_failure() {
            return false;
        }
        let left = self.expires.saturating_duration_since(now);
        let life = Duration::from_secs(self.ttl.into());
        left.saturating_mul(100) <= life.saturating_mul(rules.prefetch_percent)
            && !self.is_prefetched.swap(true, Ordering::Relaxed)
    }
}

/// What no clock can say is over at once.
fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

/// What is kept for a question.
pub enum Found {
    /// True. With `true` the caller is to ask again, ahead of time.
    Fresh(Arc<Entry>, bool),
    /// Better than nothing.
    Stale(Arc<Entry>),
    Nothing,
}

struct Shelf {
    entries: LruCache<Box<[u8]>, Arc<Entry>, RandomState>,
    bytes: usize,
}

impl Shelf {
    fn new() -> Self {
        // Grows with what is in it; [`Self::put`] bounds it.
        Self {
            entries: LruCache::unbounded_with_hasher(RandomState::new()),
            bytes: 0,
        }
    }

    fn weight(key: &[u8], entry: &Entry) -> usize {
        ENTRY_BYTES
            .saturating_add(key.len())
            .saturating_add(entry.kept.size())
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes = self.bytes.saturating_sub(Self::weight(key, &entry));
        }
    }

    fn put(&mut self, key: &[u8], entry: Arc<Entry>, entries: usize, bytes: usize) {
        let weight = Self::weight(key, &entry);
        self.remove(key);
        if weight > bytes || entries == 0 {
            return;
        }
        while self.entries.len() >= entries || self.bytes.saturating_add(weight) > bytes {
            let Some((key, entry)) = self.entries.pop_lru() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(Self::weight(&key, &entry));
        }
        self.bytes = self.bytes.saturating_add(weight);
        self.entries.put(key.into(), entry);
    }
}

/// The answers that are kept.
pub struct Cache {
    rules: Rules,
    successes: Mutex<Shelf>,
    denials: Mutex<Shelf>,
}

impl Cache {
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            successes: Mutex::new(Shelf::new()),
            denials: Mutex::new(Shelf::new()),
        }
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Looks for what was asked. Counts it, as one question about it.
    pub fn get(&self, key: &[u8], now: Instant) -> Found {
        let mut shelves = [&self.successes, &self.denials].into_iter();
        let found = shelves.find_map(|shelf| shelf.lock().entries.get(key).cloned());
        let Some(entry) = found else {
            return Found::Nothing;
        };
        if now < entry.expires {
            let is_due = entry.is_due(&self.rules, now);
            return Found::Fresh(entry, is_due);
        }
        match !entry.is_failure() && now < later(entry.expires, self.rules.stale) {
            true => Found::Stale(entry),
            false => Found::Nothing,
        }
    }

    /// Keeps an answer instead of what there was. A failure is no better than an answer that is still good for something.
    pub fn put(&self, key: &[u8], entry: &Arc<Entry>, now: Instant) {
        let is_success = entry.sort == Sort::Success;
        if entry.is_failure() && (entry.ttl == 0 || self.has_better(key, now)) {
            return;
        }
        let (shelf, other, most) = match is_success {
            true => (&self.successes, &self.denials, self.rules.successes),
            false => (&self.denials, &self.successes, self.rules.denials),
        };
        other.lock().remove(key);
        let bytes = self.rules.bytes;
        shelf.lock().put(key, entry.clone(), most, bytes);
    }

    fn has_better(&self, key: &[u8], now: Instant) -> bool {
        [&self.successes, &self.denials].into_iter().any(|shelf| {
            let shelf = shelf.lock();
            let entry = shelf.entries.peek(key);
            entry.is_some_and(|entry| {
                !entry.is_failure() && now < later(entry.expires, self.rules.stale)
            })
        })
    }
}

#[cfg(test)]
mod tests;
