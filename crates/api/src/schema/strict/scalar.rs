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
    check_base64(whole)?;
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

fn check_base64(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    let padding = bytes
        .iter()
        .rev()
        .take_while(|byte| **byte == b'=')
        .count()
        .min(2);
    let digits = &bytes[..bytes.len() - padding];
    let wrong = digits
        .iter()
        .position(|byte| !(byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')));
    match wrong {
        Some(place) => Err(format!("illegal base64 data at input byte {place}")),
        None if !bytes.len().is_multiple_of(4) => Err(format!(
            "illegal base64 data at input byte {}",
            bytes.len() / 4 * 4
        )),
        None => Ok(()),
    }
}
