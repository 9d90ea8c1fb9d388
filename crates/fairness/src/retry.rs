//! When to try again: the more are refused, the later.
//!
//! As upstream's `dropped_requests_tracker.go`.

use std::collections::VecDeque;

/// Longest, seconds.
const MAX: u64 = 32;

/// The refusals of a level.
#[derive(Debug)]
pub struct Refusals {
    /// Seconds and refusals in them, before the current one.
    history: VecDeque<(u64, u64)>,
    current: (u64, u64),
    retry_after: u64,
    raised: u64,
}

impl Default for Refusals {
    fn default() -> Self {
        Refusals {
            history: VecDeque::new(),
            current: (0, 0),
            retry_after: 1,
            raised: 0,
        }
    }
}

impl Refusals {
    /// One more, in a second; how many seconds later to try again.
    pub fn refused(&mut self, second: u64) -> u64 {
        if self.current.0 == second {
            self.current.1 += 1;
            return self.retry_after;
        }
        self.history.push_back(self.current);
        let oldest = self
            .current
            .0
            .saturating_sub((2 * self.retry_after).min(MAX));
        while self.history.front().is_some_and(|(at, _)| *at < oldest) {
            self.history.pop_front();
        }
        self.current = (second, 1);
        self.adjust(second);
        self.retry_after
    }

    /// Twice as late where there were three a second, earlier where there was less than one.
    fn adjust(&mut self, second: u64) {
        let after = self.retry_after;
        let recent = |(at, _): &&(u64, u64)| second.saturating_sub(*at) <= after && *at < second;
        let refused: u64 = self.history.iter().filter(recent).map(|(_, n)| n).sum();
        if second.saturating_sub(self.raised) >= after && refused >= 3 * after {
            self.retry_after = (2 * after).min(MAX);
            self.raised = second;
        } else if refused < after && after > 1 {
            self.retry_after = after - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_refusals_make_it_later_and_few_earlier() {
        let mut refusals = Refusals::default();
        let mut seconds = |range: std::ops::Range<u64>, each: u64| -> Vec<u64> {
            let refused = range.map(|second| {
                (0..each)
                    .map(|_| refusals.refused(second))
                    .last()
                    .unwrap_or(0)
            });
            refused.collect()
        };
        assert_eq!(seconds(100..101, 1), [1]);
        let rising = seconds(101..140, 10);
        assert_eq!(rising[..4], [1, 2, 2, 4]);
        assert_eq!(rising.last(), Some(&32));
        let falling = seconds(200..240, 1);
        // One a second is as many as may be, up to a point.
        assert_eq!((falling[0], falling[39]), (31, 16));
        assert!(refusals.history.len() <= MAX as usize + 1);
    }
}
