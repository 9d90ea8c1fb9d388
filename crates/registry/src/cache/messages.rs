//! Objects as protobuf messages: made for the first reader that wants one, kept with the entry, within a limit for all of them.
//!
//! A message is kept without its resourceVersion, as JSON is, so that one serves every revision.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

pub use super::message::{Message, put_varint, varint_size};
use super::{entry::Entry, message::Slot};

/// Most bytes of messages that are kept; beyond that the oldest are made anew when they are read again.
const KEPT_BYTES: usize = 32 << 20;
/// What a message costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 160;

/// The messages of all entries, oldest first.
#[derive(Debug, Default)]
pub struct Messages {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// With what each costs. One whose entry is gone costs nothing any more, and is forgotten in its turn.
    queue: VecDeque<(Weak<Slot>, usize)>,
    bytes: usize,
}

impl Messages {
    /// The entry's message. `make` is called where it is not kept, by one reader at a time.
    pub fn of<E>(
        &self,
        entry: &Entry,
        make: impl FnOnce() -> Result<Message, E>,
    ) -> Result<Arc<Message>, E> {
        let slot = entry.message.get_or_init(Arc::default);
        let message = {
            let mut kept = slot.lock();
            if let Some(message) = &*kept {
                return Ok(message.clone());
            }
            let message = Arc::new(make()?);
            *kept = Some(message.clone());
            message
        };
        self.keep(slot, message.held_bytes() + OVERHEAD_BYTES);
        Ok(message)
    }

    fn keep(&self, slot: &Arc<Slot>, cost: usize) {
        let mut kept = self.kept.lock();
        kept.queue.push_back((Arc::downgrade(slot), cost));
        kept.bytes += cost;
        while kept.bytes > KEPT_BYTES {
            let Some((slot, cost)) = kept.queue.pop_front() else {
                break;
            };
            kept.bytes -= cost;
            if let Some(slot) = slot.upgrade() {
                slot.lock().take();
            }
        }
    }
}

#[cfg(test)]
mod tests;
