//! When probes run and when their results count.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::time::Instant;

use super::Outcome;

/// What a result means after the thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Good,
    Bad,
    Unchanged,
}

/// Counts results in a row.
pub(super) struct Counter {
    successes: i32,
    failures: i32,
    run: i32,
    last: Option<bool>,
    /// What was last reported.
    state: Option<bool>,
}

impl Counter {
    pub(super) fn new(probe: &Probe, state: Option<bool>) -> Self {
        Self {
            successes: probe.success_threshold.unwrap_or(1).max(1),
            failures: probe.failure_threshold.unwrap_or(3).max(1),
            run: 0,
            last: None,
            state,
        }
    }

    /// `early` failures do not count.
    pub(super) fn add(&mut self, outcome: &Outcome, early: bool) -> Verdict {
        let good = match outcome {
            Outcome::Success => true,
            Outcome::Failure(_) if !early => false,
            _ => return Verdict::Unchanged,
        };
        self.run = if self.last == Some(good) {
            self.run.saturating_add(1)
        } else {
            1
        };
        self.last = Some(good);
        let needed = if good { self.successes } else { self.failures };
        if self.run < needed || self.state == Some(good) {
            return Verdict::Unchanged;
        }
        self.state = Some(good);
        if good { Verdict::Good } else { Verdict::Bad }
    }
}

/// Waits between probes.
pub(super) struct Ticks {
    period: Duration,
    /// Until then failures are early ones.
    early: Option<Instant>,
    pause: Duration,
}

impl Ticks {
    pub(super) fn new(period: Duration, early: Option<Instant>, pause: Duration) -> Self {
        Self {
            period,
            early,
            pause,
        }
    }

    /// Whether a failure now would be an early one.
    pub(super) fn early(&self) -> bool {
        self.early.is_some_and(|until| Instant::now() < until)
    }

    /// Waits for the next turn.
    pub(super) async fn next(&mut self, outcome: &Outcome) {
        if *outcome == Outcome::Success {
            self.early = None;
        }
        if self.early() {
            tokio::time::sleep(self.pause).await;
            self.pause *= 2;
        } else {
            self.early = None;
            tokio::time::sleep(self.period).await;
        }
    }
}
