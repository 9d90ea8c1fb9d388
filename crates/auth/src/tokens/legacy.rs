//! Labels of Secrets that hold tokens, and the days that they tell.

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// On which day the token was used last.
pub const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
/// Since which day nobody may use the token any more.
pub const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
/// Where it is said since when uses are noted.
pub const TRACKING_NAMESPACE: &str = "kube-system";
pub const TRACKING_NAME: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// The key in that ConfigMap, whose value is a day.
pub const TRACKING_SINCE: &str = "since";

/// A day of UTC, as `2030-01-31`.
const FORMAT: &str = "%Y-%m-%d";

/// The day of a time.
pub fn date(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .date()
        .strftime(FORMAT)
        .to_string()
}

/// The day that a text says, which is written as [`date`] does it.
pub fn parse(text: &str) -> Option<Date> {
    let date = Date::strptime(FORMAT, text).ok()?;
    (date.strftime(FORMAT).to_string() == text).then_some(date)
}

/// Whether a day of last use is today; servers' clocks differ, so it may be tomorrow, too.
pub fn is_current(last_used: &str, now: Timestamp) -> bool {
    let today = now.to_zoned(TimeZone::UTC).date();
    let Some(said) = parse(last_used) else {
        return false;
    };
    said == today || today.tomorrow().is_ok_and(|tomorrow| said == tomorrow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written() {
        let now: Timestamp = "2030-12-31T23:59:59Z".parse().unwrap();
        assert_eq!(date(now), "2030-12-31");
        for (text, current) in [
            ("2030-12-31", true),
            ("2031-01-01", true),
            ("2030-12-30", false),
            ("2031-01-02", false),
            ("31-12-2030", false),
            ("2030-12-31T00:00:00Z", false),
            ("20301231", false),
            ("", false),
        ] {
            assert_eq!(is_current(text, now), current, "{text}");
        }
        for text in ["2030-1-1", "2030-13-01", "today", "+2030-1-01"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
