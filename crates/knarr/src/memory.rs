//! Memory that is not needed any more goes back to the system.
//!
//! What one thread frees of another's memory stays with the other until that one looks, and it looks when it allocates. A thread that made
//! thousands of objects and has nothing to do since keeps all of them for ever: of 12 000 pods that came and went 90 MB stayed. So threads
//! look before they wait.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

/// Between looks of one thread, which cost some microseconds for each megabyte it has.
const EVERY: Duration = Duration::from_secs(10);

/// To be called when this thread has nothing to do.
pub fn give_back() {
    thread_local! {
        static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    let now = Instant::now();
    LAST.with(|last| {
        let is_due = last
            .get()
            .is_none_or(|last| now.duration_since(last) >= EVERY);
        if is_due {
            last.set(Some(now));
            collect();
        }
    });
}

#[expect(unsafe_code, reason = "it is a function of C")]
fn collect() {
    // SAFETY: it may be called at any time, from any thread.
    unsafe { libmimalloc_sys::mi_collect(false) }
}
