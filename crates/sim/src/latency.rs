//! How long something takes, each time a little differently.

use std::{f64::consts::TAU, fmt, str::FromStr, time::Duration};

use jiff::SignedDuration;

/// What nobody waits for in a simulation.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874;

/// A duration with its distribution: `1s` (always), `500ms..2s` (evenly between them), or `1s/5s` (log-normal: half take less than the
/// first, one in a hundred longer than the second), as what computers do is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Always(Duration),
    Between(Duration, Duration),
    LogNormal { median: Duration, p99: Duration },
}

impl Latency {
    pub const fn always(duration: Duration) -> Self {
        Self(Kind::Always(duration))
    }

    /// One of many.
    pub(crate) fn sample(self, random: &mut fastrand::Rng) -> Duration {
        let sampled = match self.0 {
            Kind::Always(duration) => duration,
            Kind::Between(least, most) => {
                least.saturating_add(most.saturating_sub(least).mul_f64(random.f64()))
            }
            Kind::LogNormal { median, p99 } => {
                let ratio = p99.as_secs_f64() / median.as_secs_f64();
                let factor = (normal(random) * ratio.ln() / Z99).exp();
                let seconds = median.as_secs_f64() * factor;
                Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST)
            }
        };
        sampled.min(LONGEST)
    }

    /// What it is on the whole; of a log-normal one the median.
    pub(crate) fn typical(self) -> Duration {
        match self.0 {
            Kind::Always(duration) => duration,
            Kind::Between(least, most) => least.saturating_add(most) / 2,
            Kind::LogNormal { median, .. } => median,
        }
    }
}

/// Of the standard normal distribution (Box and Muller).
fn normal(random: &mut fastrand::Rng) -> f64 {
    // Not zero, whose logarithm there is not.
    let radius = (-2.0 * (1.0 - random.f64()).ln()).sqrt();
    radius * (TAU * random.f64()).cos()
}

/// Times between events that come at any time, as often as that on the whole.
pub(crate) fn exponential(mean: Duration, random: &mut fastrand::Rng) -> Duration {
    let seconds = -mean.as_secs_f64() * (1.0 - random.f64()).ln();
    Duration::try_from_secs_f64(seconds)
        .unwrap_or(LONGEST)
        .min(LONGEST)
}

impl FromStr for Latency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kind = if let Some((least, most)) = text.split_once("..") {
            Kind::Between(duration(least)?, duration(most)?)
        } else if let Some((median, p99)) = text.split_once('/') {
            Kind::LogNormal {
                median: duration(median)?,
                p99: duration(p99)?,
            }
        } else {
            Kind::Always(duration(text)?)
        };
        match kind {
            Kind::Between(least, most) if least > most => {
                Err(format!("{text:?}: the second must not be the shorter one"))
            }
            Kind::LogNormal { median, p99 } if median.is_zero() || median > p99 => Err(format!(
                "{text:?}: the median must be more than nothing, and no more than the 99th percentile"
            )),
            kind => Ok(Self(kind)),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let error = || format!("{text:?} is no duration such as 500ms or 2s, up to 24h");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let parsed: SignedDuration = text.parse().map_err(|_| error())?;
    let duration = Duration::try_from(parsed).map_err(|_| error())?;
    match duration <= LONGEST {
        true => Ok(duration),
        false => Err(error()),
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Kind::Always(duration) => write!(f, "{duration:?}"),
            Kind::Between(least, most) => write!(f, "{least:?}..{most:?}"),
            Kind::LogNormal { median, p99 } => write!(f, "{median:?}/{p99:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(text: &str) -> Vec<Duration> {
        let latency: Latency = text.parse().expect(text);
        let mut random = fastrand::Rng::with_seed(1);
        let mut all: Vec<Duration> = (0..10_000).map(|_| latency.sample(&mut random)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn latencies_are_distributed_as_they_say() {
        for (text, least, median, p99) in [
            ("0", 0, 0..=0, 0..=0),
            ("1s", 1000, 1000..=1000, 1000..=1000),
            ("1s..3s", 1000, 1950..=2050, 2970..=3000),
            ("1s/5s", 0, 950..=1050, 4500..=5500),
        ] {
            let all = samples(text);
            let millis = |index: usize| all[index].as_millis();
            assert!(millis(0) >= least, "{text}");
            assert!(median.contains(&millis(5_000)), "{text}: {}", millis(5_000));
            assert!(p99.contains(&millis(9_900)), "{text}: {}", millis(9_900));
        }
    }

    #[test]
    fn what_says_no_latency_is_refused() {
        for text in [
            "", "5", "2s..1s", "5s/1s", "0/1s", "1s/", "-1s", "25h", "1s..x",
        ] {
            assert!(text.parse::<Latency>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in ["1s", "500ms..2s", "1s/5s"] {
            assert_eq!(text.parse::<Latency>().expect(text).to_string(), text);
        }
    }
}
