//! The ring of recent events of one resource, shared by every watcher.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
};

use bytes::{BufMut, Bytes, BytesMut};

use super::{entry::Entry, filter::Filter};

/// Most events a ring keeps; older ones are replayed from the store's history.
pub const RING_EVENTS: usize = 8192;
/// Most bytes of object states a ring keeps alive.
pub const RING_BYTES: usize = 16 << 20;

/// A change of one object: its states before and after.
#[derive(Debug)]
pub struct RingEvent {
    pub revision: u64,
    pub new: Option<Arc<Entry>>,
    pub old: Option<Arc<Entry>>,
    /// Encoded frames by [`Kind`], made for the first watcher that wants one.
    frames: [OnceLock<Bytes>; 3],
}

/// What an event is to one watcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Added,
    Modified,
    Deleted,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Added => "ADDED",
            Kind::Modified => "MODIFIED",
            Kind::Deleted => "DELETED",
        }
    }
}

impl RingEvent {
    pub fn new(revision: u64, new: Option<Arc<Entry>>, old: Option<Arc<Entry>>) -> RingEvent {
        RingEvent {
            revision,
            new,
            old,
            frames: Default::default(),
        }
    }

    /// The event as a watcher with this filter sees it, with the state it carries. An object that stops matching is deleted
    /// for that watcher, one that starts to match is added.
    pub fn seen_by(&self, filter: &Filter) -> Option<(Kind, &Arc<Entry>)> {
        let new = self.new.as_ref().filter(|e| filter.matches(e));
        let old = self.old.as_ref().filter(|e| filter.matches(e));
        match (old, new) {
            (None, Some(new)) => Some((Kind::Added, new)),
            (Some(_), Some(new)) => Some((Kind::Modified, new)),
            (Some(old), None) => Some((Kind::Deleted, old)),
            (None, None) => None,
        }
    }

    /// The watch frame with the whole object in it. A deleted object carries the revision of its deletion.
    pub fn frame(&self, kind: Kind) -> Option<Bytes> {
        let state = match kind {
            Kind::Deleted => self.old.as_ref(),
            _ => self.new.as_ref(),
        }?;
        let frame =
            self.frames[kind as usize].get_or_init(|| encode_frame(kind, state, self.revision));
        Some(frame.clone())
    }

    fn bytes(&self) -> usize {
        let size = |e: &Option<Arc<Entry>>| e.as_ref().map_or(0, |e| e.json.len());
        size(&self.new) + size(&self.old)
    }
}

/// `{"type":…,"object":…}` and a newline.
pub fn encode_frame(kind: Kind, state: &Entry, revision: u64) -> Bytes {
    let mut out = BytesMut::with_capacity(state.size() + 36);
    out.put_slice(b"{\"type\":\"");
    out.put_slice(kind.as_str().as_bytes());
    out.put_slice(b"\",\"object\":");
    state.write_object(&mut out, revision);
    out.put_slice(b"}\n");
    out.freeze()
}

/// Events by sequence number. Every event of a revision above `floor` is in it.
#[derive(Debug)]
pub struct Ring {
    events: VecDeque<Arc<RingEvent>>,
    /// Sequence number of the first event.
    first: u64,
    floor: u64,
    bytes: usize,
    max_events: usize,
}

impl Ring {
    /// A ring that has missed everything up to revision `floor`.
    pub fn new(floor: u64, max_events: usize) -> Ring {
        Ring {
            events: VecDeque::new(),
            first: 0,
            floor,
            bytes: 0,
            max_events,
        }
    }

    /// Appends, dropping the oldest beyond the limits. Returns the sequence number.
    pub fn push(&mut self, event: Arc<RingEvent>) -> u64 {
        self.bytes += event.bytes();
        self.events.push_back(event);
        while self.events.len() > self.max_events
            || (self.bytes > RING_BYTES && self.events.len() > 1)
        {
            if let Some(gone) = self.events.pop_front() {
                self.bytes -= gone.bytes();
                self.floor = gone.revision;
                self.first += 1;
            }
        }
        self.end() - 1
    }

    /// Drops what is not above `revision`: of no use to anybody once the store's history begins there.
    pub fn forget(&mut self, revision: u64) {
        let count = self.events.partition_point(|e| e.revision <= revision);
        for gone in self.events.drain(..count) {
            self.bytes -= gone.bytes();
            self.floor = gone.revision;
            self.first += 1;
        }
        self.events.shrink_to(self.events.len() * 2);
    }

    /// One past the last sequence number.
    pub fn end(&self) -> u64 {
        self.first + self.events.len() as u64
    }

    /// Revision up to which events may be missing here.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Events from sequence number `from`; `None` where the oldest of them are gone.
    pub fn from(&self, from: u64) -> Option<impl Iterator<Item = &Arc<RingEvent>>> {
        let skip = from.checked_sub(self.first)?;
        Some(self.events.range((skip as usize).min(self.events.len())..))
    }

    /// Sequence number of the first event above `revision`; `None` below the floor.
    pub fn after(&self, revision: u64) -> Option<u64> {
        if revision < self.floor {
            return None;
        }
        let at = self.events.partition_point(|e| e.revision <= revision);
        Some(self.first + at as u64)
    }

    /// Events above `revision`, newest first; `None` below the floor.
    pub fn newest_down_to(&self, revision: u64) -> Option<impl Iterator<Item = &Arc<RingEvent>>> {
        let from = self.after(revision)?;
        Some(self.events.range((from - self.first) as usize..).rev())
    }
}

#[cfg(test)]
mod tests;
