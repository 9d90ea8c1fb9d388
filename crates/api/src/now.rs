//! The time at which rows of a table are made.

use std::cell::Cell;

use knarr_meta::time;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// When a row is made, in unix seconds. It learns from what is told of it how long that stays true, so that a row need not be made
/// again before.
#[derive(Debug)]
pub struct Now {
    seconds: i64,
    until: Cell<i64>,
}

impl Now {
    pub fn new(seconds: i64) -> Now {
        Now {
            seconds,
            until: Cell::new(i64::MAX),
        }
    }

    /// The first second, in unix time, at which anything that was told would be told otherwise.
    pub fn until(&self) -> i64 {
        self.until.get()
    }

    /// Time since an RFC 3339 instant; `<unknown>` where there is none.
    pub fn since(&self, instant: &str) -> String {
        time::parse_unix_seconds(instant)
            .map_or_else(|| "<unknown>".to_owned(), |then| self.since_seconds(then))
    }

    /// Time since an instant in unix seconds.
    pub fn since_seconds(&self, then: i64) -> String {
        let elapsed = self.seconds.saturating_sub(then);
        let next = then.saturating_add(next_change(elapsed));
        self.until.set(self.until.get().min(next));
        human_duration(elapsed)
    }
}

/// Seconds in two or three significant figures, as upstream's `duration.HumanDuration`. The future is `<invalid>`, but for
/// a second of clock skew.
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, seconds / 3600);
    let pair = |big: i64, unit: char, small: i64, small_unit: char| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..=119 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if hours < 24 * 8 => pair(hours / 24, 'd', hours % 24, 'h'),
        _ if hours < 24 * 365 * 2 => format!("{}d", hours / 24),
        _ if hours < 24 * 365 * 8 => pair(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format!("{}y", hours / 24 / 365),
    }
}

/// The first duration after `elapsed` that [`human_duration`] may tell otherwise.
fn next_change(elapsed: i64) -> i64 {
    let step = match elapsed {
        ..=-2 => return -1,
        -1 | 0 => return 1,
        _ if elapsed < 10 * MINUTE => 1,
        _ if elapsed < 8 * HOUR => MINUTE,
        _ if elapsed < 8 * DAY => HOUR,
        _ => DAY,
    };
    (elapsed / step).saturating_add(1).saturating_mul(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told of one instant is the same until then, and never for longer.
    #[test]
    fn durations_stay_true_until_they_change() {
        let of = [
            -7, -2, -1, 0, 1, 118, 119, 120, 121, 599, 600, 601, 3_599, 3_600, 10_799, 10_800,
        ];
        let hours = [8, 9, 47, 48, 49, 191, 192, 193, 17_519, 17_520, 70_080].map(|n| n * HOUR);
        for elapsed in of.into_iter().chain(hours) {
            let now = Now::new(1_000_000_000 + elapsed);
            let told = now.since_seconds(1_000_000_000);
            let valid = now.until() - 1_000_000_000;
            assert!(valid > elapsed, "{elapsed}");
            for still in [elapsed, elapsed + (valid - elapsed) / 2, valid - 1] {
                assert_eq!(human_duration(still), told, "{still}");
            }
        }
    }

    #[test]
    fn the_earliest_change_counts() {
        let now = Now::new(1_000_000);
        assert_eq!(now.until(), i64::MAX);
        now.since_seconds(0);
        let (days, instant) = (now.until(), "1970-01-12T13:46:35Z");
        assert_eq!((days, now.since(instant)), (12 * DAY, "5s".to_owned()));
        assert_eq!(now.until(), 1_000_001);
        assert_eq!(now.since(""), "<unknown>");
        now.since_seconds(0);
        assert_eq!(now.until(), 1_000_001);
    }
}
