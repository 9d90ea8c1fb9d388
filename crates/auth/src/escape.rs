//! Percent-escapes of paths, queries and header names, decoded strictly.

use std::borrow::Cow;

use knarr_meta::status::Status;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Where the text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Path,
    /// A plus is a space.
    Query,
}

/// Decodes; 400 where an escape is malformed or the result is no UTF-8. A text that two readers could decode to different
/// things must not reach either of them.
pub fn decode(text: &str, form: Form) -> Result<Cow<'_, str>, Status> {
    let plus = form == Form::Query && text.contains('+');
    if !plus && !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    check(text)?;
    let spaced = match plus {
        true => Cow::Owned(text.replace('+', " ")),
        false => Cow::Borrowed(text),
    };
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(decoded) => Ok(Cow::Owned(decoded.into_owned())),
        Err(_) => Err(Status::bad_request(format!(
            "invalid URL escape: \"{text}\" is not valid UTF-8"
        ))),
    }
}

/// What stands for itself in a path.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'@')
    .remove(b'=')
    .remove(b'+')
    .remove(b',')
    .remove(b'$')
    .remove(b'&');

/// A decoded path as it stands in a URL, so that nothing in it begins a query.
pub fn path(decoded: &str) -> String {
    utf8_percent_encode(decoded, PATH).to_string()
}

/// Every `%` is followed by two hexadecimal digits.
fn check(text: &str) -> Result<(), Status> {
    for (at, _) in text.match_indices('%') {
        let escape: String = text[at..].chars().take(3).collect();
        let digits = escape.bytes().skip(1).filter(u8::is_ascii_hexdigit).count();
        if digits != 2 {
            return Err(Status::bad_request(format!(
                "invalid URL escape \"{escape}\""
            )));
        }
    }
    Ok(())
}
