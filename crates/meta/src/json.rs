//! Texts that are no JSON.

/// Why a text is no JSON, in Go's words where they are known.
pub fn explain(error: &serde_json::Error, text: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let found = error.to_string();
    // Of texts of one line: where there are more, the place says little.
    let at = error.column().checked_sub(1).filter(|_| error.line() == 1);
    match at.and_then(|at| text.get(at..)) {
        Some(rest) if found.starts_with("expected value") => format!(
            "invalid character {} looking for beginning of value",
            quoted(rest)
        ),
        _ => found,
    }
}

/// What Go says of a document that is no object, where it looks for its type. `None`: it is one.
pub fn not_an_object(document: &serde_json::Value) -> Option<String> {
    use serde_json::Value;
    let found = match document {
        Value::Object(_) => return None,
        Value::Array(_) => "array",
        Value::String(_) => "string",
        Value::Number(_) => "number",
        Value::Bool(_) | Value::Null => "bool",
    };
    Some(format!(
        "json: cannot unmarshal {found} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; \
         Kind string \"json:\\\"kind,omitempty\\\"\" }}"
    ))
}

/// The first character of a text as Go shows it; of what is none, its first byte.
fn quoted(text: &[u8]) -> String {
    let Some(character) = first(text) else {
        return format!("'\\x{:02x}'", text.first().copied().unwrap_or_default());
    };
    match character {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        character => {
            let quoted = crate::field::quote(character.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

fn first(text: &[u8]) -> Option<char> {
    let most = text.len().min(4);
    let texts = (1..=most).filter_map(|length| std::str::from_utf8(&text[..length]).ok());
    texts.filter_map(|text| text.chars().next()).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_gos_where_they_are_known() {
        let cases: [(&[u8], &str); 6] = [
            (b"{", "unexpected end of JSON input"),
            (b"", "unexpected end of JSON input"),
            (
                b"i7",
                "invalid character 'i' looking for beginning of value",
            ),
            (
                b"\xcf<",
                "invalid character '\\xcf' looking for beginning of value",
            ),
            (
                "é1".as_bytes(),
                "invalid character 'é' looking for beginning of value",
            ),
            (
                b"'a'",
                "invalid character '\\'' looking for beginning of value",
            ),
        ];
        for (text, wanted) in cases {
            let error = serde_json::from_slice::<serde_json::Value>(text).unwrap_err();
            assert_eq!(explain(&error, text), wanted, "{text:?}");
        }
    }
}
