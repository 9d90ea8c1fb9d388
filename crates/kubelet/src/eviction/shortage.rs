//! What the node is short of: figures against thresholds, and the conditions that follow. Upstream's `eviction_manager.go`, less
//! what acts.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{
    figures::{Figures, Left},
    pressure::Pressure,
    thresholds::{Signal, Threshold, Thresholds},
};
use crate::resources;

/// A threshold that was passed, for as long as it may be.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Short {
    pub threshold: Threshold,
    pub left: Left,
}

impl Short {
    pub(super) fn signal(&self) -> Signal {
        self.threshold.signal
    }

    /// Upstream's words.
    pub(super) fn message(&self) -> String {
        let signal = self.signal();
        let amount = |amount: u64| match signal {
            Signal::NodeFsInodes | Signal::ImageFsInodes | Signal::Pids => amount.to_string(),
            _ => resources::memory_quantity(i64::try_from(amount).unwrap_or(i64::MAX)).0,
        };
        format!(
            "The node was low on resource: {}. Threshold quantity: {}, available: {}. ",
            signal.resource(),
            amount(self.threshold.least.of(self.left.capacity)),
            amount(self.left.available)
        )
    }
}

/// What has been short lately.
#[derive(Default)]
pub(super) struct Shortages {
    thresholds: Vec<Threshold>,
    /// How long a pressure is told after it was last seen.
    transition: Duration,
    /// Of the thresholds, by number: since when there has been too little.
    since: HashMap<usize, Instant>,
    /// Those that have been acted upon and are so until enough is reclaimed.
    acted: Vec<usize>,
    seen: HashMap<Pressure, Instant>,
}

impl Shortages {
    pub(super) fn new(thresholds: Thresholds, transition: Duration) -> Self {
        Self {
            thresholds: thresholds.0,
            transition,
            ..Self::default()
        }
    }

    /// What has to be acted upon now, the worst first: memory, as upstream.
    pub(super) fn look(&mut self, figures: &Figures, now: Instant) -> Vec<Short> {
        let passed: Vec<usize> = (0..self.thresholds.len())
            .filter(|number| {
                let threshold = &self.thresholds[*number];
                is_passed(threshold, figures, self.acted.contains(number))
            })
            .collect();
        self.since.retain(|number, _| passed.contains(number));
        for number in &passed {
            self.since.entry(*number).or_insert(now);
            let pressure = self.thresholds[*number].signal.pressure();
            self.seen.insert(pressure, now);
        }
        self.seen
            .retain(|_, at| now.saturating_duration_since(*at) < self.transition);
        let long_enough = |number: &usize| {
            let grace = self.thresholds[*number].grace.unwrap_or_default();
            let since = self.since.get(number).copied().unwrap_or(now);
            now.saturating_duration_since(since) >= grace
        };
        self.acted = passed.into_iter().filter(long_enough).collect();
        let mut short: Vec<Short> = self
            .acted
            .iter()
            .filter_map(|number| {
                let threshold = self.thresholds[*number];
                let left = figures.left(threshold.signal)?;
                Some(Short { threshold, left })
            })
            .collect();
        short.sort_by_key(|one| one.signal().pressure() != Pressure::Memory);
        short
    }

    /// What is told.
    pub(super) fn pressures(&self) -> Vec<Pressure> {
        let told = |pressure: &Pressure| self.seen.contains_key(pressure);
        Pressure::ALL.into_iter().filter(told).collect()
    }
}

/// Whether there is still too little after something was reclaimed, so that pods have to go.
pub(super) fn lasts(short: &[Short], figures: &Figures) -> bool {
    short
        .iter()
        .any(|one| is_passed(&one.threshold, figures, true))
}

fn is_passed(threshold: &Threshold, figures: &Figures, reclaiming: bool) -> bool {
    figures.left(threshold.signal).is_some_and(|left| {
        let more = threshold.reclaim.filter(|_| reclaiming);
        let more = more.map_or(0, |more| more.of(left.capacity));
        let least = threshold.least.of(left.capacity).saturating_add(more);
        left.available < least
    })
}

#[cfg(test)]
mod tests;
