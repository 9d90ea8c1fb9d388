//! How many seats a priority level could use, over time.
//!
//! As upstream's `fairqueuing/integrator.go` and `seatDemandStats`.

use crate::Nanos;

/// What is left of a smoothed demand after a period without any: its half-life is five minutes.
const SMOOTHING: f64 = 0.977;

/// A number over time, from which averages are taken.
#[derive(Debug, Default)]
pub struct Integrator {
    since: Nanos,
    value: f64,
    seconds: f64,
    integral: f64,
    integral_of_square: f64,
    max: f64,
}

/// What a number was during a while.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Observed {
    pub seconds: f64,
    /// Weighted by time.
    pub average: f64,
    /// Standard deviation.
    pub deviation: f64,
    pub max: f64,
}

impl Integrator {
    /// The number is `value` from `now` on.
    pub fn set(&mut self, now: Nanos, value: f64) {
        self.advance(now);
        self.value = value;
        self.max = self.max.max(value);
    }

    /// What it was since the last time it was taken.
    pub fn take(&mut self, now: Nanos) -> Observed {
        self.advance(now);
        let observed = match self.seconds > 0.0 {
            true => {
                let average = self.integral / self.seconds;
                let variance = self.integral_of_square / self.seconds - average * average;
                Observed {
                    seconds: self.seconds,
                    average,
                    deviation: variance.max(0.0).sqrt(),
                    max: self.max,
                }
            }
            false => Observed {
                max: self.max,
                ..Observed::default()
            },
        };
        *self = Integrator {
            since: self.since,
            value: self.value,
            max: self.value,
            ..Integrator::default()
        };
        observed
    }

    fn advance(&mut self, now: Nanos) {
        let seconds = now.saturating_sub(self.since) as f64 / 1e9;
        self.since = self.since.max(now);
        self.seconds += seconds;
        self.integral += self.value * seconds;
        self.integral_of_square += self.value * self.value * seconds;
    }
}

/// The demand of a level as its seats are decided by.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Demand {
    pub average: f64,
    pub deviation: f64,
    pub high_watermark: u32,
    pub smoothed: f64,
}

impl Demand {
    /// Takes in a period. A rise counts at once, a fall slowly.
    pub fn update(&mut self, observed: Observed) {
        self.high_watermark = observed.max.round() as u32;
        if observed.seconds <= 0.0 {
            return;
        }
        self.average = observed.average;
        self.deviation = observed.deviation;
        let envelope = observed.average + observed.deviation;
        let decayed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * envelope;
        self.smoothed = envelope.max(decayed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn numbers_are_weighted_by_time() {
        let mut number = Integrator::default();
        number.set(0, 2.0);
        number.set(3 * SECOND, 6.0);
        let observed = number.take(4 * SECOND);
        assert_eq!((observed.seconds, observed.average), (4.0, 3.0));
        assert_eq!((observed.deviation * observed.deviation).round(), 3.0);
        assert_eq!(observed.max, 6.0);
        // It goes on from where it is, not from its highest.
        number.set(5 * SECOND, 1.0);
        assert_eq!(number.take(6 * SECOND).max, 6.0);
        assert_eq!(number.take(6 * SECOND).seconds, 0.0);
        assert_eq!(number.take(7 * SECOND).max, 1.0);
    }

    #[test]
    fn demand_rises_at_once_and_falls_slowly() {
        let mut demand = Demand::default();
        let of = |average| Observed {
            seconds: 10.0,
            average,
            deviation: 0.0,
            max: average,
        };
        demand.update(of(100.0));
        assert_eq!((demand.smoothed, demand.high_watermark), (100.0, 100));
        demand.update(of(0.0));
        assert_eq!((demand.smoothed.round(), demand.high_watermark), (98.0, 0));
        // 5 minutes are 30 periods.
        (0..29).for_each(|_| demand.update(of(0.0)));
        assert_eq!(demand.smoothed.round(), 50.0);
    }
}
