//! Which events become new objects, which raise the count of one that is there, and which are dropped. Pure: it is told the
//! time, and writes nothing.
//!
//! Mirrors client-go's `tools/record/events_cache.go`. What is remembered is bounded in objects and in what is kept of each;
//! what was not needed for the longest time is forgotten first.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::Timestamp;
use lru::LruCache;
use tokio::time::Instant;

use super::Message;

/// Objects whose events are remembered (client-go `maxLruCacheEntries`).
const OBJECTS: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// Of one object: events whose repeats are counted.
const EVENTS_PER_OBJECT: usize = 64;
/// Of one object: types and reasons whose messages are told apart.
const GROUPS_PER_OBJECT: usize = 32;
/// Of so many events with different messages and one reason the last is combined with all that follow (client-go
/// `defaultAggregateMaxEvents`).
const COMBINE_FROM: usize = 10;
/// How long similar events are counted together (client-go `defaultAggregateIntervalInSeconds`).
const COMBINE_WINDOW: Duration = Duration::from_secs(600);
/// Events one object may cause at once (client-go `defaultSpamBurst`).
const BURST: f64 = 25.0;
/// Time in which one object earns one more event (client-go `defaultSpamQPS`).
const REFILL: Duration = Duration::from_secs(300);

/// What to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// A new event object.
    Create(Observed),
    /// The object of that name has happened again. Where it is gone it is created, with its count.
    Patch(Observed),
}

/// An event as it is to be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Observed {
    pub name: String,
    pub note: String,
    /// Whether it stands for events with different messages.
    pub combined: bool,
    pub count: i32,
    /// When it happened first.
    pub first: Timestamp,
}

/// What makes events those of one object.
#[derive(PartialEq, Eq, Hash)]
struct ObjectKey([Option<String>; 5]);

impl ObjectKey {
    fn of(message: &Message) -> Self {
        let r = &message.regarding;
        let parts = [&r.api_version, &r.kind, &r.namespace, &r.name, &r.uid];
        Self(parts.map(Clone::clone))
    }
}

struct Counted {
    /// Of all that makes events equal.
    key: u64,
    name: String,
    count: i32,
    first: Timestamp,
}

/// Events of one object that differ in their message only.
struct Group {
    type_: &'static str,
    reason: String,
    last: Instant,
    /// Hashes of different messages, the oldest first.
    messages: Vec<u64>,
}

struct Object {
    /// Events it may still cause, at `refilled`.
    tokens: f64,
    refilled: Instant,
    /// Those used last at the end, as in `groups`.
    counted: Vec<Counted>,
    groups: Vec<Group>,
}

/// Remembers what was seen.
pub(super) struct Correlator {
    objects: LruCache<ObjectKey, Object>,
}

impl Default for Correlator {
    fn default() -> Self {
        Self {
            // One of a capacity takes the memory of all its places at once, in each of a dozen recorders.
            objects: LruCache::unbounded(),
        }
    }
}

impl Correlator {
    /// What to write for `message`; `None` when its object has used up its share. Repeats are counted all the same.
    pub(super) fn correlate(&mut self, message: &Message, now: Instant) -> Option<Write> {
        let key = ObjectKey::of(message);
        if self.objects.len() >= OBJECTS.get() && !self.objects.contains(&key) {
            self.objects.pop_lru();
        }
        let object = self.objects.get_or_insert_mut(key, || Object {
            tokens: BURST,
            refilled: now,
            counted: Vec::new(),
            groups: Vec::new(),
        });
        let combined = object.combine(message, now);
        let note = match combined {
            true => super::truncate(format!("(combined from similar events): {}", message.note)),
            false => message.note.clone(),
        };
        let observed = object.count(message, combined, note);
        let write = match observed.count {
            1 => Write::Create(observed),
            _ => Write::Patch(observed),
        };
        object.spend(now).then_some(write)
    }
}

impl Object {
    /// Whether the message is one too many of its kind.
    fn combine(&mut self, message: &Message, now: Instant) -> bool {
        let known = self
            .groups
            .iter()
            .position(|group| group.type_ == message.type_ && group.reason == message.reason);
        let mut group = match known {
            Some(at) => self.groups.remove(at),
            None => Group {
                type_: message.type_,
                reason: message.reason.clone(),
                last: now,
                messages: Vec::new(),
            },
        };
        if now.duration_since(group.last) > COMBINE_WINDOW {
            group.messages.clear();
        }
        group.last = now;
        let hash = hash(&message.note);
        if !group.messages.contains(&hash) {
            group.messages.push(hash);
        }
        let combined = group.messages.len() >= COMBINE_FROM;
        if combined {
            group.messages.remove(0);
        }
        push(&mut self.groups, group, GROUPS_PER_OBJECT);
        combined
    }

    /// Counts the event: all that are combined as one.
    fn count(&mut self, message: &Message, combined: bool, note: String) -> Observed {
        let field = &message.regarding.field_path;
        let distinct = (!combined).then_some((&message.note, field));
        let key = hash(&(message.type_, &message.reason, distinct));
        let mut counted = match self.counted.iter().position(|known| known.key == key) {
            Some(at) => self.counted.remove(at),
            None => {
                let object = message.regarding.name.as_deref().unwrap_or_default();
                Counted {
                    key,
                    name: format!("{object}.{:x}", message.at.as_nanosecond()),
                    count: 0,
                    first: message.at,
                }
            }
        };
        counted.count = counted.count.saturating_add(1);
        let observed = Observed {
            name: counted.name.clone(),
            note,
            combined,
            count: counted.count,
            first: counted.first,
        };
        push(&mut self.counted, counted, EVENTS_PER_OBJECT);
        observed
    }

    fn spend(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.refilled).as_secs_f64() / REFILL.as_secs_f64();
        self.tokens = (self.tokens + earned).min(BURST);
        self.refilled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}

/// Adds to the end; the first goes where there are too many.
fn push<T>(list: &mut Vec<T>, item: T, limit: usize) {
    if list.len() >= limit {
        list.remove(0);
    }
    list.push(item);
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests;
