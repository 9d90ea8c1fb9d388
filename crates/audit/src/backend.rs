//! Where events go: a queue, and a task that takes batches from it to a sink.
//!
//! ```text
//! batch:     offer --> queue, or lost where it is full --> batches --> sink
//! blocking:  send  --> queue, once there is room ------> batches --> sink --> the request goes on
//! ```
//!
//! The queue is bounded by events and by bytes. What a sink cannot keep is counted, and told to the log when it begins and when it ends.

pub mod log;
mod throttle;
pub mod truncation;
pub mod webhook;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

use self::{throttle::Throttle, truncation::Truncation};
use crate::Error;

/// Events that wait, bytes.
const QUEUE_BYTES: u32 = 64 << 20;
/// Largest batch, bytes, where nothing else is said: what upstream's truncation allows.
const BATCH_BYTES: usize = 10 << 20;
/// Batches that are under way at once, where the sink takes several.
const BATCHES: usize = 16;

/// Between two lines of the log about what one backend keeps and loses.
const NEWS_PERIOD: Duration = Duration::from_secs(60);

/// When a request goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// At once; events that find no room are lost.
    Batch,
    /// When its events are written, or could not be.
    Blocking,
    /// When its events are written; not at all where the first one could not be.
    BlockingStrict,
}

/// How events are put together. Only in mode `batch`: a request that waits does not wait for others.
#[derive(Clone, Debug, PartialEq)]
pub struct Batching {
    /// Events that wait, at most.
    pub buffer: usize,
    pub max_events: usize,
    /// How long the first event of a batch waits for others.
    pub max_wait: Duration,
    /// Batches a second, and how many may come at once.
    pub throttle: Option<(f64, u32)>,
}

impl Batching {
    /// # Errors
    /// Where a number is none that makes sense, in upstream's words.
    fn check(&self, plugin: &str) -> Result<(), Error> {
        let wrong = |what: &str, value: &dyn std::fmt::Display| {
            let why =
                format!("invalid audit batch {plugin} {what} {value}, must be a positive number");
            Err(Error::Invalid(why))
        };
        match self.throttle {
            _ if self.buffer == 0 => wrong("buffer size", &self.buffer),
            _ if self.max_events == 0 => wrong("max batch size", &self.max_events),
            Some((qps, _)) if !(qps.is_finite() && qps > 0.0) => wrong("throttle QPS", &qps),
            Some((_, 0)) => wrong("throttle burst", &0),
            _ => Ok(()),
        }
    }
}

/// What keeps events.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Keeps a batch. The error says why it could not.
    async fn keep(&self, events: &[Bytes]) -> Result<(), String>;
}

/// A sink, and the queue before it.
pub struct Backend {
    name: &'static str,
    mode: Mode,
    truncation: Option<Truncation>,
    sender: mpsc::Sender<Item>,
    room: Arc<Semaphore>,
    delivery: Arc<Delivery>,
    queue: Mutex<Option<Queue>>,
}

/// An event in the queue.
struct Item {
    event: Bytes,
    /// Who waits for it.
    done: Option<oneshot::Sender<bool>>,
    _room: OwnedSemaphorePermit,
}

struct Queue {
    receiver: mpsc::Receiver<Item>,
    /// What a batch had no room for.
    next: Option<Item>,
    max_bytes: usize,
    batching: Batching,
    /// Whether a batch may be under way while the next one is put together.
    concurrent: bool,
}

/// What was told last of a backend, and when. A full disk takes one batch and not the next one: that is told now and then, and
/// counted always.
#[derive(Default)]
struct News {
    lost: bool,
    told: Option<Instant>,
}

struct Delivery {
    name: &'static str,
    sink: Box<dyn Sink>,
    errors: AtomicU64,
    news: Mutex<News>,
}

