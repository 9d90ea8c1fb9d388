//! So many a second.

use tokio::time::{Duration, Instant, sleep};

/// A bucket of tokens, as client-go's rate limiter.
pub struct Throttle {
    per_second: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Throttle {
    /// Rate and burst; both are more than nothing.
    pub fn new((per_second, burst): (f64, u32)) -> Throttle {
        Throttle {
            per_second,
            burst: f64::from(burst),
            tokens: f64::from(burst),
            at: Instant::now(),
        }
    }

    /// Takes a token, once there is one.
    pub async fn take(&mut self) {
        self.refill();
        if self.tokens < 1.0 {
            let wait = (1.0 - self.tokens) / self.per_second;
            sleep(Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX)).await;
            self.refill();
        }
        self.tokens -= 1.0;
    }

    fn refill(&mut self) {
        let now = Instant::now();
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_and_then_the_rate() {
        let mut throttle = Throttle::new((10.0, 3));
        let began = Instant::now();
        for _ in 0..3 {
            throttle.take().await;
        }
        assert_eq!(began.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            throttle.take().await;
        }
        let took = began.elapsed().as_millis();
        assert!((1000..=1020).contains(&took), "{took} ms");
    }
}
