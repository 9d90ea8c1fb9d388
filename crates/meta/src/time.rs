//! Timestamps in the two forms the API writes.

// Numbers here come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use jiff::{SignedDuration, Timestamp};

/// Now as `metav1.Time`: RFC 3339 in UTC with whole seconds.
pub fn now_seconds() -> String {
    format_seconds(crate::clock::now())
}

/// Now as `metav1.MicroTime`: RFC 3339 in UTC with exactly six digits of fraction.
pub fn now_micro() -> String {
    format_micro(crate::clock::now())
}

/// An instant as `metav1.Time`; the fraction is cut.
pub fn format_seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// An instant as `metav1.MicroTime`.
pub fn format_micro(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string()
}

/// The first second of the year 0: what is earlier has a year that cannot be written in four digits.
const FIRST_SECOND: i64 = -62_167_219_200;

/// The instant this many seconds later (earlier where negative), within the years that a timestamp can tell.
pub fn after(at: Timestamp, seconds: i64) -> Timestamp {
    let first = Timestamp::from_second(FIRST_SECOND).unwrap_or(Timestamp::MIN);
    let last = match seconds < 0 {
        true => first,
        false => Timestamp::MAX,
    };
    at.checked_add(SignedDuration::from_secs(seconds))
        .unwrap_or(last)
        .max(first)
}

/// Parses an RFC 3339 time with any offset; `None` when it is none. A year has four digits and no sign: another one would be
/// written in a form that nobody reads.
pub fn parse(text: &str) -> Option<Timestamp> {
    let time: Timestamp = text.parse().ok()?;
    let year = time.to_zoned(jiff::tz::TimeZone::UTC).year();
    (text.starts_with(|first: char| first.is_ascii_digit()) && year >= 0).then_some(time)
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
        assert_eq!(format_seconds(after(now, i64::MIN)), "0000-01-01T00:00:00Z");
        for at in [after(now, i64::MAX), after(now, -1), Timestamp::MAX] {
            let text = format_seconds(at);
            assert_eq!(
                parse(&text).map(|t| t.as_second()),
                Some(at.as_second()),
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_parsed_can_be_written_and_parsed_again() {
        for (text, reads) in [
            ("2026-11-29T10:00:00Z", true),
            ("2026-11-29T10:00:00.5+02:00", true),
            ("0000-01-01T00:00:00Z", true),
            ("9999-12-30T21:59:59Z", true),
            ("-009999-01-02T01:59:59Z", false),
            ("+002026-11-29T10:00:00Z", false),
            ("0000-01-01T00:00:00+02:00", false),
        ] {
            let parsed = parse(text);
            assert_eq!(parsed.is_some(), reads, "{text}");
            let again = parsed.and_then(|at| parse(&format_seconds(at)));
            assert_eq!(again.is_some(), reads, "{text}");
        }
    }
}
