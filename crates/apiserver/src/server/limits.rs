//! How many requests may be in flight.

use std::sync::Arc;

use knarr_meta::status::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Upstream's defaults.
const READ_ONLY: usize = 400;
const MUTATING: usize = 200;

/// Requests in flight; watches and other long-running ones do not count.
#[derive(Debug)]
pub struct Limits {
    read_only: Arc<Semaphore>,
    mutating: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            read_only: Arc::new(Semaphore::new(READ_ONLY)),
            mutating: Arc::new(Semaphore::new(MUTATING)),
        }
    }
}

impl Limits {
    /// A place for a request, given back when dropped; 429 when there is none.
    pub fn enter(&self, mutating: bool) -> Result<OwnedSemaphorePermit, Status> {
        let semaphore = if mutating {
            &self.mutating
        } else {
            &self.read_only
        };
        semaphore
            .clone()
            .try_acquire_owned()
            .map_err(|_| Status::too_many_requests("Too many requests, please try again later.", 1))
    }

    /// Read-only and mutating requests in flight.
    pub fn in_flight(&self) -> (usize, usize) {
        (
            READ_ONLY - self.read_only.available_permits(),
            MUTATING - self.mutating.available_permits(),
        )
    }
}
