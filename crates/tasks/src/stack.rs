//! Work that needs more stack than a thread of the runtime has.

use std::{
    panic::{self, AssertUnwindSafe},
    thread,
};

use super::{CAUGHT, Failure, IS_CAUGHT};

/// As [`caught`](crate::caught), for work that goes as deep as what somebody sent in: on a thread of its own with a stack of so many
/// bytes, which the caller waits for.
///
/// # Errors
/// It panicked, or there is no thread for it.
pub fn caught_on_stack<T: Send>(
    bytes: usize,
    work: impl FnOnce() -> T + Send,
) -> Result<T, Failure> {
    let failed = |what: String| Failure {
        who: "the work".to_owned(),
        what,
    };
    let done = thread::scope(|scope| {
        let working = thread::Builder::new()
            .stack_size(bytes)
            .spawn_scoped(scope, || {
                // Whoever answers for the caller's panics does not see this thread's.
                let done = IS_CAUGHT.sync_scope((), || panic::catch_unwind(AssertUnwindSafe(work)));
                done.map_err(|_| CAUGHT.take())
            });
        match working.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(Ok(done))) => Ok(done),
            Ok(Ok(Err(Some(failure)))) => Err(failure),
            Ok(_) => Err(failed("panicked".to_owned())),
            Err(error) => Err(failed(format!("has no thread: {error}"))),
        }
    });
    done.inspect_err(|failure| tracing::error!(%failure, "what was sent in cannot be read"))
}
