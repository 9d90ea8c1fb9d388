//! Ends connections on which nothing moves.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When something last moved.
pub struct Idle {
    start: Instant,
    last_ms: AtomicU64,
    limit: Duration,
}

impl Idle {
    pub fn new(limit: Duration) -> Self {
        Self {
            start: Instant::now(),
            last_ms: AtomicU64::new(0),
            limit,
        }
    }

    /// Something moved.
    pub fn touch(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(elapsed, Ordering::Relaxed);
    }

    /// Returns once nothing has moved for the limit.
    pub async fn expired(&self) {
        loop {
            let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let idle = self.start.elapsed().saturating_sub(last);
            let Some(left) = self.limit.checked_sub(idle).filter(|left| !left.is_zero()) else {
                return;
            };
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests;
