//! Timestamps in the two forms the API writes.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use jiff::{SignedDuration, Timestamp};

/// Now as `metav1.Time`: RFC 3339 in UTC with whole seconds.
pub fn now_seconds() -> String {
    format_seconds(Timestamp::now())
}

/// Now as `metav1.MicroTime`: RFC 3339 in UTC with exactly six digits of fraction.
pub fn now_micro() -> String {
    format_micro(Timestamp::now())
}

/// An instant as `metav1.Time`; the fraction is cut.
pub fn format_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An instant as `metav1.MicroTime`.
pub fn format_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The instant this many seconds later (earlier where negative), within the years that a timestamp can tell.
pub fn after(at: Timestamp, seconds: i64) -> Timestamp {
    let last = match seconds < 0 {
        true => Timestamp::MIN,
        false => Timestamp::MAX,
    };
    at.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(last)
}

/// Parses an RFC 3339 time with any offset; `None` when it is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Unix seconds of an RFC 3339 time.
pub fn parse_unix_seconds(text: &str) -> Option<i64> {
    parse(text).map(Timestamp::as_second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_seconds_leaves_the_calendar() {
        let now = Timestamp::now();
        assert_eq!(after(now, 5).as_second(), now.as_second() + 5);
        assert_eq!(after(now, i64::MAX), Timestamp::MAX);
        assert_eq!(after(now, i64::MIN), Timestamp::MIN);
        for at in [after(now, i64::MAX), after(now, -1), Timestamp::MAX] {
            let text = format_seconds(at);
            assert_eq!(
                parse(&text).map(|t| t.as_second()),
                Some(at.as_second()),
                "{text}"
            );
        }
    }
}
