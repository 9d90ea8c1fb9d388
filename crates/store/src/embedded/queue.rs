//! Writers wait here for the one writer thread. Bounded in requests: a writer over the limit waits for its turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::{Semaphore, oneshot};

use crate::types::{Change, Error, Op, Outcome, Result};

/// Most requests that one transaction takes.
const MAX_BATCH_REQUESTS: usize = 512;
/// A transaction takes no further request once it has this many bytes of values.
const MAX_BATCH_BYTES: usize = 4 << 20;
/// A transaction costs as much CPU as some 25 writes in it, whatever their number. So with at least so many writers
/// under way, the next transaction waits for most of them to come back, ...
const GATHER_WRITERS: usize = 8;
/// ... but not longer than this.
const GATHER_TIME: Duration = Duration::from_millis(1);

pub(crate) struct Request {
    pub(crate) op: Op,
    pub(crate) reply: oneshot::Sender<Result<Outcome>>,
}

#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    /// The writer should look around, though there may be no request.
    nudged: bool,
    closed: bool,
    /// The writer sleeps until there are so many requests; 0 while it is awake.
    wanted: usize,
    /// How many requests the last batch took.
    taken: usize,
}

impl Waiting {
    fn urgent(&self) -> bool {
        self.nudged || self.closed
    }
}

pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Condvar,
    slots: Semaphore,
}

impl Queue {
    pub(crate) fn new(max_requests: usize) -> Queue {
        let slots = Semaphore::new(max_requests.clamp(1, Semaphore::MAX_PERMITS));
        Queue {
            waiting: Mutex::default(),
            ready: Condvar::new(),
            slots,
        }
    }

    /// Hands the op to the writer; the outcome comes through what is returned.
    pub(crate) async fn submit(&self, op: Op) -> Result<oneshot::Receiver<Result<Outcome>>> {
        let slot = self.slots.acquire().await.map_err(|_| Error::Closed)?;
        let (reply, outcome) = oneshot::channel();
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(Error::Closed);
        }
        waiting.requests.push_back(Request { op, reply });
        // Given back when the writer takes the request.
        slot.forget();
        let wake = waiting.wanted > 0 && waiting.requests.len() >= waiting.wanted;
        drop(waiting);
        if wake {
            self.ready.notify_one();
        }
        Ok(outcome)
    }

    /// Wakes the writer.
    pub(crate) fn nudge(&self) {
        self.waiting.lock().nudged = true;
        self.ready.notify_one();
    }

    /// No request is taken from now on; what waits is still served.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.slots.close();
        self.ready.notify_one();
    }

    /// Closes, and drops what waits: its writers see that nobody will answer.
    pub(crate) fn abandon(&self) {
        self.close();
        let waiting = std::mem::take(&mut self.waiting.lock().requests);
        drop(waiting);
    }

    /// Waits for requests, a nudge or the timeout, and takes a batch, which may be empty. `None` once the queue is
    /// closed and empty.
    pub(crate) fn take(&self, timeout: Duration) -> Option<Vec<Request>> {
        let mut waiting = self.waiting.lock();
        // Everybody who was answered just now may come back, and who waits already was not among them.
        let writers = waiting.taken + waiting.requests.len();
        self.sleep(&mut waiting, 1, Instant::now() + timeout);
        if writers >= GATHER_WRITERS && !waiting.requests.is_empty() {
            self.sleep(&mut waiting, writers * 3 / 4, Instant::now() + GATHER_TIME);
        }
        waiting.nudged = false;
        if waiting.requests.is_empty() && waiting.closed {
            return None;
        }
        let count = batch_length(&waiting.requests);
        let batch: Vec<_> = waiting.requests.drain(..count).collect();
        waiting.taken = batch.len();
        drop(waiting);
        self.slots.add_permits(batch.len());
        Some(batch)
    }

    /// Until there are `wanted` requests, something urgent, or it is late.
    fn sleep(&self, waiting: &mut MutexGuard<'_, Waiting>, wanted: usize, until: Instant) {
        waiting.wanted = wanted;
        while waiting.requests.len() < wanted && !waiting.urgent() {
            if self.ready.wait_until(waiting, until).timed_out() {
                break;
            }
        }
        waiting.wanted = 0;
    }
}

fn batch_length(requests: &VecDeque<Request>) -> usize {
    let mut bytes = 0;
    requests
        .iter()
        .take(MAX_BATCH_REQUESTS)
        .take_while(|request| {
            let fits = bytes < MAX_BATCH_BYTES;
            if let Change::Put(value) = &request.op.change {
                bytes += value.len();
            }
            fits
        })
        .count()
}

#[cfg(test)]
mod tests;
