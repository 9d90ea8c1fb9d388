//! Instants and durations as texts.

use jiff::{Timestamp, tz::TimeZone};

const NANOS: i64 = 1_000_000_000;

/// RFC 3339, or a date.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if let Some(at) = knarr_meta::time::parse(text) {
        return Some(at);
    }
    let date: jiff::civil::Date = (text.len() == 10).then(|| text.parse().ok()).flatten()?;
    Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// A duration as Go writes it: `1h30m`, `-1.5s`.
pub fn parse_duration(text: &str) -> Option<i64> {
    const UNITS: [(&str, f64); 8] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("μs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3600e9),
    ];
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        // The longest unit first: `ms` is no minute.
        let (unit, nanos) = UNITS
            .iter()
            .filter(|(unit, _)| rest.starts_with(unit))
            .max_by_key(|(unit, _)| unit.len())?;
        total += number * nanos;
        rest = &rest[unit.len()..];
    }
    let total = sign * total;
    (!text.is_empty() && text != "-" && text != "+" && total.abs() < 9.2e18).then_some(total as i64)
}

/// `3600s`, as cel-go.
pub fn show_duration(nanos: i64) -> String {
    let seconds = nanos / NANOS;
    match (nanos % NANOS).unsigned_abs() {
        0 => format!("{seconds}s"),
        rest => {
            let sign = if nanos < 0 && seconds == 0 { "-" } else { "" };
            let fraction = format!("{rest:09}");
            format!("{sign}{seconds}.{}s", fraction.trim_end_matches('0'))
        }
    }
}
