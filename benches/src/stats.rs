//! Order statistics of latencies, and numbers as people read them.

use std::time::Duration;

#[cfg(test)]
mod tests;

/// Latencies of one run.
#[derive(Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    pub fn new(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    pub fn all(self) -> Vec<Duration> {
        self.0
    }

    /// The smallest value that at least `percent` of all are no greater than; zero when there are none.
    pub fn percentile(&self, percent: f64) -> Duration {
        let rank = (percent / 100.0 * self.0.len() as f64).ceil() as usize;
        self.0
            .get(rank.clamp(1, self.0.len().max(1)) - 1)
            .copied()
            .unwrap_or_default()
    }

    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }
}

/// Milliseconds with their fraction.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Three significant digits below 100, whole numbers with thin groups above: `0.16`, `12.3`, `35 100`.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude < 1.0 {
        return format!("{value:.2}");
    }
    if magnitude < 99.95 {
        let decimals = if magnitude < 9.995 { 2 } else { 1 };
        return format!("{value:.decimals$}");
    }
    let digits = format!("{:.0}", magnitude);
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0.0 {
        grouped.push('-');
    }
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(' ');
        }
        grouped.push(digit);
    }
    grouped
}
