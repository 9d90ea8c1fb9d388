//! Objects that are kept decoded: those that were read lately, within a limit for all of them.

use std::{
    any::Any,
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Notify, time::sleep};

use crate::{Form, State};

/// Most bytes of decoded objects, about. Beyond that those that were not read for longest are decoded anew when they are.
const KEPT_BYTES: usize = 64 << 20;
/// What was not read for so long, or up to twice as long, is not kept.
const IDLE: Duration = Duration::from_secs(10);
/// A decoded object is about so many times as large as its JSON: a few short strings in structures that have room for everything.
const DECODED_FACTOR: usize = 4;

/// Where a state keeps what it was decoded into.
#[derive(Default)]
pub struct Memo {
    value: Mutex<Option<Arc<dyn Any + Send + Sync>>>,
    /// Read since it was last asked.
    used: AtomicBool,
}

impl fmt::Debug for Memo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memo").finish_non_exhaustive()
    }
}

/// The decoded objects of all states of a server.
pub struct Recent {
    queue: Mutex<Queue>,
    limit: usize,
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    /// With what each costs. A state that is gone costs nothing any more, and is forgotten in its turn.
    kept: VecDeque<(Weak<dyn State>, usize)>,
    bytes: usize,
}

impl Default for Recent {
    fn default() -> Self {
        Self::with_limit(KEPT_BYTES)
    }
}

impl Recent {
    /// Keeps objects of about `limit` bytes.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            queue: Mutex::default(),
            limit,
            filled: Notify::new(),
        }
    }

    /// The state as a `K`; `decode` makes one of its JSON where there is none yet, for one reader at a time.
    ///
    /// # Errors
    /// What `decode` returns.
    pub fn read<K, E>(
        &self,
        state: &Arc<dyn State>,
        decode: impl FnOnce(&[u8]) -> Result<K, E>,
    ) -> Result<Arc<K>, E>
    where
        K: Send + Sync + 'static,
    {
        let memo = state.memo();
        let object = {
            let mut value = memo.value.lock();
            if let Some(kept) = &*value
                && let Ok(object) = kept.clone().downcast::<K>()
            {
                memo.used.store(true, Ordering::Relaxed);
                return Ok(object);
            }
            let object = Arc::new(decoded(state, Form::Whole, decode)?);
            *value = Some(object.clone());
            memo.used.store(true, Ordering::Relaxed);
            object
        };
        let cost = size_of::<K>() + state.size(Form::Whole) * DECODED_FACTOR;
        self.queue
            .lock()
            .keep(Arc::downgrade(state), cost, self.limit);
        self.filled.notify_one();
        Ok(object)
    }

    /// About how many bytes are kept.
    pub fn bytes(&self) -> usize {
        self.queue.lock().bytes
    }

    /// Forgets what is not read any more, for as long as it is polled.
    pub async fn forget_idle(&self) {
        loop {
            // Not a tick while there is nothing.
            while self.bytes() == 0 {
                self.filled.notified().await;
            }
            sleep(IDLE).await;
            self.queue.lock().sweep();
        }
    }
}

/// Decodes a state, which does not keep the result.
///
/// # Errors
/// What `decode` returns.
pub fn decoded<K, E>(
    state: &Arc<dyn State>,
    form: Form,
    decode: impl FnOnce(&[u8]) -> Result<K, E>,
) -> Result<K, E> {
    let mut json = Vec::with_capacity(state.size(form));
    state.write(form, &mut json);
    decode(&json)
}

impl Queue {
    fn keep(&mut self, state: Weak<dyn State>, cost: usize, limit: usize) {
        self.kept.push_back((state, cost));
        self.bytes += cost;
        // Once around at most before everything counts as unused.
        while self.bytes > limit {
            let Some((state, cost)) = self.kept.pop_front() else {
                break;
            };
            self.take_back(state, cost);
        }
    }

    fn sweep(&mut self) {
        for _ in 0..self.kept.len() {
            let Some((state, cost)) = self.kept.pop_front() else {
                break;
            };
            self.take_back(state, cost);
        }
        self.kept.shrink_to(self.kept.len() * 2);
    }

    /// Keeps what was read since the last time, and forgets everything else.
    fn take_back(&mut self, state: Weak<dyn State>, cost: usize) {
        let live = state.upgrade();
        let used = live
            .as_ref()
            .is_some_and(|live| live.memo().used.swap(false, Ordering::Relaxed));
        if used {
            self.kept.push_back((state, cost));
            return;
        }
        self.bytes -= cost;
        if let Some(live) = live {
            live.memo().value.lock().take();
        }
    }
}

#[cfg(test)]
mod tests;
