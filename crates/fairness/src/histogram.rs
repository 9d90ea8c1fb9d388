//! What is counted: numbers into buckets, and numbers over time.

use std::{
    fmt::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::Nanos;

/// Most buckets of a histogram.
const BUCKETS: usize = 15;

/// Upper bounds of buckets.
pub type Bounds = &'static [f64];

/// How often a number was in which bucket.
#[derive(Debug)]
pub struct Histogram {
    bounds: Bounds,
    buckets: [AtomicU64; BUCKETS],
    count: AtomicU64,
    /// In millionths.
    sum: AtomicU64,
}

impl Histogram {
    pub fn new(bounds: Bounds) -> Histogram {
        Histogram {
            bounds,
            buckets: Default::default(),
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
        }
    }

    pub fn observe(&self, value: f64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound);
        if let Some(bucket) = bucket.and_then(|bucket| self.buckets.get(bucket)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    /// Appends it in Prometheus' text form, if there was anything.
    pub fn render(&self, out: &mut String, name: &str, labels: &str) {
        let count = self.count.load(Ordering::Relaxed);
        if count == 0 {
            return;
        }
        let each = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed));
        buckets(out, (name, labels), self.bounds, each, count);
        let sum = self.sum.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(
            out,
            "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}"
        );
    }
}

/// For how many nanoseconds a ratio was in which bucket.
#[derive(Debug)]
pub struct Timing {
    bounds: Bounds,
    buckets: [u64; BUCKETS],
    nanos: u64,
    sum: f64,
    numerator: f64,
    denominator: f64,
    since: Nanos,
}

impl Timing {
    pub fn new(bounds: Bounds, now: Nanos) -> Timing {
        Timing {
            bounds,
            buckets: [0; BUCKETS],
            nanos: 0,
            sum: 0.0,
            numerator: 0.0,
            denominator: 1.0,
            since: now,
        }
    }

    /// From `now` on it is `numerator` of what it was divided by.
    pub fn set(&mut self, now: Nanos, numerator: f64) {
        // Otherwise the same goes on.
        if numerator != self.numerator {
            self.pass(now);
            self.numerator = numerator;
        }
    }

    pub fn add(&mut self, now: Nanos, more: f64) {
        self.set(now, self.numerator + more);
    }

    pub fn divide_by(&mut self, now: Nanos, denominator: f64) {
        self.pass(now);
        self.denominator = denominator.max(1.0);
    }

    fn pass(&mut self, now: Nanos) {
        let passed = now.saturating_sub(self.since);
        self.since = self.since.max(now);
        let ratio = self.numerator / self.denominator;
        let bucket = self.bounds.iter().position(|bound| ratio <= *bound);
        if let Some(bucket) = bucket.and_then(|bucket| self.buckets.get_mut(bucket)) {
            *bucket = bucket.saturating_add(passed);
        }
        self.nanos = self.nanos.saturating_add(passed);
        self.sum += ratio * passed as f64;
    }

    /// Appends it as it is at `now`.
    pub fn render(&mut self, now: Nanos, out: &mut String, name: &str, labels: &str) {
        self.pass(now);
        let each = self.buckets.iter().copied();
        buckets(out, (name, labels), self.bounds, each, self.nanos);
        let (sum, nanos) = (self.sum, self.nanos);
        let _ = writeln!(
            out,
            "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {nanos}"
        );
    }
}

fn buckets(
    out: &mut String,
    (name, labels): (&str, &str),
    bounds: Bounds,
    each: impl Iterator<Item = u64>,
    count: u64,
) {
    let mut total = 0u64;
    for (bound, own) in bounds.iter().zip(each) {
        total = total.saturating_add(own);
        let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{bound}\"}} {total}");
    }
    let _ = writeln!(out, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = &[0.0, 0.5, 1.0];

    #[test]
    fn numbers_are_counted() {
        let histogram = Histogram::new(BOUNDS);
        let mut out = String::new();
        histogram.render(&mut out, "n", "a=\"b\"");
        assert_eq!(out, "");
        for value in [0.0, 0.25, 7.0] {
            histogram.observe(value);
        }
        histogram.render(&mut out, "n", "a=\"b\"");
        assert_eq!(
            out,
            "n_bucket{a=\"b\",le=\"0\"} 1\nn_bucket{a=\"b\",le=\"0.5\"} 2\nn_bucket{a=\"b\",le=\"1\"} 2\n\
             n_bucket{a=\"b\",le=\"+Inf\"} 3\nn_sum{a=\"b\"} 7.25\nn_count{a=\"b\"} 3\n"
        );
    }

    #[test]
    fn ratios_are_weighted_by_time() {
        let mut timing = Timing::new(BOUNDS, 100);
        timing.divide_by(100, 4.0);
        timing.set(110, 2.0);
        timing.add(130, 6.0);
        let mut out = String::new();
        timing.render(135, &mut out, "n", "a=\"b\"");
        assert_eq!(
            out,
            "n_bucket{a=\"b\",le=\"0\"} 10\nn_bucket{a=\"b\",le=\"0.5\"} 30\nn_bucket{a=\"b\",le=\"1\"} 30\n\
             n_bucket{a=\"b\",le=\"+Inf\"} 35\nn_sum{a=\"b\"} 20\nn_count{a=\"b\"} 35\n"
        );
    }
}
