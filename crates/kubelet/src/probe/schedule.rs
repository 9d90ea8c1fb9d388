//! When probes run and when their results count.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;
use tokio::time::Instant;

use super::{Kind, Outcome, seconds};

/// How long after its start a container is probed quickly.
const EARLY: Duration = Duration::from_secs(1);
/// Pause after the first early failure; doubles.
const EARLY_PAUSE: Duration = Duration::from_millis(10);

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

/// When the probes of one kind are due.
pub(super) struct Ticks {
    begun: Instant,
    period: Duration,
    /// Whether the container is young enough that a failure may only mean that it is not there yet.
    eager: bool,
    pause: Duration,
}

impl Ticks {
    /// Waits for the first turn.
    ///
    /// Upstream's prober ticks from before the container's start and finds none at first, so that a container has about
    /// a period before a failure counts, and never less than the initial delay (`pkg/kubelet/prober/worker.go`). So has
    /// it here from liveness probes. Of the others something waits for the success: without an initial delay they are due
    /// at once and often, unless it is `known`, and count their failures only after that period. A container that is
    /// older than all that, when the kubelet starts again, is probed at once.
    pub(super) async fn start(begun: Instant, probe: &Probe, kind: Kind, known: bool) -> Self {
        let delay = seconds(probe.initial_delay_seconds, 0);
        let period = seconds(probe.period_seconds, 10);
        let first = match kind {
            Kind::Liveness => delay.max(period),
            Kind::Readiness | Kind::Startup => delay,
        };
        tokio::time::sleep(first.saturating_sub(begun.elapsed())).await;
        Self {
            begun,
            period,
            eager: kind != Kind::Liveness && !known && delay.is_zero(),
            pause: EARLY_PAUSE,
        }
    }

    /// Whether a failure of a probe that starts now does not count.
    pub(super) fn early(&self) -> bool {
        self.eager && self.begun.elapsed() < self.period
    }

    /// Waits for the next turn.
    pub(super) async fn next(&mut self, outcome: &Outcome) {
        self.eager = self.early() && *outcome != Outcome::Success;
        if !self.eager {
            tokio::time::sleep(self.period).await;
            return;
        }
        let age = self.begun.elapsed();
        let until_counted = self.period.saturating_sub(age);
        let wait = if age < EARLY {
            until_counted.min(self.pause)
        } else {
            until_counted
        };
        self.pause = self.pause.saturating_mul(2);
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests;
