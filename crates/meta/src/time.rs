//! Timestamps in the two forms the API writes.

use jiff::Timestamp;

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

/// Parses an RFC 3339 time with any offset; `None` when it is none.
pub fn parse(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

/// Unix seconds of an RFC 3339 time.
pub fn parse_unix_seconds(text: &str) -> Option<i64> {
    parse(text).map(Timestamp::as_second)
}