impl Backend {
    fn new(
        name: &'static str,
        mode: Mode,
        batching: &Batching,
        truncation: Option<Truncation>,
        concurrent: bool,
        sink: Box<dyn Sink>,
    ) -> Result<Backend, Error> {
        let mut max_bytes = BATCH_BYTES;
        if let Some(truncation) = &truncation {
            truncation.check(name)?;
            max_bytes = usize::try_from(truncation.max_batch_bytes).unwrap_or(usize::MAX);
        }
        let mut batching = batching.clone();
        match mode {
            Mode::Batch => batching.check(name)?,
            Mode::Blocking | Mode::BlockingStrict => {
                batching.max_wait = Duration::ZERO;
                batching.throttle = None;
                batching.buffer = batching.buffer.max(1);
                batching.max_events = batching.max_events.max(1);
            }
        }
        let (sender, receiver) = mpsc::channel(batching.buffer);
        Ok(Backend {
            name,
            mode,
            truncation,
            sender,
            room: Arc::new(Semaphore::new(QUEUE_BYTES as usize)),
            delivery: Arc::new(Delivery {
                name,
                sink,
                errors: AtomicU64::new(0),
                news: Mutex::default(),
            }),
            queue: Mutex::new(Some(Queue {
                receiver,
                next: None,
                max_bytes,
                batching,
                concurrent,
            })),
        })
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Events that could not be kept.
    pub fn errors(&self) -> u64 {
        self.delivery.errors.load(Ordering::Relaxed)
    }

    /// Takes an event as its mode says; false where its request must not go on.
    pub async fn send(&self, event: Bytes) -> bool {
        if self.mode == Mode::Batch {
            self.offer(event);
            return true;
        }
        let Some(event) = self.cut(event) else {
            return true;
        };
        let kept = self.keep(event).await;
        kept || self.mode == Mode::Blocking
    }

    /// The event as this backend takes it. One that it does not take is lost, and no reason to refuse a request, as upstream.
    fn cut(&self, event: Bytes) -> Option<Bytes> {
        let Some(truncation) = &self.truncation else {
            return Some(event);
        };
        let cut = truncation.cut(&event);
        if cut.is_none() {
            self.delivery
                .failed(1, "event is too large even after truncating");
        }
        cut
    }

    /// Takes an event if there is room.
    pub fn offer(&self, event: Bytes) {
        let Some(event) = self.cut(event) else {
            return;
        };
        let room = self.room.clone().try_acquire_many_owned(size(&event));
        let sent = room.is_ok_and(|room| {
            let item = Item {
                event,
                done: None,
                _room: room,
            };
            self.sender.try_send(item).is_ok()
        });
        if !sent {
            self.delivery.failed(1, "audit buffer queue blocked");
        }
    }

    async fn keep(&self, event: Bytes) -> bool {
        let room = self.room.clone().acquire_many_owned(size(&event)).await;
        let Ok(room) = room else {
            return false;
        };
        let (done, kept) = oneshot::channel();
        let item = Item {
            event,
            done: Some(done),
            _room: room,
        };
        if self.sender.send(item).await.is_err() {
            self.delivery.failed(1, "audit backend shut down");
            return false;
        }
        kept.await.unwrap_or(false)
    }

    /// Delivers until the token is cancelled and the queue is empty.
    pub async fn run(&self, stop: &CancellationToken) {
        let Some(mut queue) = self.queue.lock().take() else {
            return;
        };
        let mut throttle = queue.batching.throttle.map(Throttle::new);
        let places = Arc::new(Semaphore::new(BATCHES));
        while let Some(batch) = queue.batch(stop).await {
            if let Some(throttle) = &mut throttle
                && !stop.is_cancelled()
            {
                throttle.take().await;
            }
            let delivery = self.delivery.clone();
            match (queue.concurrent, places.clone().acquire_owned().await) {
                (true, Ok(place)) => {
                    knarr_tasks::spawn("a batch of audit events", async move {
                        delivery.deliver(batch).await;
                        drop(place);
                    });
                }
                _ => delivery.deliver(batch).await,
            }
        }
        // All are back when those under way have ended.
        let _ = places.acquire_many(BATCHES as u32).await;
    }
}

/// What an event takes of the queue's room.
fn size(event: &Bytes) -> u32 {
    u32::try_from(event.len()).map_or(QUEUE_BYTES, |bytes| bytes.min(QUEUE_BYTES))
}

impl Queue {
    /// The next batch; `None` at the end.
    async fn batch(&mut self, stop: &CancellationToken) -> Option<Vec<Item>> {
        let first = match self.next.take() {
            Some(first) => first,
            None => match stop.run_until_cancelled(self.receiver.recv()).await {
                Some(first) => first?,
                None => {
                    // What was taken is delivered, and nothing is taken any more.
                    self.receiver.close();
                    self.receiver.recv().await?
                }
            },
        };
        let until = Instant::now().checked_add(self.batching.max_wait);
        let mut bytes = first.event.len();
        let mut batch = vec![first];
        while batch.len() < self.batching.max_events && bytes < self.max_bytes {
            let next = match self.receiver.try_recv() {
                Ok(next) => Some(next),
                Err(_) if self.batching.max_wait.is_zero() => None,
                Err(_) => self.next_until(until, stop).await,
            };
            let Some(next) = next else {
                break;
            };
            bytes = bytes.saturating_add(next.event.len());
            if bytes > self.max_bytes {
                self.next = Some(next);
                break;
            }
            batch.push(next);
        }
        Some(batch)
    }

    /// What comes in time; a time too far to be counted does not come.
    async fn next_until(
        &mut self,
        until: Option<Instant>,
        stop: &CancellationToken,
    ) -> Option<Item> {
        let more = async {
            match until {
                Some(until) => timeout_at(until, self.receiver.recv()).await.ok().flatten(),
                None => self.receiver.recv().await,
            }
        };
        stop.run_until_cancelled(more).await.flatten()
    }
}

impl Delivery {
    async fn deliver(&self, batch: Vec<Item>) {
        let events: Vec<Bytes> = batch.iter().map(|item| item.event.clone()).collect();
        let kept = self.sink.keep(&events).await;
        match &kept {
            Ok(()) => {
                if self.news.lock().is_worth_telling(false, Instant::now()) {
                    let lost = self.errors.load(Ordering::Relaxed);
                    tracing::warn!(plugin = self.name, lost, "audit events are kept again");
                }
            }
            Err(why) => self.failed(events.len() as u64, why),
        }
        for item in batch {
            if let Some(done) = item.done {
                // Who has gone does not want to know.
                let _ = done.send(kept.is_ok());
            }
        }
    }

    fn failed(&self, events: u64, why: &str) {
        self.errors.fetch_add(events, Ordering::Relaxed);
        if self.news.lock().is_worth_telling(true, Instant::now()) {
            tracing::error!(plugin = self.name, why, "audit events are lost");
        }
    }
}

impl News {
    /// Whether what became of a batch is told: where it is other than what was told last, and that is long enough ago.
    fn is_worth_telling(&mut self, lost: bool, now: Instant) -> bool {
        let quiet = |told: Instant| now.saturating_duration_since(told) < NEWS_PERIOD;
        if self.lost == lost || self.told.is_some_and(quiet) {
            return false;
        }
        *self = News {
            lost,
            told: Some(now),
        };
        true
    }
}

#[cfg(test)]
mod tests;
