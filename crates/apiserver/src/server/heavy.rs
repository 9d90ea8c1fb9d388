//! Work that would hold a thread of the runtime for long: writes of large objects.

use std::sync::Arc;

use knarr_tasks::Turns;
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
    pub async fn run<T>(&self, bytes: usize, work: impl Future<Output = T>) -> T {
        let runtime = Handle::current();
        // On a runtime of one thread (tests) there is nowhere else to go.
        if bytes < LARGE_BYTES || runtime.runtime_flavor() == RuntimeFlavor::CurrentThread {
            return work.await;
        }
        // The caller's deadline covers the wait. Who waits for a webhook gives its place back meanwhile.
        let work = knarr_webhook::with_place(self.places.clone(), async move {
            tokio::task::block_in_place(|| runtime.block_on(work))
        });
        work.await
    }
}
