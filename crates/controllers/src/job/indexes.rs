//! Sets of completion indexes, as a job's status has them: `1,3-5,7`.

use std::collections::BTreeSet;
use std::fmt;

/// Disjoint intervals (first and last index) in rising order, none of which borders on the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes(Vec<(i32, i32)>);

impl Indexes {
    /// The indexes below `completions`. What is no interval is left out: others may have written the text.
    pub(crate) fn parse(text: &str, completions: i32) -> Self {
        let interval = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (i32, i32) = (first.parse().ok()?, last.parse().ok()?);
            let last = last.min(completions.saturating_sub(1));
            (first >= 0 && first <= last).then_some((first, last))
        };
        let mut intervals: Vec<_> = text.split(',').filter_map(interval).collect();
        intervals.sort_unstable();
        Self::joined(intervals.into_iter())
    }

    pub(crate) fn of(indexes: &BTreeSet<i32>) -> Self {
        Self::joined(indexes.iter().map(|index| (*index, *index)))
    }

    /// From intervals in the order of their beginnings.
    fn joined(intervals: impl Iterator<Item = (i32, i32)>) -> Self {
        let mut joined: Vec<(i32, i32)> = Vec::new();
        for (first, last) in intervals {
            match joined.last_mut() {
                Some(before) if first <= before.1.saturating_add(1) => {
                    before.1 = before.1.max(last)
                }
                _ => joined.push((first, last)),
            }
        }
        Self(joined)
    }

    /// The indexes of both.
    pub(crate) fn with(&self, others: &Self) -> Self {
        let mut all: Vec<_> = self.0.iter().chain(&others.0).copied().collect();
        all.sort_unstable();
        Self::joined(all.into_iter())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn total(&self) -> i32 {
        let lengths = self.0.iter().map(|(first, last)| last - first + 1);
        lengths.fold(0, i32::saturating_add)
    }

    pub(crate) fn has(&self, index: i32) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many of `others` are in this set.
    pub(crate) fn common(&self, others: &Self) -> i32 {
        let (mut a, mut b) = (self.0.iter().peekable(), others.0.iter().peekable());
        let mut count = 0;
        while let (Some(one), Some(other)) = (a.peek(), b.peek()) {
            count += (one.1.min(other.1) - one.0.max(other.0) + 1).max(0);
            match one.1 <= other.1 {
                true => a.next(),
                false => b.next(),
            };
        }
        count
    }

    /// The first `count` indexes below `completions` that are not in this set.
    pub(crate) fn lacking(&self, count: usize, completions: i32) -> Vec<i32> {
        let mut lacking = Vec::new();
        let mut candidate = 0;
        let end = std::iter::once((completions, completions));
        for (first, last) in self.0.iter().copied().chain(end) {
            let gap = candidate..first.min(completions);
            lacking.extend(gap.take(count - lacking.len()));
            candidate = last.saturating_add(1);
        }
        lacking
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}
