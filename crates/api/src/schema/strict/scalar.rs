//! The one form that times and base64 have on the wire.

use jiff::Timestamp;

use super::time::{self, Fraction};

/// `None`: the text is in its form already. Errors are Go's.
pub(super) type Normal = Result<Option<String>, String>;

/// RFC 3339 to whole seconds in UTC: metav1.Time.
pub(super) fn seconds(text: &str) -> Normal {
    let time = parse(text, Fraction::Any)?;
    if text.len() == 20 && text.ends_with('Z') {
        return Ok(None);
    }
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// RFC 3339 with six digits after the point to microseconds in UTC: metav1.MicroTime.
pub(super) fn micros(text: &str) -> Normal {
    let time = parse(text, Fraction::Micros)?;
    if text.len() == 27 && text.ends_with('Z') {
        return Ok(None);
    }
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
}

fn parse(text: &str, fraction: Fraction) -> Result<Timestamp, String> {
    let form = time::check(text, fraction)?;
    let parsed = form.parse::<Timestamp>();
    parsed.map_err(|_| format!("parsing time {}: out of range", time::quote(text)))
}

/// Standard base64 with padding; line breaks are allowed and dropped. Bits of the last digit that no byte needs are zero
/// afterwards: Go's clients send any, and other decoders refuse them.
pub(super) fn base64(text: &str) -> Normal {
    let broken = text.bytes().any(|byte| matches!(byte, b'\r' | b'\n'));
    let joined = broken.then(|| text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect());
    let joined: Option<String> = joined;
    let whole = joined.as_deref().unwrap_or(text);
    check_base64(text).map_err(|place| format!("illegal base64 data at input byte {place}"))?;
    Ok(without_idle_bits(whole).or(joined))
}

/// The text with the bits of its last digit zero that its padding leaves over, if they are not.
fn without_idle_bits(text: &str) -> Option<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    let idle = match text.len().checked_sub(digits.len())? {
        1 => 0b11,
        2 => 0b1111,
        _ => return None,
    };
    let last = *digits.as_bytes().last()?;
    let value = DIGITS.iter().position(|digit| *digit == last)?;
    if value & idle == 0 {
        return None;
    }
    let kept = digits.get(..digits.len() - 1)?;
    let padding = &text[digits.len()..];
    let last = char::from(*DIGITS.get(value & !idle)?);
    Some(format!("{kept}{last}{padding}"))
}

/// As Go's decoder reads it, four digits at a time over the ends of lines: where it finds what it cannot read.
fn check_base64(text: &str) -> Result<(), usize> {
    let bytes = text.as_bytes();
    let (mut place, mut digits) = (0, 0);
    let after_lines = |mut place: usize| {
        while matches!(bytes.get(place), Some(b'\r' | b'\n')) {
            place += 1;
        }
        place
    };
    while let Some(byte) = bytes.get(place) {
        match byte {
            b'\r' | b'\n' => {}
            b'=' => {
                place = match digits {
                    0 | 1 => return Err(place),
                    2 => {
                        let second = after_lines(place + 1);
                        match bytes.get(second) {
                            None => return Err(bytes.len()),
                            Some(b'=') => after_lines(second + 1),
                            Some(_) => return Err(second - 1),
                        }
                    }
                    _ => after_lines(place + 1),
                };
                return match place < bytes.len() {
                    true => Err(place),
                    false => Ok(()),
                };
            }
            byte if byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/') => {
                digits = (digits + 1) % 4;
            }
            _ => return Err(place),
        }
        place += 1;
    }
    match digits {
        0 => Ok(()),
        digits => Err(bytes.len() - digits),
    }
}
