//! What entries are made into for readers (protobuf messages, cells of tables): made for the first reader that wants it, kept with the
//! entry, within a limit for all of a kind.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock, Weak},
};

use parking_lot::Mutex;

/// What a form costs beside its bytes, about.
const OVERHEAD_BYTES: usize = 208;

/// A form of an entry.
pub trait Form: Send + Sync {
    /// Most bytes of such forms that are kept; beyond that the oldest are made anew when they are read again.
    const LIMIT_BYTES: usize;

    /// Of its bytes, what is kept.
    fn held_bytes(&self) -> usize;
}

/// Where an entry keeps a form: shared with the queue of what is kept, which takes it away again.
type Slot<F> = Mutex<Option<Arc<F>>>;

/// An entry's place for a form, which takes little room until somebody reads it.
#[derive(Debug)]
pub struct Place<F>(OnceLock<Arc<Slot<F>>>);

impl<F> Default for Place<F> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

/// The forms of all entries, oldest first.
#[derive(Debug)]
pub struct Kept<F> {
    queue: Mutex<Queue<F>>,
}

#[derive(Debug)]
struct Queue<F> {
    /// With what each costs. One whose entry is gone costs nothing any more, and is forgotten in its turn.
    slots: VecDeque<(Weak<Slot<F>>, usize)>,
    bytes: usize,
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        let queue = Queue {
            slots: VecDeque::new(),
            bytes: 0,
        };
        Self {
            queue: Mutex::new(queue),
        }
    }
}

impl<F: Form> Kept<F> {
    /// The form in an entry's place. `make` is called where there is none that is still `good`, by one reader at a time.
    pub fn of<E>(
        &self,
        place: &Place<F>,
        good: impl FnOnce(&F) -> bool,
        make: impl FnOnce() -> Result<F, E>,
    ) -> Result<Arc<F>, E> {
        let slot = place.0.get_or_init(Arc::default);
        let form = {
            let mut kept = slot.lock();
            let queued = match &*kept {
                Some(form) if good(form) => return Ok(form.clone()),
                // About as large as the next.
                other => other.is_some(),
            };
            let form = Arc::new(make()?);
            *kept = Some(form.clone());
            if queued {
                return Ok(form);
            }
            form
        };
        self.keep(slot, form.held_bytes() + OVERHEAD_BYTES);
        Ok(form)
    }

    fn keep(&self, slot: &Arc<Slot<F>>, cost: usize) {
        let mut queue = self.queue.lock();
        queue.slots.push_back((Arc::downgrade(slot), cost));
        queue.bytes += cost;
        while queue.bytes > F::LIMIT_BYTES {
            let Some((slot, cost)) = queue.slots.pop_front() else {
                break;
            };
            queue.bytes -= cost;
            if let Some(slot) = slot.upgrade() {
                slot.lock().take();
            }
        }
    }
}

#[cfg(test)]
mod tests;
