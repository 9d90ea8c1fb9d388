//! Work that would hold a thread of the runtime for long: writes of large objects.

use std::sync::Arc;

use knarr_tasks::{Late, Turns};
use tokio::runtime::{Handle, RuntimeFlavor};

/// From this size on an object is large: parsing, merging and checking it takes milliseconds.
const LARGE_BYTES: usize = 64 << 10;

/// Runs a bounded number of heavy requests at once, off the threads that everything else (health, watches, leases) needs. Users
/// take turns: one who sends many keeps another waiting for those that run.
#[derive(Debug)]
pub struct Heavy {
    places: Arc<Turns>,
}

impl Default for Heavy {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Heavy {
            places: Turns::new(cores),
        }
    }
}

impl Heavy {
    /// Runs work on objects of about `bytes`.
    ///
    /// # Errors
    /// [`Late`] where it has its place, and the deadline of the request is over before the work is done.
    pub async fn run<T>(&self, bytes: usize, work: impl Future<Output = T>) -> Result<T, Late> {
        let runtime = Handle::current();
        // On a runtime of one thread (tests) there is nowhere else to go.
        if bytes < LARGE_BYTES || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return Ok(work.await);
        }
        // The caller's deadline covers the wait for a place, but not the work: nothing else is polled meanwhile. Who waits for a
        // webhook gives its place back.
        let work = knarr_webhook::with_place(self.places.clone(), async move {
            tokio::task::block_in_place(|| runtime.block_on(in_time(work)))
        });
        work.await
    }
}

async fn in_time<T>(work: impl Future<Output = T>) -> Result<T, Late> {
    match knarr_tasks::deadline() {
        Some(at) => tokio::time::timeout_at(at, work).await.map_err(|_| Late),
        None => Ok(work.await),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    /// Its own timer has to end it: who waits for it is not polled meanwhile.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn heavy_work_has_the_deadline_of_its_request() {
        let heavy = Heavy::default();
        let at = Instant::now() + Duration::from_millis(50);
        let hangs = heavy.run(LARGE_BYTES, std::future::pending::<()>());
        assert_eq!(knarr_tasks::until(at, hangs).await, Ok(Err(Late)));
        let at = Instant::now() + Duration::from_secs(60);
        let works = heavy.run(LARGE_BYTES, async { 7 });
        assert_eq!(knarr_tasks::until(at, works).await, Ok(Ok(7)));
    }
}
