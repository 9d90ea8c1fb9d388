//! Exponential hold-off after failures: 10 s doubling to 300 s, or to what the configuration has for containers, forgotten when it has
//! been quiet for twice as long, as upstream's container restarts and image pulls have it.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(300);

/// One thing's hold-off.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    longest: Duration,
    delay: Duration,
    since: Option<Instant>,
    /// The last failure, for messages.
    pub error: String,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST)
    }
}

impl Backoff {
    /// One that never holds off for longer.
    pub(crate) fn up_to(longest: Duration) -> Self {
        Self {
            longest,
            delay: Duration::ZERO,
            since: None,
            error: String::new(),
        }
    }

    /// Without a failure for so long it starts over.
    fn reset_after(&self) -> Duration {
        self.longest.saturating_mul(2)
    }

    /// Records a try: the next one must wait longer.
    pub(crate) fn next(&mut self) {
        let now = Instant::now();
        let quiet = self
            .since
            .is_none_or(|since| now.duration_since(since) > self.reset_after());
        self.delay = if quiet {
            FIRST.min(self.longest)
        } else {
            self.delay.saturating_mul(2).min(self.longest)
        };
        self.since = Some(now);
    }

    /// The state after so many restarts, the last one `ago`: for a kubelet that was not there to see them.
    pub(crate) fn after(restarts: u32, ago: Duration, longest: Duration) -> Self {
        let delay = match restarts {
            0 => return Self::up_to(longest),
            n => {
                let doublings = n.saturating_sub(1);
                FIRST
                    .saturating_mul(2_u32.saturating_pow(doublings))
                    .min(longest)
            }
        };
        Self {
            delay,
            since: Instant::now().checked_sub(ago),
            ..Self::up_to(longest)
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
        if event.saturating_duration_since(since) > self.reset_after() {
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
