//! Writers wait here for the one writer thread. Bounded in requests: a writer over the limit waits for its turn.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, oneshot};

use crate::types::{Change, Error, Op, Outcome, Result};

/// Most requests that one transaction takes.
const MAX_BATCH_REQUESTS: usize = 512;
/// A transaction takes no further request once it has this many bytes of values.
const MAX_BATCH_BYTES: usize = 4 << 20;

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
        drop(waiting);
        self.ready.notify_one();
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

    /// Waits for requests, a nudge or the timeout, and takes a batch, which may be empty. `None` once the queue is
    /// closed and empty.
    pub(crate) fn take(&self, timeout: Duration) -> Option<Vec<Request>> {
        let mut waiting = self.waiting.lock();
        if waiting.requests.is_empty() && !waiting.nudged && !waiting.closed {
            self.ready.wait_for(&mut waiting, timeout);
        }
        waiting.nudged = false;
        if waiting.requests.is_empty() && waiting.closed {
            return None;
        }
        let count = batch_length(&waiting.requests);
        let batch: Vec<_> = waiting.requests.drain(..count).collect();
        drop(waiting);
        self.slots.add_permits(batch.len());
        Some(batch)
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
