//! One watch: a cursor into the ring, a filter, and a way to encode what it sees.
//!
//! A watcher holds no queue: a slow reader falls behind the ring and replays from the store's history.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use knarr_meta::status::Status;
use tokio::time::{Instant, Sleep};

use super::{
    Cache,
    entry::Entry,
    filter::Filter,
    resource::ResourceCache,
    ring::{Kind, RingEvent},
    routes::{First, Registration},
};

/// Bytes after which a frame is handed to the connection even if more events wait.
const FRAME_BYTES: usize = 64 << 10;
/// Events looked at in one turn.
const TURN_EVENTS: usize = 256;
/// Between bookmarks.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the watch times out.
const BOOKMARK_BEFORE_TIMEOUT: Duration = Duration::from_secs(2);

/// Encodes the objects of a watch other than as they are stored (Table, partial metadata, another version).
pub trait View: Send + Sync {
    /// The event's object at `revision`.
    fn object(&self, entry: &Entry, revision: u64) -> Bytes;
    /// The whole frame of an event. `old`: the object as it was before, where this watch has seen it.
    fn frame(&self, kind: Kind, state: &Entry, _old: Option<&Entry>, revision: u64) -> Bytes {
        self.event(kind.as_str(), &self.object(state, revision))
    }
    /// The frame of an event with this object in it.
    fn event(&self, kind: &str, object: &[u8]) -> Bytes {
        frame(kind, object)
    }
    /// The frame of an error.
    fn error(&self, status: &Status) -> Bytes {
        error_frame(status)
    }
    /// Object of a bookmark; `annotated` marks the end of the initial events.
    fn bookmark(&self, revision: u64, annotated: bool) -> Bytes;
}

/// What a watch wants.
pub struct WatchOptions {
    pub filter: Filter,
    /// Absent: objects as stored.
    pub view: Option<Arc<dyn View>>,
    pub start: Start,
    pub bookmarks: bool,
    /// The server ends the watch after this long.
    pub timeout: Duration,
}

/// Where a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The objects that exist come first as ADDED. `annotated`: then a bookmark that says they were all.
    Now { annotated: bool },
    /// Events above this revision.
    After(u64),
}

enum Phase {
    Initial {
        entries: VecDeque<Arc<Entry>>,
        revision: u64,
        annotated: bool,
    },
    /// From the store's history: below the ring.
    Replay {
        events: BoxStream<'static, Result<Arc<RingEvent>, Status>>,
        until: u64,
    },
    Live {
        cursor: u64,
    },
    /// An ERROR frame was sent.
    Over,
}

/// The body of a watch response: a stream of frames, each one or more events: lines `{"type":…,"object":…}` where no
/// view writes them otherwise.
pub struct Watcher {
    cache: Arc<Cache>,
    resource: Arc<ResourceCache>,
    filter: Filter,
    view: Option<Arc<dyn View>>,
    bookmarks: bool,
    registration: Registration,
    phase: Phase,
    /// Revision of the last event, bookmark or start: where a replay begins.
    position: u64,
    /// Events up to here are not for this watcher, also where they are still to come: a client may ask for a future revision.
    after: u64,
    ends: Instant,
    timer: Pin<Box<Sleep>>,
    stopped: BoxFuture<'static, ()>,
}

impl Watcher {
    pub fn new(cache: Arc<Cache>, resource: Arc<ResourceCache>, options: WatchOptions) -> Watcher {
        let now = Instant::now();
        let ends = now.checked_add(options.timeout).unwrap_or(now);
        let registration = resource.routes.add(options.filter.route(&resource.kind));
        let (phase, position) = match options.start {
            Start::Now { annotated } => {
                let slice = resource.list(
                    &options.filter,
                    super::resource::Page {
                        start: None,
                        limit: 0,
                    },
                );
                let phase = Phase::Initial {
                    entries: slice.entries.into(),
                    revision: slice.revision,
                    annotated,
                };
                (phase, slice.revision)
            }
            Start::After(revision) => (live(&resource, &cache, revision), revision),
        };
        let stopped = resource.ended.clone().cancelled_owned().boxed();
        let mut watcher = Watcher {
            timer: Box::pin(tokio::time::sleep_until(ends)),
            cache,
            resource,
            filter: options.filter,
            view: options.view,
            bookmarks: options.bookmarks,
            registration,
            phase,
            position,
            after: position,
            ends,
            stopped,
        };
        watcher.arm();
        watcher
    }

