//! `Warning: 299` headers of an answer, as many as upstream sends (`WithWarningRecorder`).

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, header};
use knarr_meta::field;

/// All texts together, in characters.
const TOTAL_CHARS: usize = 4 << 10;
/// What is left of a text where not all fit whole.
const CUT_CHARS: usize = 256;

/// Adds a header for each text that fits. One that has control characters cannot be in a header, and is told to nobody.
pub fn write(mut texts: Vec<Cow<'static, str>>, headers: &mut HeaderMap) {
    texts.retain(|text| !text.chars().any(char::is_control));
    for text in fitting(&texts) {
        let line = format!("299 - {}", field::quote(text));
        if let Ok(value) = HeaderValue::from_str(&line) {
            headers.append(header::WARNING, value);
        }
    }
}

/// All texts, or the beginnings of as many as fit.
fn fitting<'t>(texts: &'t [Cow<'static, str>]) -> Vec<&'t str> {
    let total: usize = texts.iter().map(|text| text.chars().count()).sum();
    if total <= TOTAL_CHARS {
        return texts.iter().map(|text| &**text).collect();
    }
    let mut written = 0;
    let mut cut = Vec::new();
    for text in texts {
        if written >= TOTAL_CHARS {
            break;
        }
        let end = text.char_indices().nth(CUT_CHARS);
        let text = end.map_or(&**text, |(end, _)| &text[..end]);
        written += text.chars().count();
        cut.push(text);
    }
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_where_not_all_fit() {
        let short: Vec<Cow<'static, str>> = vec!["a".into(), "\u{e9}".repeat(4095).into()];
        assert_eq!(fitting(&short), short);
        let long: Vec<Cow<'static, str>> = (0..40).map(|_| "\u{e9}".repeat(300).into()).collect();
        let cut = fitting(&long);
        assert_eq!(cut.len(), TOTAL_CHARS / CUT_CHARS);
        assert!(cut.iter().all(|text| text.chars().count() == CUT_CHARS));
    }

    #[test]
    fn a_header_quotes_its_text() {
        let mut headers = HeaderMap::new();
        write(vec!["say \"a\"".into(), "two\nlines".into()], &mut headers);
        assert_eq!(headers.get_all(header::WARNING).iter().count(), 1);
        assert_eq!(headers[header::WARNING], "299 - \"say \\\"a\\\"\"");
    }
}
