//! Full listings: `kubelet_pleg_relist_*`, upstream's names. A runtime with events is listed at the start, and when its stream breaks.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::stats::{Histogram, Text, Type};

/// Prometheus' usual buckets, seconds.
const BUCKETS: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// All since the start.
#[derive(Debug)]
pub(super) struct Relists {
    took: Histogram<11>,
    /// Between the beginnings of two.
    interval: Histogram<11>,
    last: Option<(Instant, Timestamp)>,
}

impl Default for Relists {
    fn default() -> Self {
        Self {
            took: Histogram::new(BUCKETS),
            interval: Histogram::new(BUCKETS),
            last: None,
        }
    }
}

impl Relists {
    /// One that began then has ended.
    pub(super) fn count(&mut self, began: Instant) {
        self.took.observe(began.elapsed().as_secs_f64());
        if let Some((before, _)) = self.last {
            let interval = began.saturating_duration_since(before);
            self.interval.observe(interval.as_secs_f64());
        }
        self.last = Some((began, Timestamp::now()));
    }

    pub(super) fn write(&self, text: &mut Text) {
        let name = "kubelet_pleg_relist_duration_seconds";
        let help = "[BETA] Duration in seconds for relisting pods in PLEG.";
        text.family(name, help, Type::Histogram);
        text.histogram(name, &[], &self.took);
        let name = "kubelet_pleg_relist_interval_seconds";
        let help = "[BETA] Interval in seconds between relisting in PLEG.";
        text.family(name, help, Type::Histogram);
        text.histogram(name, &[], &self.interval);
        let name = "kubelet_pleg_last_seen_seconds";
        let help = "[ALPHA] Timestamp in seconds when PLEG was last seen active.";
        text.family(name, help, Type::Gauge);
        let seen = self.last.map_or(0, |(_, seen)| seen.as_second());
        text.sample(name, &[], seen as f64, 0);
    }
}
