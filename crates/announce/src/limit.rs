//! How much is answered: whoever floods a link with requests does not make this node flood it with answers, nor keep others from theirs.

use std::time::{Duration, Instant};

use crate::packet::Mac;

/// Places of senders; those that share one share its answers.
const SENDERS: usize = 256;
/// Answers to one sender: at once, and then a second.
const OF_SENDER: Rate = Rate {
    burst: 64,
    a_second: 16,
};
/// Answers on one link.
const OF_LINK: Rate = Rate {
    burst: 1024,
    a_second: 512,
};
const MILLIS: u64 = 1_000;

#[derive(Clone, Copy)]
struct Rate {
    burst: u64,
    a_second: u64,
}

/// What is left, in thousandths of an answer.
#[derive(Clone, Copy)]
struct Bucket {
    left: u64,
    since: Instant,
}

impl Bucket {
    fn new(rate: Rate, now: Instant) -> Self {
        Self {
            left: rate.burst.saturating_mul(MILLIS),
            since: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Instant) {
        let past: Duration = now.saturating_duration_since(self.since);
        let past = u64::try_from(past.as_millis()).unwrap_or(u64::MAX);
        // What is less than a thousandth of a second counts the next time.
        if past > 0 {
            let more = past.saturating_mul(rate.a_second);
            let most = rate.burst.saturating_mul(MILLIS);
            self.left = self.left.saturating_add(more).min(most);
            self.since = now;
        }
    }

    fn has_one(&self) -> bool {
        self.left >= MILLIS
    }

    fn take(&mut self) {
        self.left = self.left.saturating_sub(MILLIS);
    }
}

/// The limits of one link.
pub(crate) struct Limit {
    senders: Vec<Bucket>,
    link: Bucket,
}

impl Limit {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            senders: vec![Bucket::new(OF_SENDER, now); SENDERS],
            link: Bucket::new(OF_LINK, now),
        }
    }

    /// Whether this sender is answered now.
    pub(crate) fn take(&mut self, sender: Mac, now: Instant) -> bool {
        let place = sender
            .iter()
            .fold(0_usize, |sum, byte| {
                sum.wrapping_mul(31).wrapping_add(usize::from(*byte))
            })
            .checked_rem(SENDERS)
            .unwrap_or_default();
        let Some(own) = self.senders.get_mut(place) else {
            return false;
        };
        own.fill(OF_SENDER, now);
        self.link.fill(OF_LINK, now);
        // Who is refused takes nothing from others.
        let is_left = own.has_one() && self.link.has_one();
        if is_left {
            own.take();
            self.link.take();
        }
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_floods_is_answered_a_little_and_others_as_ever() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let flood = (0..10_000).filter(|_| limit.take([1; 6], start)).count();
        assert_eq!(flood, 64);
        assert!(limit.take([2; 6], start), "another one is answered");
        let later = start + Duration::from_secs(1);
        let flood = (0..10_000).filter(|_| limit.take([1; 6], later)).count();
        assert_eq!(flood, 16);
        // By addresses that are made up.
        let later = start + Duration::from_secs(10);
        let many = (0..60_000_u32).filter(|n| {
            let [a, b, c, d] = n.to_be_bytes();
            limit.take([2, 0, a, b, c, d], later)
        });
        assert_eq!(many.count(), 1024);
    }
}
