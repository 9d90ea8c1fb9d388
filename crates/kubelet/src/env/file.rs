//! Variables of files that an init container wrote into a volume: `NAME='value'` lines, a strict part of a shell's syntax, as
//! upstream's `util/env`.
//!
//! Values are in single quotes and taken literally, over several lines where they go on; blank lines and comments are left out; there
//! is no space before `=`, and behind it one that makes the value empty.

/// Why a file is none of variables. Its words are upstream's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    #[error("invalid environment variable format at line {line}: {why}")]
    Line { line: usize, why: &'static str },
    #[error("invalid environment variable format starting at line {line}: unclosed single quote")]
    Unclosed { line: usize },
}

const BLANK: [char; 2] = [' ', '\t'];

/// The value of the first variable of this name; `None` where there is none. What follows it is not looked at.
pub(super) fn value(text: &str, name: &str) -> Result<Option<String>, Error> {
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let number = at + 1;
        let wrong = |why| Error::Line { line: number, why };
        let line = line.trim_start_matches(BLANK);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (found, rest) = line.split_once('=').ok_or_else(|| wrong("missing '='"))?;
        if found.trim_end_matches(BLANK).is_empty() {
            return Err(wrong("empty variable name"));
        }
        if found.ends_with(BLANK) {
            return Err(wrong("whitespace before '=' is not allowed"));
        }
        if rest.starts_with(BLANK) {
            match found == name {
                true => return Ok(None),
                false => continue,
            }
        }
        let mut rest = rest
            .strip_prefix('\'')
            .ok_or_else(|| wrong("value must be enclosed in single quotes"))?;
        let mut value = String::new();
        let (end, behind) = loop {
            if let Some((last, behind)) = rest.split_once('\'') {
                value.push_str(last);
                break (number, behind.trim_start_matches(BLANK));
            }
            value.push_str(rest);
            value.push('\n');
            (_, rest) = lines.next().ok_or(Error::Unclosed { line: number })?;
        };
        if !behind.is_empty() && !behind.starts_with('#') {
            let why = "unexpected content after closing quote";
            return Err(Error::Line { line: end, why });
        }
        if found == name {
            return Ok(Some(value).filter(|value| !value.is_empty()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted_and_literal() {
        let text = "# what\n\n  A='one' # more\nB='two\nlines'\nC= 'none'\nD=''\nE='$A \\n'\n";
        let of = |name| value(text, name).unwrap();
        assert_eq!(of("A").as_deref(), Some("one"));
        assert_eq!(of("B").as_deref(), Some("two\nlines"));
        assert_eq!(of("C"), None);
        assert_eq!(of("D"), None);
        assert_eq!(of("E").as_deref(), Some("$A \\n"));
        assert_eq!(of("F"), None);
    }

    #[test]
    fn what_is_no_variable_is_told_by_its_line() {
        for (text, wanted) in [
            ("A", "at line 1: missing '='"),
            ("\n='x'", "at line 2: empty variable name"),
            ("A ='x'", "at line 1: whitespace before '=' is not allowed"),
            ("A=x", "at line 1: value must be enclosed in single quotes"),
            (
                "A='x' y",
                "at line 1: unexpected content after closing quote",
            ),
            ("\nA='x\ny", "starting at line 2: unclosed single quote"),
        ] {
            let error = value(text, "Z").unwrap_err().to_string();
            assert!(error.ends_with(wanted), "{text}: {error}");
        }
        // What comes behind the one that is wanted does not matter.
        assert_eq!(value("A='x'\nB", "A").unwrap().as_deref(), Some("x"));
    }
}
