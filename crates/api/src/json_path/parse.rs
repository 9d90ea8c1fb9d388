//! From text to a path.

use serde_json::Value;

use super::{Filter, JsonPath, Malformed, Operand, Operator, Slice, Step};

/// Longest path, in bytes.
const MAX_BYTES: usize = 4 << 10;

pub(super) fn path(text: &str) -> Result<JsonPath, Malformed> {
    if text.len() > MAX_BYTES {
        return Err(Malformed(format!("longer than {MAX_BYTES} bytes")));
    }
    let mut parser = Parser { rest: text.trim() };
    parser.rest = parser.rest.strip_prefix(['$', '@']).unwrap_or(parser.rest);
    parser.steps(text)
}

struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn steps(&mut self, text: &str) -> Result<JsonPath, Malformed> {
        let mut steps = Vec::new();
        while !self.rest.is_empty() {
            if self.eat("..") {
                steps.push(Step::Descend);
                if !self.rest.starts_with('[') {
                    self.check_head()?;
                    steps.extend(self.field());
                }
            } else if self.eat(".") {
                steps.extend(self.field());
            } else if self.eat("[") {
                steps.push(self.brackets()?);
            } else if steps.is_empty() {
                self.check_head()?;
                steps.extend(self.field());
            } else {
                return Err(Malformed(format!(
                    "unrecognized character in path {text:?}"
                )));
            }
        }
        Ok(JsonPath { steps })
    }

    /// That a name without a dot before it is one: upstream reads what begins with a digit or a sign as a number.
    fn check_head(&self) -> Result<(), Malformed> {
        let Some(first) = self.rest.chars().next() else {
            return Ok(());
        };
        if first.is_ascii_digit() || matches!(first, '+' | '-') {
            let digits = |c: char| c.is_numeric() || c == '.';
            let sign = usize::from(!first.is_ascii_digit());
            let rest = &self.rest[sign..];
            let end = sign + rest.find(|c| !digits(c)).unwrap_or(rest.len());
            let number = &self.rest[..end];
            return match number.parse::<f64>() {
                Ok(_) => Ok(()),
                Err(_) => Err(Malformed(format!("cannot parse number {number}"))),
            };
        }
        if first.is_alphanumeric() || matches!(first, '_' | '*' | '\\' | '\'' | '"' | ' ') {
            return Ok(());
        }
        let code = u32::from(first);
        Err(Malformed(format!(
            "unrecognized character in action: U+{code:04X} '{first}'"
        )))
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// A name up to the next dot or bracket; a backslash takes away the meaning of what follows.
    fn field(&mut self) -> Option<Step> {
        let mut name = String::new();
        let mut chars = self.rest.char_indices();
        let mut end = self.rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                c => name.push(c),
            }
        }
        self.rest = &self.rest[end..];
        match name.as_str() {
            "" => None,
            "*" => Some(Step::All),
            _ => Some(Step::Field(name)),
        }
    }

    /// After an opening bracket, past the closing one.
    fn brackets(&mut self) -> Result<Step, Malformed> {
        let end = closing(self.rest).ok_or_else(|| Malformed("unterminated array".to_owned()))?;
        let (inside, rest) = (self.rest[..end].trim(), &self.rest[end + 1..]);
        self.rest = rest;
        if let Some(filter) = inside
            .strip_prefix("?(")
            .and_then(|rest| rest.strip_suffix(')'))
        {
            return Ok(Step::Filter(Box::new(self::filter(filter)?)));
        }
        let parts = split(inside);
        let mut steps = parts
            .into_iter()
            .map(member)
            .collect::<Result<Vec<_>, _>>()?;
        match steps.len() {
            1 => Ok(steps.remove(0)),
            _ => Ok(Step::Union(steps)),
        }
    }
}

/// The bracket that closes one that is open, quotes and nested brackets aside.
fn closing(text: &str) -> Option<usize> {
    let (mut depth, mut quote) = (0usize, None);
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match (quote, c) {
            (_, '\\') => {
                chars.next();
            }
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(c),
            (None, '[') => depth += 1,
            (None, ']') if depth == 0 => return Some(at),
            (None, ']') => depth -= 1,
            _ => {}
        }
    }
    None
}

/// At commas outside of quotes.
fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quote) = (Vec::new(), 0, None);
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ',') => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[from..].trim());
    parts
}

fn unquoted(text: &str) -> Option<String> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let inside = text.strip_prefix(quote)?.strip_suffix(quote)?;
    let mut out = String::new();
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    Some(out)
}

fn member(text: &str) -> Result<Step, Malformed> {
    if let Some(name) = unquoted(text) {
        return Ok(Step::Field(name));
    }
    if text == "*" {
        return Ok(Step::All);
    }
    let malformed = || Malformed(format!("invalid array index {text}"));
    let number = |part: &str| match part.trim() {
        "" => Ok(None),
        digits => digits.parse::<i64>().map(Some).map_err(|_| malformed()),
    };
    let parts = text.split(':').map(number).collect::<Result<Vec<_>, _>>()?;
    match parts[..] {
        [Some(index)] => Ok(Step::Slice(Slice {
            start: Some(index),
            end: index.checked_add(1).filter(|end| *end != 0),
            step: None,
        })),
        [start, end] => Ok(Step::Slice(Slice {
            start,
            end,
            step: None,
        })),
        [start, end, step] => Ok(Step::Slice(Slice { start, end, step })),
        _ => Err(malformed()),
    }
}

fn filter(text: &str) -> Result<Filter, Malformed> {
    const OPERATORS: [(&str, Operator); 6] = [
        ("==", Operator::Equal),
        ("!=", Operator::NotEqual),
        ("<=", Operator::LessOrEqual),
        (">=", Operator::GreaterOrEqual),
        ("<", Operator::Less),
        (">", Operator::Greater),
    ];
    let mut quote = None;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, '=' | '!' | '<' | '>') => {
                let found = OPERATORS
                    .iter()
                    .find(|(token, _)| text[at..].starts_with(token));
                let Some((token, operator)) = found else {
                    continue;
                };
                let right = operand(&text[at + token.len()..])?;
                return Ok(Filter {
                    left: operand(&text[..at])?,
                    comparison: Some((*operator, right)),
                });
            }
            _ => {}
        }
    }
    Ok(Filter {
        left: operand(text)?,
        comparison: None,
    })
}

fn operand(text: &str) -> Result<Operand, Malformed> {
    let text = text.trim();
    if let Some(text) = unquoted(text) {
        return Ok(Operand::Value(Value::from(text)));
    }
    match serde_json::from_str::<Value>(text) {
        Ok(value @ (Value::Bool(_) | Value::Number(_))) => Ok(Operand::Value(value)),
        _ if text.starts_with(['@', '$', '.']) => Ok(Operand::Path(path(text)?)),
        _ => Err(Malformed(format!("unrecognized identifier {text}"))),
    }
}
