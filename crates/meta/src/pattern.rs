//! Regular expressions in Go's syntax (RE2), as clients write them into schemas and rules.
//!
//! The `regex` crate has the same engine guarantees (linear time, no look-around), but another dialect in details: its `\d`,
//! `\w` and `\s` are Unicode's, its classes nest, and a brace is never a literal. A pattern is rewritten before it is compiled.

use regex::{Regex, RegexBuilder};

/// Most bytes of a compiled pattern.
const COMPILED_BYTES: usize = 4 << 20;
/// The highest count of a repetition, as RE2.
const MAX_REPEAT: u32 = 1000;

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\f\r ";

/// Compiles a pattern.
///
/// # Errors
/// A line that says why it is none.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    compile_within(pattern, COMPILED_BYTES)
}

/// As [`compile`], for one that is to take no more than so many bytes.
///
/// # Errors
/// Also where it would take more.
pub fn compile_within(pattern: &str, bytes: usize) -> Result<Regex, String> {
    let rewritten = rewrite(pattern)?;
    RegexBuilder::new(&rewritten)
        .size_limit(bytes.min(COMPILED_BYTES))
        .build()
        .map_err(|error| {
            let why = match &error {
                regex::Error::Syntax(text) => text
                    .lines()
                    .rev()
                    .find_map(|line| line.strip_prefix("error: "))
                    .unwrap_or("invalid syntax")
                    .to_owned(),
                other => other.to_string(),
            };
            format!("error parsing regexp: {why}: `{pattern}`")
        })
}

/// The same pattern in the `regex` crate's dialect.
fn rewrite(pattern: &str) -> Result<String, String> {
    let mut writer = Rewriter {
        pattern,
        rest: pattern,
        out: String::with_capacity(pattern.len() + 16),
    };
    while let Some(next) = writer.take() {
        match next {
            '\\' => writer.escape(false),
            '[' => writer.class(),
            '{' => writer.brace()?,
            other => writer.out.push(other),
        }
    }
    Ok(writer.out)
}

struct Rewriter<'p> {
    pattern: &'p str,
    rest: &'p str,
    out: String,
}

impl Rewriter<'_> {
    fn take(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next();
        self.rest = chars.as_str();
        next
    }

    /// After a backslash.
    fn escape(&mut self, in_class: bool) {
        let Some(next) = self.take() else {
            self.out.push('\\');
            return;
        };
        let set = match next.to_ascii_lowercase() {
            'd' => Some(DIGIT),
            'w' => Some(WORD),
            's' => Some(SPACE),
            _ => None,
        };
        match (next, set) {
            (_, Some(set)) if next.is_ascii_uppercase() => {
                self.out.push_str(&format!("[^{set}]"));
            }
            (_, Some(set)) if in_class => self.out.push_str(set),
            (_, Some(set)) => self.out.push_str(&format!("[{set}]")),
            ('b', _) if !in_class => self.out.push_str(r"(?-u:\b)"),
            // In the other dialect they are ends of words.
            ('<' | '>', _) => self.out.push(next),
            ('Q', _) if !in_class => {
                let (literal, rest) = self.rest.split_once("\\E").unwrap_or((self.rest, ""));
                self.out.push_str(&regex::escape(literal));
                self.rest = rest;
            }
            ('0'..='7', _) => self.octal(next),
            (other, _) => {
                self.out.push('\\');
                self.out.push(other);
            }
        }
    }

    /// `\123`. One digit other than 0 would be a reference to a group, which neither dialect has.
    fn octal(&mut self, first: char) {
        let more = (self.rest.bytes().take(2))
            .take_while(|byte| matches!(byte, b'0'..=b'7'))
            .count();
        if first != '0' && more == 0 {
            self.out.push('\\');
            self.out.push(first);
            return;
        }
        let digits = format!("{first}{}", &self.rest[..more]);
        self.rest = &self.rest[more..];
        let code = u32::from_str_radix(&digits, 8).unwrap_or_default();
        self.out.push_str(&format!("\\x{{{code:X}}}"));
    }

    /// After an opening bracket, to the closing one.
    fn class(&mut self) {
        self.out.push('[');
        if let Some(rest) = self.rest.strip_prefix('^') {
            self.rest = rest;
            self.out.push('^');
        }
        let mut first = true;
        while let Some(next) = self.take() {
            match next {
                ']' if first => self.out.push_str("\\]"),
                ']' => {
                    self.out.push(']');
                    return;
                }
                '\\' => self.escape(true),
                '[' => match self.rest.strip_prefix(':').and_then(|r| r.split_once(":]")) {
                    Some((name, rest))
                        if name.bytes().all(|b| b.is_ascii_lowercase() || b == b'^') =>
                    {
                        self.out.push_str(&format!("[:{name}:]"));
                        self.rest = rest;
                    }
                    _ => self.out.push_str("\\["),
                },
                // Twice, they are operations on sets there.
                '&' | '~' => {
                    self.out.push('\\');
                    self.out.push(next);
                }
                '-' if self.out.ends_with('-') => self.out.push_str("\\-"),
                other => self.out.push(other),
            }
            first = false;
        }
    }

    /// After an opening brace: a repetition or a literal.
    fn brace(&mut self) -> Result<(), String> {
        let repetition = self.rest.split_once('}').and_then(|(inside, rest)| {
            let (low, high) = inside.split_once(',').unwrap_or((inside, ""));
            let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
            (!low.is_empty() && digits(low) && digits(high)).then_some((inside, low, high, rest))
        });
        let Some((inside, low, high, rest)) = repetition else {
            self.out.push_str("\\{");
            return Ok(());
        };
        let count = |text: &str| text.parse::<u32>().unwrap_or(u32::MAX);
        if count(low) > MAX_REPEAT || (!high.is_empty() && count(high) > MAX_REPEAT) {
            let pattern = self.pattern;
            return Err(format!(
                "error parsing regexp: invalid repeat count: `{{{inside}}}` in `{pattern}`"
            ));
        }
        self.out.push_str(&format!("{{{inside}}}"));
        self.rest = rest;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_what_go_means() {
        for (pattern, text, matches) in [
            (r"^\d+$", "12", true),
            (r"^\d+$", "\u{663}", false),
            (r"^[\w.]+$", "a_b.c", true),
            (r"^[^\s]$", "\u{a0}", true),
            (r"^[[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[a&&b]$", "&", true),
            (r"^[[:alpha:]-]+$", "ab-", true),
            (r"^a{,2}$", "a{,2}", true),
            (r"^a{2}$", "aa", true),
            (r"^{x}$", "{x}", true),
            (r"^\Qa.b\E$", "a.b", true),
            (r"^\Qa.b\E$", "axb", false),
            (r"^\x41\101$", "AA", true),
            (r"^\<a\>$", "<a>", true),
            (r"^(?i)abc$", "ABC", true),
            (r"^[+--]+$", ",", true),
            ("^a$", "a\n", false),
        ] {
            let compiled = compile(pattern).expect(pattern);
            assert_eq!(compiled.is_match(text), matches, "{pattern} {text:?}");
        }
    }

    #[test]
    fn refuses_what_go_refuses() {
        for pattern in [
            "(",
            "a{1001}",
            "a{2,1001}",
            "[a",
            r"(?=a)",
            r"\1",
            "*a",
            "a**",
        ] {
            let accepted = compile(pattern).is_ok();
            // `a**` is an error there and a repetition of a repetition here: it matches the same texts.
            assert_eq!(accepted, pattern == "a**", "{pattern}");
        }
        let why = compile("(").expect_err("no pattern");
        assert!(why.starts_with("error parsing regexp: "), "{why}");
    }
}
