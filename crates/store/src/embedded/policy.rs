//! When to compact, and up to which revision.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Remembers which revision was current when, so that history can be kept by time. The memory starts with the
/// process: what an earlier process wrote counts as written at the start, so a restart keeps history longer, never
/// shorter.
pub(crate) struct Policy {
    retention: Duration,
    max_entries: u64,
    interval: Duration,
    marks: VecDeque<(Instant, u64)>,
    due: Instant,
}

impl Policy {
    pub(crate) fn new(
        interval: Duration,
        retention: Duration,
        max_entries: u64,
        now: Instant,
    ) -> Policy {
        Policy {
            retention,
            max_entries: max_entries.max(1),
            interval,
            marks: VecDeque::new(),
            due: now,
        }
    }

    /// How long until [`target`](Policy::target) has something to look at.
    pub(crate) fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now)
    }

    /// To be called often: the revision up to which history may go, once an interval and if there is any.
    pub(crate) fn target(&mut self, now: Instant, revision: u64, compacted: u64) -> Option<u64> {
        if now < self.due {
            return None;
        }
        self.due = now + self.interval;
        if self
            .marks
            .back()
            .is_none_or(|(_, newest)| *newest < revision)
        {
            self.marks.push_back((now, revision));
        }
        let mut target = revision.saturating_sub(self.max_entries);
        while let Some((at, marked)) = self.marks.front().copied() {
            if now.duration_since(at) < self.retention {
                break;
            }
            target = target.max(marked);
            self.marks.pop_front();
        }
        (target > compacted).then_some(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn history_goes_after_its_time() {
        let start = Instant::now();
        let mut policy = Policy::new(10 * SECOND, 30 * SECOND, 1000, start);
        let mut compacted = 0;
        let mut seen = Vec::new();
        // One revision a second.
        for second in 0..=60 {
            let now = start + second * SECOND;
            if let Some(target) = policy.target(now, 100 + u64::from(second), compacted) {
                seen.push((second, target));
                compacted = target;
            }
        }
        assert_eq!(seen, [(30, 100), (40, 110), (50, 120), (60, 130)]);
    }

    #[test]
    fn an_idle_store_is_left_alone() {
        let start = Instant::now();
        let mut policy = Policy::new(SECOND, 30 * SECOND, 1000, start);
        let targets: Vec<_> = (0..100)
            .map(|second| policy.target(start + second * SECOND, 7, 7))
            .collect();
        assert!(targets.iter().all(Option::is_none));
        assert!(policy.marks.len() <= 1);
    }

    #[test]
    fn too_many_entries_go_before_their_time() {
        let start = Instant::now();
        let mut policy = Policy::new(SECOND, 300 * SECOND, 1000, start);
        assert_eq!(policy.target(start, 5000, 0), Some(4000));
        assert_eq!(
            policy.target(start, 6000, 4000),
            None,
            "not before the interval is over"
        );
        assert_eq!(policy.wait(start), SECOND);
        assert_eq!(policy.target(start + SECOND, 6000, 4000), Some(5000));
    }
}
