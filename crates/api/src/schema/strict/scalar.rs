//! The one form that times and base64 have on the wire.

use jiff::Timestamp;

/// `None`: the text is in its form already. Errors are Go's.
pub(super) type Normal = Result<Option<String>, String>;

/// RFC 3339 to whole seconds in UTC: metav1.Time.
pub(super) fn seconds(text: &str) -> Normal {
    let time = parse(text)?;
    if text.len() == 20 && text.ends_with('Z') {
        return Ok(None);
    }
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

/// RFC 3339 to microseconds in UTC: metav1.MicroTime. Upstream refuses anything but six digits; here other numbers of digits
/// are taken as well.
pub(super) fn micros(text: &str) -> Normal {
    let time = parse(text)?;
    if text.len() == 27 && text.ends_with('Z') {
        return Ok(None);
    }
    Ok(Some(time.strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()))
}

fn parse(text: &str) -> Result<Timestamp, String> {
    let bytes = text.as_bytes();
    // jiff takes more than RFC 3339: a blank for the T, an offset without a colon.
    let zone = bytes.last() == Some(&b'Z')
        || bytes
            .len()
            .checked_sub(6)
            .is_some_and(|at| matches!(bytes[at], b'+' | b'-') && bytes[at + 3] == b':');
    let shape = bytes.len() >= 20 && bytes[4] == b'-' && bytes[10] == b'T' && zone;
    let time = if shape {
        text.parse::<Timestamp>().ok()
    } else {
        None
    };
    time.ok_or_else(|| format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\""))
}

/// Standard base64 with padding; line breaks are allowed and dropped.
pub(super) fn base64(text: &str) -> Normal {
    if text.bytes().any(|byte| matches!(byte, b'\r' | b'\n')) {
        let joined: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
        return check_base64(&joined).map(|()| Some(joined));
    }
    check_base64(text).map(|()| None)
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
