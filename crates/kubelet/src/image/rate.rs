//! How many pulls are begun in a second: `registryPullQPS` and `registryBurst`. As upstream, one too many fails, and is held off.

use parking_lot::Mutex;
use tokio::time::Instant;

/// A bucket that fills by a number a second.
#[derive(Debug)]
pub(super) struct Rate {
    a_second: f64,
    most: f64,
    left: Mutex<(f64, Instant)>,
}

impl Rate {
    /// No limit for 0 a second.
    pub(super) fn new(a_second: i32, burst: i32) -> Self {
        let most = f64::from(burst.max(1));
        Self {
            a_second: f64::from(a_second.max(0)),
            most,
            left: Mutex::new((most, Instant::now())),
        }
    }

    /// Whether one may begin now.
    pub(super) fn take(&self) -> bool {
        if self.a_second == 0.0 {
            return true;
        }
        let mut left = self.left.lock();
        let filled = left.1.elapsed().as_secs_f64() * self.a_second;
        *left = ((left.0 + filled).min(self.most), Instant::now());
        let may = left.0 >= 1.0;
        if may {
            left.0 -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_some_a_second() {
        let rate = Rate::new(2, 3);
        let taken = |rate: &Rate| (0..10).filter(|_| rate.take()).count();
        assert_eq!(taken(&rate), 3);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(taken(&rate), 2);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(taken(&rate), 3);
        assert_eq!(taken(&Rate::new(0, 1)), 10);
    }
}
