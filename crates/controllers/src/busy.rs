//! What a reconciliation costs, and how long its key rests for it.
//!
//! A reconciliation of a ReplicaSet reads all of its pods, and each of its pods asks for one whenever its state changes: a rollout of n
//! pods would read them n times. A key that took long is looked at again after a rest in proportion, which gathers what happens
//! meanwhile: a key takes a quarter of a core at most, until one reconciliation takes a third of a second.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use nix::time::{ClockId, clock_gettime};

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

/// A future that knows for how long it was computed, without its waits.
///
/// The thread's own time is counted: where others take the processors, nothing has cost more, and no key rests for it.
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
        let before = computed();
        let poll = self.future.as_mut().poll(context);
        self.busy += computed().saturating_sub(before);
        poll
    }
}

/// For how long this thread was computed since it began. Linux has that clock always; without it nothing would rest.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computes for as long as a key has to, to rest.
    fn compute() {
        let before = computed();
        while computed().saturating_sub(before) < CHEAP {
            std::hint::spin_loop();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_computed_between_waits_is_counted() {
        let mut timed = Timed::new(async {
            compute();
            tokio::time::sleep(Duration::from_secs(3600)).await;
            compute();
        });
        (&mut timed).await;
        assert!(timed.busy() >= 2 * CHEAP, "{:?}", timed.busy());
    }

    #[tokio::test]
    async fn waits_cost_nothing_even_those_that_hold_the_thread() {
        let held = 20 * CHEAP;
        let mut timed = Timed::new(async { std::thread::sleep(held) });
        (&mut timed).await;
        assert!(timed.busy() < held / 2, "{:?}", timed.busy());
        assert_eq!(rest(Duration::ZERO), Duration::ZERO);
    }

    #[test]
    fn what_took_long_rests_in_proportion() {
        assert_eq!(rest(Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(rest(Duration::from_millis(100)), Duration::from_millis(300));
        assert_eq!(rest(Duration::from_secs(7)), REST_MAX);
    }
}
