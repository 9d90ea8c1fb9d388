//! Texts that are no JSON.

/// Why a text is no JSON, in Go's words where they are known.
pub fn explain(error: &serde_json::Error, text: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let found = error.to_string();
    // Of texts of one line: where there are more, the place says little.
    let at = error.column().checked_sub(1).filter(|_| error.line() == 1);
    match at.and_then(|at| text.get(at)) {
        Some(byte) if found.starts_with("expected value") && byte.is_ascii_graphic() => {
            let character = char::from(*byte);
            format!("invalid character '{character}' looking for beginning of value")
        }
        _ => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_gos_where_they_are_known() {
        for (text, wanted) in [
            ("{", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            (
                "i\u{b7}",
                "invalid character 'i' looking for beginning of value",
            ),
        ] {
            let error = serde_json::from_str::<serde_json::Value>(text).unwrap_err();
            assert_eq!(explain(&error, text.as_bytes()), wanted, "{text}");
        }
    }
}