    /// Where the next replay would begin.
    #[cfg(test)]
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Sets the timer to the next bookmark or the end.
    fn arm(&mut self) {
        let mut next = self.ends;
        if self.bookmarks {
            let now = Instant::now();
            let last = self
                .ends
                .checked_sub(BOOKMARK_BEFORE_TIMEOUT)
                .unwrap_or(self.ends);
            let period = now + BOOKMARK_PERIOD.mul_f64(0.75 + 0.25 * fastrand::f64());
            next = match last > now {
                true => period.min(last),
                false => self.ends,
            };
        }
        self.timer.as_mut().reset(next);
    }

    fn encode(&self, event: &RingEvent) -> Option<Bytes> {
        if event.revision <= self.after {
            return None;
        }
        let (kind, state) = event.seen_by(&self.filter)?;
        match &self.view {
            None => event.frame(kind),
            Some(view) => {
                let old = event.old.as_deref().filter(|_| kind == Kind::Modified);
                Some(view.frame(kind, state, old, event.revision))
            }
        }
    }

    fn encode_initial(&self, entry: &Entry) -> Bytes {
        match &self.view {
            None => super::ring::encode_frame(Kind::Added, entry, entry.revision),
            Some(view) => view.frame(Kind::Added, entry, None, entry.revision),
        }
    }

    fn bookmark(&self, revision: u64, annotated: bool) -> Bytes {
        const BOOKMARK: &str = "BOOKMARK";
        match &self.view {
            Some(view) => view.event(BOOKMARK, &view.bookmark(revision, annotated)),
            None => {
                let kind = &self.resource.kind;
                let api_version = kind.api_version();
                let object = bookmark_object(&kind.kind, &api_version, revision, annotated);
                frame(BOOKMARK, &object)
            }
        }
    }

    /// Frames of the initial objects, as many as fit one chunk.
    fn poll_initial(&mut self) -> Option<Bytes> {
        let Phase::Initial {
            entries,
            revision,
            annotated,
        } = &mut self.phase
        else {
            return None;
        };
        let (revision, annotated) = (*revision, *annotated);
        let mut entries = std::mem::take(entries);
        let mut out = Frames::default();
        while let Some(entry) = entries.pop_front() {
            out.push(self.encode_initial(&entry));
            if out.full() {
                self.phase = Phase::Initial {
                    entries,
                    revision,
                    annotated,
                };
                return out.finish();
            }
        }
        if annotated {
            out.push(self.bookmark(revision, true));
        }
        self.phase = live(&self.resource, &self.cache, revision);
        out.finish()
    }

    fn poll_replay(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let mut out = Frames::default();
        while let Phase::Replay { events, until } = &mut self.phase {
            let until = *until;
            match events.poll_next_unpin(context) {
                Poll::Pending if out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(event))) => {
                    self.position = self.position.max(event.revision);
                    if let Some(bytes) = self.encode(&event) {
                        out.push(bytes);
                    }
                    if out.full() {
                        break;
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    out.push(match &self.view {
                        Some(view) => view.error(&status),
                        None => error_frame(&status),
                    });
                    self.phase = Phase::Over;
                }
                Poll::Ready(None) => {
                    self.position = self.position.max(until);
                    self.phase = live(&self.resource, &self.cache, self.position);
                    break;
                }
            }
        }
        Poll::Ready(out.finish())
    }

    /// `None`: nothing to send now.
    fn poll_live(&mut self, context: &Context<'_>) -> Option<Bytes> {
        self.registration.slot.register(context.waker());
        let Phase::Live { cursor } = self.phase else {
            return None;
        };
        let first = self.registration.slot.take()?;
        let mut at = cursor.max(first.sequence);
        // Encoding under the read lock would hold up the feed: take the events first.
        let events: Option<(Vec<Arc<RingEvent>>, u64)> = {
            let state = self.resource.read();
            let events = state
                .ring
                .from(at)
                .map(|events| events.take(TURN_EVENTS).cloned().collect());
            events.map(|events| (events, state.ring.end()))
        };
        let Some((events, end)) = events else {
            // Nothing before `first` concerns this watcher.
            self.position = self.position.max(first.revision.saturating_sub(1));
            self.phase = live(&self.resource, &self.cache, self.position);
            self.registration.slot.again(First {
                sequence: 0,
                revision: 0,
            });
            return None;
        };
        let mut out = Frames::default();
        for event in events {
            at += 1;
            self.position = self.position.max(event.revision);
            if let Some(bytes) = self.encode(&event) {
                out.push(bytes);
            }
            if out.full() {
                break;
            }
        }
        if at < end {
            // The rest waits for the connection: ring the own bell again.
            self.registration.slot.again(First {
                sequence: at,
                revision: self.position + 1,
            });
        }
        self.phase = Phase::Live { cursor: at };
        out.finish()
    }

    /// The end of the watch, or a bookmark; `Pending` also where there is neither.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        if Instant::now() >= self.ends {
            return Poll::Ready(None);
        }
        self.arm();
        // Armed anew, the timer must be polled again to wake this task.
        context.waker().wake_by_ref();
        // Read before the ring is drained: nothing up to here is still to be sent.
        let published = self.cache.published();
        let mut out = Frames::default();
        if let Some(bytes) = self.poll_live(context) {
            out.push(bytes);
        }
        if matches!(self.phase, Phase::Live { .. }) && !self.registration.slot.pending() {
            self.position = self.position.max(published);
            out.push(self.bookmark(self.position, false));
        }
        match out.finish() {
            Some(bytes) => Poll::Ready(Some(bytes)),
            None => Poll::Pending,
        }
    }
}

