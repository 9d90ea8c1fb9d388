//! Exponential hold-off after failures: 10 s doubling to 300 s, forgotten after ten quiet minutes, as upstream's
//! container restarts and image pulls have it.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);
/// Twice the longest delay without a failure starts over.
const RESET_AFTER: Duration = Duration::from_secs(600);

/// One thing's hold-off.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backoff {
    delay: Duration,
    since: Option<Instant>,
    /// The last failure, for messages.
    pub error: String,
}

impl Backoff {
    /// Records a try: the next one must wait longer.
    pub(crate) fn next(&mut self) {
        let now = Instant::now();
        let quiet = self
            .since
            .is_none_or(|since| now.duration_since(since) > RESET_AFTER);
        self.delay = if quiet {
            FIRST
        } else {
            self.delay.saturating_mul(2).min(LONGEST)
        };
        self.since = Some(now);
    }

    /// The state after so many restarts, the last one `ago`: for a kubelet that was not there to see them.
    pub(crate) fn after(restarts: u32, ago: Duration) -> Self {
        let delay = match restarts {
            0 => return Self::default(),
            n => {
                let doublings = n.saturating_sub(1);
                FIRST
                    .saturating_mul(2_u32.saturating_pow(doublings))
                    .min(LONGEST)
            }
        };
        Self {
            delay,
            since: Instant::now().checked_sub(ago),
            error: String::new(),
        }
    }

    /// How long the next try has to wait, counted from the last one.
    pub(crate) fn remaining(&self) -> Duration {
        self.remaining_since(self.since)
    }

    /// How long the next try has to wait, counted from a failure at `event`.
    pub(crate) fn remaining_since(&self, event: Option<Instant>) -> Duration {
        let (Some(since), Some(event)) = (self.since, event) else {
            return Duration::ZERO;
        };
        let now = Instant::now();
        if event.saturating_duration_since(since) > RESET_AFTER {
            return Duration::ZERO;
        }
        self.delay
            .saturating_sub(now.saturating_duration_since(event))
    }

    /// The present delay.
    pub(crate) fn delay(&self) -> Duration {
        self.delay
    }
}

#[cfg(test)]
mod tests;
