//! Paths that definitions name fields by: `.spec['a b'].c`, of properties and of the keys of maps.

use knarr_meta::field::Path;
use serde_json::Value;

use crate::{Additional, Schema};

const NO_FIELD: &str = "does not refer to a valid field";
const AT_END: &str = "unexpected end of JSON path";

/// A schema in which paths can be looked up.
pub trait Declares: Sized {
    fn has_properties(&self) -> bool;
    fn property(&self, name: &str) -> Option<&Self>;
    /// Whether it says anything of other fields.
    fn has_additional(&self) -> bool;
    /// The schema of other fields, where there is one.
    fn additional(&self) -> Option<&Self>;
}

/// JSONSchemaProps.
impl Declares for Value {
    fn has_properties(&self) -> bool {
        let properties = self.get("properties").and_then(Value::as_object);
        properties.is_some_and(|properties| !properties.is_empty())
    }

    fn property(&self, name: &str) -> Option<&Value> {
        self.get("properties")?.get(name)
    }

    fn has_additional(&self) -> bool {
        let additional = self.get("additionalProperties");
        additional.is_some_and(|additional| !additional.is_null())
    }

    fn additional(&self) -> Option<&Value> {
        self.get("additionalProperties")
            .filter(|additional| additional.is_object())
    }
}

impl Declares for Schema {
    fn has_properties(&self) -> bool {
        self.properties().next().is_some()
    }

    fn property(&self, name: &str) -> Option<&Schema> {
        Schema::property(self, name)
    }

    fn has_additional(&self) -> bool {
        !matches!(self.additional, Additional::Unsaid)
    }

    fn additional(&self) -> Option<&Schema> {
        match &self.additional {
            Additional::Of(schema) => Some(schema),
            Additional::Unsaid | Additional::Any(_) => None,
        }
    }
}

/// Whether fields may be named in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brackets {
    Allowed,
    Refused,
}

/// The field that `text` leads to: its path as errors tell it, and its schema where it has one.
///
/// # Errors
/// Why it leads to none, in upstream's words.
pub fn find<'s, D: Declares>(
    text: &str,
    schema: &'s D,
    brackets: Brackets,
) -> Result<(Path, Option<&'s D>), String> {
    let mut tokens = Tokens { rest: text };
    let mut at = Some(schema);
    let mut path = Path::root();
    while let Some(token) = tokens.next() {
        match token {
            "[" if brackets == Brackets::Refused => {
                return Err("array notation is not allowed".to_owned());
            }
            "[" => {
                let quoted = tokens.next().ok_or(AT_END)?;
                let inside = quoted.strip_prefix('\'').filter(|rest| !rest.is_empty());
                let inside = inside
                    .and_then(|rest| rest.strip_suffix('\''))
                    .ok_or_else(|| format!("expected single quoted string but got {quoted}"))?;
                let name =
                    unescaped(inside).map_err(|why| format!("invalid string literal: {why}"))?;
                (path, at) = step(&path, at, &name)?;
                let end = tokens.next().ok_or(AT_END)?;
                if end != "]" {
                    return Err(format!("expected ] but got {end}"));
                }
            }
            "." => {
                let name = tokens.next().ok_or(AT_END)?;
                (path, at) = step(&path, at, name)?;
            }
            other => return Err(format!("expected [ or . but got: {other}")),
        }
    }
    Ok((path, at))
}

type Step<'s, D> = (Path, Option<&'s D>);

/// A schema either names its fields or says what all of them are.
fn step<'s, D: Declares>(
    path: &Path,
    at: Option<&'s D>,
    name: &str,
) -> Result<Step<'s, D>, &'static str> {
    let at = at.ok_or(NO_FIELD)?;
    if at.has_properties() {
        let property = at.property(name).ok_or(NO_FIELD)?;
        return Ok((path.child(name.to_owned()), Some(property)));
    }
    match at.has_additional() {
        true => Ok((path.key(name), at.additional())),
        false => Err(NO_FIELD),
    }
}

/// Delimiters, texts in single quotes with their quotes, and what is between.
struct Tokens<'t> {
    rest: &'t str,
}

impl<'t> Iterator for Tokens<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let first = self.rest.chars().next()?;
        let end = match first {
            '.' | '[' | ']' => 1,
            '\'' => closing_quote(self.rest),
            _ => self.rest.find(['.', '[', ']']).unwrap_or(self.rest.len()),
        };
        let (token, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(token)
    }
}

/// Where a quoted text ends that `text` begins with: behind the next quote that has no backslash before it.
fn closing_quote(text: &str) -> usize {
    let bytes = text.as_bytes();
    let found = (1..bytes.len()).find(|at| bytes[*at] == b'\'' && bytes[at - 1] != b'\\');
    found.map_or(text.len(), |at| at + 1)
}

fn unescaped(text: &str) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('a') => out.push('\u{7}'),
            Some('b') => out.push('\u{8}'),
            Some('f') => out.push('\u{c}'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('t') => out.push('\t'),
            Some('v') => out.push('\u{b}'),
            Some(quote @ ('\'' | '\\')) => out.push(quote),
            Some(other) => return Err(format!("invalid escape char \\{other}")),
            None => out.push('\\'),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn paths_lead_to_what_is_declared() {
        let props = json!({"type": "object", "properties": {
            "a": {"type": "object", "properties": {"b c": {"type": "string"}, "it's": {"type": "string"}}},
            "any": {"type": "object", "additionalProperties": {"type": "object", "properties": {"x": {"type": "string"}}}},
            "free": {"type": "object", "additionalProperties": true},
            "bare": {"type": "object"},
        }});
        let schema = Schema::parse(&props).unwrap();
        let cases = [
            (".a", Ok("a")),
            (".a.b c", Ok("a.b c")),
            (".a['b c']", Ok("a.b c")),
            ("['a']['it\\'s']", Ok("a.it's")),
            (".any.key.x", Ok("any[key].x")),
            (".any['key']", Ok("any[key]")),
            (".free.key", Ok("free[key]")),
            ("", Ok("")),
            (".b", Err(NO_FIELD)),
            (".bare.x", Err(NO_FIELD)),
            (".free.key.more", Err(NO_FIELD)),
            (".", Err(AT_END)),
            (".a[", Err(AT_END)),
            (".a['b c'", Err(AT_END)),
            ("a", Err("expected [ or . but got: a")),
            (" ", Err("expected [ or . but got:  ")),
            (".a[0]", Err("expected single quoted string but got 0")),
            (".a['b c'.", Err("expected ] but got .")),
            (
                ".a['\\x']",
                Err("invalid string literal: invalid escape char \\x"),
            ),
        ];
        for (text, wanted) in cases {
            let told = |found: Result<Path, String>| found.map(|path| path.to_string());
            let in_props = find(text, &props, Brackets::Allowed).map(|(path, _)| path);
            let in_schema = find(text, &schema, Brackets::Allowed).map(|(path, _)| path);
            let wanted = wanted.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(told(in_props), wanted, "{text}");
            assert_eq!(told(in_schema), wanted, "{text}");
        }
        let refused = find(".a['b c']", &props, Brackets::Refused).unwrap_err();
        assert_eq!(refused, "array notation is not allowed");
        let (_, found) = find(".any.key.x", &props, Brackets::Refused).unwrap();
        assert_eq!(found, Some(&json!({"type": "string"})));
    }
}
