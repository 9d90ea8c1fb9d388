//! What a reconciliation costs, and how long its key rests for it.
//!
//! A reconciliation of a ReplicaSet reads all of its pods, and each of its pods asks for one whenever its state changes: a rollout of n
//! pods would read them n times. A key that took long is looked at again after a rest in proportion, which gathers what happens
//! meanwhile: a key takes a quarter of a core at most, until one reconciliation takes a third of a second.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// Reconciliations that take less are never put off: a user waits for them.
const CHEAP: Duration = Duration::from_millis(5);
/// A key rests so many times as long as it was computed.
const RESTS: u32 = 3;
/// Longest rest.
const REST_MAX: Duration = Duration::from_secs(1);

/// How long a key rests whose reconciliation was computed for `busy`.
pub(crate) fn rest(busy: Duration) -> Duration {
    if busy < CHEAP {
        Duration::ZERO
    } else {
        busy.saturating_mul(RESTS).min(REST_MAX)
    }
}

/// A future that knows how long it was computed, without its waits.
///
/// Boxed: most of some hundred workers wait, and hold nothing for what a reconciliation needs.
pub(crate) struct Timed<F> {
    future: Pin<Box<F>>,
    busy: Duration,
}

impl<F> Timed<F> {
    pub(crate) fn new(future: F) -> Self {
        Self {
            future: Box::pin(future),
            busy: Duration::ZERO,
        }
    }

    pub(crate) fn busy(&self) -> Duration {
        self.busy
    }
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let started = Instant::now();
        let poll = self.future.as_mut().poll(context);
        self.busy += started.elapsed();
        poll
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_cost_nothing() {
        let mut timed = Timed::new(async {
            std::thread::sleep(Duration::from_millis(20));
            tokio::time::sleep(Duration::from_secs(3600)).await;
        });
        (&mut timed).await;
        let busy = timed.busy();
        assert!(busy >= Duration::from_millis(20), "{busy:?}");
        assert!(busy < Duration::from_secs(3600), "{busy:?}");
    }

    #[test]
    fn what_took_long_rests_in_proportion() {
        assert_eq!(rest(Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(rest(Duration::from_millis(100)), Duration::from_millis(300));
        assert_eq!(rest(Duration::from_secs(7)), REST_MAX);
    }
}
