//! What the two directions of a connection know together: its streams, and what the client is to be told it may send.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// Streams of a connection at a time.
pub const MAX_STREAMS: usize = 512;
/// Bytes that are consumed before the client is told so.
const CREDIT_BYTES: u32 = 16 << 10;
/// Largest window, bytes.
const MAX_WINDOW_BYTES: usize = (1 << 31) - 1;

/// Bytes consumed since the client was last told.
#[derive(Default)]
pub struct Credits {
    owed: Mutex<Owed>,
    due: Notify,
}

#[derive(Default)]
struct Owed {
    connection: u32,
    /// Of the streams in the table: what a client sends on others is no reason to remember them.
    streams: BTreeMap<u32, u32>,
}

impl Credits {
    pub fn add(&self, stream: u32, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let Owed {
            connection,
            streams,
        } = &mut *self.owed.lock();
        for total in std::iter::once(connection).chain(streams.get_mut(&stream)) {
            *total = total.saturating_add(bytes);
            if *total >= CREDIT_BYTES {
                self.due.notify_one();
            }
        }
    }

    /// Waits until some are due; stream (0: the connection) and bytes of each.
    pub async fn due(&self) -> Vec<(u32, u32)> {
        loop {
            let due: Vec<(u32, u32)> = {
                let Owed {
                    connection,
                    streams,
                } = &mut *self.owed.lock();
                std::iter::once((&0, connection))
                    .chain(streams.iter_mut())
                    .filter(|(_, bytes)| **bytes >= CREDIT_BYTES)
                    .map(|(stream, bytes)| (*stream, std::mem::take(bytes)))
                    .collect()
            };
            if !due.is_empty() {
                return due;
            }
            self.due.notified().await;
        }
    }

    fn open(&self, stream: u32) {
        self.owed.lock().streams.insert(stream, 0);
    }

    fn forget(&self, stream: u32) {
        self.owed.lock().streams.remove(&stream);
    }
}

/// A stream that the client has opened.
pub struct Entry {
    /// Gone once the client has ended it.
    pub input: Option<mpsc::Sender<Bytes>>,
    /// The client's window.
    pub window: Option<Arc<Semaphore>>,
    pub reset: CancellationToken,
    /// This side has ended it.
    pub ended: bool,
}

/// The streams of a connection.
#[derive(Default)]
pub struct Table {
    entries: Mutex<HashMap<u32, Entry>>,
    pub credits: Arc<Credits>,
}

impl Table {
    /// False when there are too many, or one of that id.
    pub fn insert(&self, stream: u32, entry: Entry) -> bool {
        let mut entries = self.entries.lock();
        if entries.len() >= MAX_STREAMS || entries.contains_key(&stream) {
            return false;
        }
        entries.insert(stream, entry);
        self.credits.open(stream);
        true
    }

    /// Where the client's bytes go.
    pub fn input(&self, stream: u32) -> Option<mpsc::Sender<Bytes>> {
        self.entries.lock().get(&stream)?.input.clone()
    }

    /// This side may still send on it.
    pub fn is_open(&self, stream: u32) -> bool {
        self.entries
            .lock()
            .get(&stream)
            .is_some_and(|entry| !entry.ended)
    }

    /// The client sends no more.
    pub fn input_ended(&self, stream: u32) {
        self.update(stream, |entry| entry.input = None);
    }

    /// This side sends no more.
    pub fn output_ended(&self, stream: u32) {
        self.update(stream, |entry| entry.ended = true);
    }

    /// Neither sends any more.
    pub fn remove(&self, stream: u32) {
        if let Some(entry) = self.entries.lock().remove(&stream) {
            entry.reset.cancel();
            if let Some(window) = entry.window {
                window.close();
            }
        }
        self.credits.forget(stream);
    }

    /// The client takes so many bytes more.
    pub fn widen(&self, stream: u32, bytes: u32) {
        if let Some(Entry {
            window: Some(window),
            ..
        }) = self.entries.lock().get(&stream)
        {
            widen(window, bytes);
        }
    }

    fn update(&self, stream: u32, change: impl FnOnce(&mut Entry)) {
        let mut entries = self.entries.lock();
        let Some(entry) = entries.get_mut(&stream) else {
            return;
        };
        change(entry);
        if entry.ended && entry.input.is_none() {
            entries.remove(&stream);
            drop(entries);
            self.credits.forget(stream);
        }
    }
}

/// No window grows beyond what the protocol can say.
pub fn widen(window: &Semaphore, bytes: u32) {
    let room = MAX_WINDOW_BYTES.saturating_sub(window.available_permits());
    window.add_permits(room.min(bytes as usize));
}

#[cfg(test)]
mod tests;
