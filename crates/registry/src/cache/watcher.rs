//! One watch: a cursor into the ring, a filter, and an output for what it sees.
//!
//! A watcher holds no queue: a slow reader falls behind the ring and replays from the store's history.

use std::{
    collections::VecDeque,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use knarr_meta::status::Status;
use tokio::time::{Instant, Sleep};

use super::{
    Cache,
    entry::Entry,
    filter::Filter,
    output::Output,
    resource::ResourceCache,
    ring::RingEvent,
    routes::{First, Registration},
};

/// Events looked at in one turn.
const TURN_EVENTS: usize = 256;
/// Between bookmarks.
const BOOKMARK_PERIOD: Duration = Duration::from_secs(60);
/// A last bookmark comes this long before the watch times out.
const BOOKMARK_BEFORE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a watch wants.
pub struct WatchOptions {
    pub filter: Filter,
    pub start: Start,
    pub bookmarks: bool,
    /// The server ends the watch after this long.
    pub timeout: Duration,
}

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// The objects that exist come first as ADDED. `annotated`: then a bookmark that says they were all.
    Now { annotated: bool },
    /// Events above this revision.
    After(u64),
    /// Nowhere: it tells of this error, and ends.
    Failed(Box<Status>),
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

/// The body of a watch response: a stream of what the output makes of the events, one or more at a time.
pub struct Watcher<O> {
    cache: Arc<Cache>,
    resource: Arc<ResourceCache>,
    filter: Filter,
    out: O,
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

impl<O: Output> Watcher<O> {
    pub fn new(
        cache: Arc<Cache>,
        resource: Arc<ResourceCache>,
        options: WatchOptions,
        out: O,
    ) -> Self {
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
            Start::Failed(status) => {
                let until = resource.revision();
                let events = futures::stream::iter([Err(*status)]).boxed();
                (Phase::Replay { events, until }, until)
            }
        };
        let stopped = resource.ended.clone().cancelled_owned().boxed();
        let mut watcher = Watcher {
            timer: Box::pin(tokio::time::sleep_until(ends)),
            cache,
            resource,
            filter: options.filter,
            out,
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

    /// Tells of an event, if it is one to this watcher.
    fn tell(&mut self, event: &RingEvent) {
        self.position = self.position.max(event.revision);
        if event.revision > self.after
            && let Some((kind, state)) = event.seen_by(&self.filter)
        {
            self.out.event(event, kind, state);
        }
    }

    /// Initial objects, as many as fit one piece.
    fn poll_initial(&mut self) -> Option<O::Item> {
        let Phase::Initial {
            entries,
            revision,
            annotated,
        } = &mut self.phase
        else {
            return None;
        };
        let (revision, annotated) = (*revision, *annotated);
        while let Some(entry) = entries.pop_front() {
            self.out.initial(&entry);
            if self.out.is_full() {
                return self.out.finish();
            }
        }
        if annotated {
            self.out.bookmark(revision, true);
        }
        self.phase = live(&self.resource, &self.cache, revision);
        self.out.finish()
    }

    fn poll_replay(&mut self, context: &mut Context<'_>) -> Poll<Option<O::Item>> {
        while let Phase::Replay { events, until } = &mut self.phase {
            let until = *until;
            match events.poll_next_unpin(context) {
                Poll::Pending if self.out.is_empty() => return Poll::Pending,
                Poll::Pending => break,
                Poll::Ready(Some(Ok(event))) => {
                    self.tell(&event);
                    if self.out.is_full() {
                        break;
                    }
                }
                Poll::Ready(Some(Err(status))) => {
                    self.out.error(&status);
                    self.phase = Phase::Over;
                }
                Poll::Ready(None) => {
                    self.position = self.position.max(until);
                    self.phase = live(&self.resource, &self.cache, self.position);
                    break;
                }
            }
        }
        Poll::Ready(self.out.finish())
    }

    /// Tells of what there is in the ring, as much as fits one piece.
    fn drain(&mut self, context: &Context<'_>) {
        self.registration.slot.register(context.waker());
        let Phase::Live { cursor } = self.phase else {
            return;
        };
        let Some(first) = self.registration.slot.take() else {
            return;
        };
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
            return;
        };
        for event in events {
            at += 1;
            self.tell(&event);
            if self.out.is_full() {
                break;
            }
        }
        if at < end {
            // The rest waits for the reader: ring the own bell again.
            self.registration.slot.again(First {
                sequence: at,
                revision: self.position + 1,
            });
        }
        self.phase = Phase::Live { cursor: at };
    }

    /// The end of the watch, or a bookmark; `Pending` also where there is neither.
    fn poll_timer(&mut self, context: &mut Context<'_>) -> Poll<Option<O::Item>> {
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
        self.drain(context);
        if matches!(self.phase, Phase::Live { .. }) && !self.registration.slot.pending() {
            self.position = self.position.max(published);
            self.out.bookmark(self.position, false);
        }
        match self.out.finish() {
            Some(piece) => Poll::Ready(Some(piece)),
            None => Poll::Pending,
        }
    }
}

impl<O: Output + Unpin> Stream for Watcher<O> {
    type Item = O::Item;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<O::Item>> {
        let this = &mut *self;
        if this.stopped.poll_unpin(context).is_ready() {
            // What happened before the end is still told: that objects went with their definition.
            this.drain(context);
            return Poll::Ready(this.out.finish());
        }
        // Each turn changes the phase or returns; three phases follow one another, and a ring that is outrun restarts them.
        loop {
            match this.phase {
                Phase::Over => return Poll::Ready(None),
                Phase::Initial { .. } => {
                    if let Some(piece) = this.poll_initial() {
                        return Poll::Ready(Some(piece));
                    }
                }
                Phase::Replay { .. } => match this.poll_replay(context) {
                    Poll::Pending => return this.poll_timer_only(context),
                    Poll::Ready(Some(piece)) => return Poll::Ready(Some(piece)),
                    Poll::Ready(None) => {}
                },
                Phase::Live { .. } => {
                    if let Poll::Ready(ready) = this.poll_timer(context) {
                        return Poll::Ready(ready);
                    }
                    this.drain(context);
                    if let Some(piece) = this.out.finish() {
                        return Poll::Ready(Some(piece));
                    }
                    if matches!(this.phase, Phase::Live { .. }) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }
}

impl<O: Output> Watcher<O> {
    /// During a replay only the end counts.
    fn poll_timer_only(&mut self, context: &mut Context<'_>) -> Poll<Option<O::Item>> {
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

impl<O> Drop for Watcher<O> {
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
