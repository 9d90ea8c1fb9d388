//! The recent commits, shared by all watchers. Revisions have no gaps, so the place of one is a subtraction.

use std::collections::VecDeque;

use crate::types::{Commit, Event};

pub(crate) struct Ring {
    events: VecDeque<Event>,
    /// Revision of the first entry, or of the next one to come.
    first: u64,
    bytes: usize,
    max_events: usize,
    max_bytes: usize,
}

impl Ring {
    /// An empty ring that continues after `revision`.
    pub(crate) fn new(revision: u64, max_events: usize, max_bytes: usize) -> Ring {
        Ring {
            events: VecDeque::new(),
            first: revision + 1,
            bytes: 0,
            max_events,
            max_bytes,
        }
    }

    /// Adds the next revision's event, and drops the oldest ones that are over the limits.
    pub(crate) fn push(&mut self, event: Event) {
        self.bytes += weight(&event);
        self.events.push_back(event);
        while self.events.len() > self.max_events || self.bytes > self.max_bytes {
            let Some(oldest) = self.events.pop_front() else {
                break;
            };
            self.bytes -= weight(&oldest);
            self.first += 1;
        }
    }

    /// Drops the entries up to a revision: history does not reach back to them any more.
    pub(crate) fn forget(&mut self, revision: u64) {
        let count = (revision + 1).saturating_sub(self.first);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        for oldest in self.events.drain(..count.min(self.events.len())) {
            self.bytes -= weight(&oldest);
            self.first += 1;
        }
        self.events.shrink_to(self.events.len() * 2);
    }

    /// Commits under the prefix among the entries from revision `from` on, looking at up to `limit` entries, and the
    /// revision to go on from. `None` if `from` is older than the ring.
    pub(crate) fn read(&self, prefix: &str, from: u64, limit: usize) -> Option<(Vec<Commit>, u64)> {
        let start = usize::try_from(from.checked_sub(self.first)?).ok()?;
        let mut commits = Vec::new();
        let mut next = from;
        for event in self.events.iter().skip(start).take(limit) {
            if event.key.starts_with(prefix) {
                commits.push(Commit {
                    revision: next,
                    events: vec![event.clone()],
                });
            }
            next += 1;
        }
        Some((commits, next))
    }
}

/// What an entry holds on to. The previous value counts too: nobody else may have it any more.
fn weight(event: &Event) -> usize {
    const ENTRY_BYTES: usize = 256;
    let value = |kv: &Option<crate::KeyValue>| kv.as_ref().map_or(0, |kv| kv.value.len());
    ENTRY_BYTES + value(&event.value) + value(&event.previous)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyValue;
    use bytes::Bytes;
    use std::sync::Arc;

    fn event(key: &str, revision: u64, size: usize) -> Event {
        let key: Arc<str> = Arc::from(key);
        let value = Bytes::from(vec![0; size]);
        let kv = KeyValue {
            key: key.clone(),
            value,
            create_revision: revision,
            mod_revision: revision,
            version: 1,
        };
        Event {
            key,
            value: Some(kv),
            previous: None,
        }
    }

    fn revisions(read: Option<(Vec<Commit>, u64)>) -> Option<(Vec<u64>, u64)> {
        read.map(|(commits, next)| (commits.iter().map(|commit| commit.revision).collect(), next))
    }

    #[test]
    fn reads_by_revision_and_prefix() {
        let mut ring = Ring::new(1, 3, 1 << 20);
        for revision in 2..=6 {
            ring.push(event(
                if revision % 2 == 0 { "/even" } else { "/odd" },
                revision,
                1,
            ));
        }
        assert_eq!(ring.first, 4);
        assert_eq!(revisions(ring.read("/", 3, 10)), None);
        assert_eq!(revisions(ring.read("/", 4, 10)), Some((vec![4, 5, 6], 7)));
        assert_eq!(revisions(ring.read("/odd", 4, 10)), Some((vec![5], 7)));
        assert_eq!(revisions(ring.read("/", 4, 2)), Some((vec![4, 5], 6)));
        assert_eq!(revisions(ring.read("/", 7, 2)), Some((vec![], 7)));
    }

    #[test]
    fn forgets_what_is_no_history_any_more() {
        let mut ring = Ring::new(1, 100, 1 << 20);
        for revision in 2..=6 {
            ring.push(event("/a", revision, 100));
        }
        ring.forget(1);
        assert_eq!(ring.first, 2);
        ring.forget(4);
        assert_eq!(revisions(ring.read("/", 4, 10)), None);
        assert_eq!(revisions(ring.read("/", 5, 10)), Some((vec![5, 6], 7)));
        ring.forget(9);
        assert_eq!((ring.first, ring.bytes), (7, 0));
        ring.push(event("/a", 7, 1));
        assert_eq!(revisions(ring.read("/", 7, 10)), Some((vec![7], 8)));
    }

    #[test]
    fn is_limited_in_bytes() {
        let mut ring = Ring::new(1, 100, 10_000);
        for revision in 2..=20 {
            ring.push(event("/a", revision, 4000));
        }
        assert_eq!(ring.first, 19);
        ring.push(event("/a", 21, 20_000));
        assert_eq!(ring.first, 22, "an entry over the limit is not kept at all");
        ring.push(event("/a", 22, 1));
        assert_eq!(revisions(ring.read("/", 22, 10)), Some((vec![22], 23)));
    }
}