impl Stream for Watcher {
    type Item = Bytes;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let this = &mut *self;
        if this.stopped.poll_unpin(context).is_ready() {
            // What happened before the end is still told: that objects went with their definition.
            return Poll::Ready(this.poll_live(context));
        }
        // Each turn changes the phase or returns; three phases follow one another, and a ring that is outrun restarts them.
        loop {
            match this.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Initial { .. } => {
                    if let Some(bytes) = this.poll_initial() {
                        return Poll::Ready(Some(bytes));
                    }
                }
                Phase::Replay { .. } => match this.poll_replay(context) {
                    Poll::Pending => return this.poll_timer_only(context),
                    Poll::Ready(Some(bytes)) => return Poll::Ready(Some(bytes)),
                    Poll::Ready(None) => {}
                },
                Phase::Live { .. } => {
                    if let Poll::Ready(ready) = this.poll_timer(context) {
                        return Poll::Ready(ready);
                    }
                    if let Some(bytes) = this.poll_live(context) {
                        return Poll::Ready(Some(bytes));
                    }
                    if matches!(this.phase, Phase::Live { .. }) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl Watcher {
    /// During a replay only the end counts.
    fn poll_timer_only(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if self.timer.as_mut().poll(context).is_ready() {
            if Instant::now() >= self.ends {
                return Poll::Ready(None);
            }
            self.arm();
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.resource.routes.remove(&self.registration);
    }
}

/// Live where the ring reaches back to `revision`, else a replay up to it.
fn live(resource: &Arc<ResourceCache>, cache: &Arc<Cache>, revision: u64) -> Phase {
    let state = resource.read();
    match state.ring.after(revision) {
        Some(cursor) => Phase::Live { cursor },
        None => {
            let until = state.ring.floor();
            drop(state);
            Phase::Replay {
                events: cache.replay(resource.clone(), revision, until),
                until,
            }
        }
    }
}

/// Collects frames; a single one is passed on without copying.
#[derive(Default)]
struct Frames {
    first: Option<Bytes>,
    all: BytesMut,
}

impl Frames {
    fn push(&mut self, bytes: Bytes) {
        match self.first.take() {
            None if self.all.is_empty() => self.first = Some(bytes),
            None => self.all.extend_from_slice(&bytes),
            Some(first) => {
                self.all.reserve(first.len() + bytes.len());
                self.all.extend_from_slice(&first);
                self.all.extend_from_slice(&bytes);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.first.is_none() && self.all.is_empty()
    }

    fn full(&self) -> bool {
        self.all.len() + self.first.as_ref().map_or(0, Bytes::len) >= FRAME_BYTES
    }

    fn finish(self) -> Option<Bytes> {
        match self.first {
            Some(first) => Some(first),
            None if self.all.is_empty() => None,
            None => Some(self.all.freeze()),
        }
    }
}

/// One line of a watch response.
pub fn frame(kind: &str, object: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(object.len() + kind.len() + 24);
    out.extend_from_slice(b"{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"object\":");
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.freeze()
}

/// An ERROR line.
pub fn error_frame(status: &Status) -> Bytes {
    frame("ERROR", &serde_json::to_vec(status).unwrap_or_default())
}

/// The object of a bookmark: type and resourceVersion only.
pub fn bookmark_object(kind: &str, api_version: &str, revision: u64, annotated: bool) -> Bytes {
    let annotations = match annotated {
        true => r#","annotations":{"k8s.io/initial-events-end":"true"}"#,
        false => "",
    };
    Bytes::from(format!(
        r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{{"resourceVersion":"{revision}","creationTimestamp":null{annotations}}}}}"#
    ))
}
