//! Field selectors: `status.phase=Running,spec.nodeName!=a`, with `\` escaping `\`, `,` and `=` in values.

use std::fmt;

/// A field selector that cannot be parsed; the message is upstream's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("invalid selector: '{selector}'; can't understand '{term}'")]
    Term { selector: String, term: String },
    #[error("invalid field selector: invalid escape sequence: {0}")]
    Escape(String),
    #[error("invalid field selector: unescaped character in value: {0}")]
    Unescaped(u32),
}

/// One term.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub field: String,
    pub value: String,
    /// True for `=` and `==`, false for `!=`.
    pub equal: bool,
}

/// All terms must hold. The default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<Requirement>,
}

impl FieldSelector {
    /// Selects everything.
    pub fn everything() -> Self {
        FieldSelector::default()
    }

    /// Selects by one field.
    pub fn one(field: impl Into<String>, value: impl Into<String>) -> Self {
        FieldSelector {
            requirements: vec![Requirement {
                field: field.into(),
                value: value.into(),
                equal: true,
            }],
        }
    }

    /// Parses; empty terms are skipped, terms are sorted.
    pub fn parse(selector: &str) -> Result<Self, ParseError> {
        // Most requests have none.
        if selector.is_empty() {
            return Ok(FieldSelector::default());
        }
        let mut terms = split_terms(selector);
        terms.sort_unstable();
        let mut requirements = Vec::with_capacity(terms.len());
        for term in terms {
            if term.is_empty() {
                continue;
            }
            let (field, equal, value) = split_term(term).ok_or_else(|| ParseError::Term {
                selector: selector.to_owned(),
                term: term.to_owned(),
            })?;
            requirements.push(Requirement {
                field: field.to_owned(),
                value: unescape(value)?,
                equal,
            });
        }
        Ok(FieldSelector { requirements })
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// Whether the fields match; `get` gives a field's value, and a field it does not have counts as empty.
    pub fn matches_with<'a>(&self, get: impl Fn(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = get(&requirement.field).unwrap_or_default();
            (value == requirement.value) == requirement.equal
        })
    }

    /// The value a field must have, if one term says so.
    pub fn exact(&self, field: &str) -> Option<&str> {
        self.requirements
            .iter()
            .find(|requirement| requirement.equal && requirement.field == field)
            .map(|requirement| requirement.value.as_str())
    }
}

impl FromIterator<Requirement> for FieldSelector {
    fn from_iter<I: IntoIterator<Item = Requirement>>(requirements: I) -> Self {
        FieldSelector {
            requirements: requirements.into_iter().collect(),
        }
    }
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            let operator = if requirement.equal { "=" } else { "!=" };
            write!(
                f,
                "{}{operator}{}",
                requirement.field,
                escape(&requirement.value)
            )?;
        }
        Ok(())
    }
}

/// Escapes a value for use in a field selector.
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for c in value.chars() {
        if matches!(c, '\\' | ',' | '=') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

fn unescape(value: &str) -> Result<String, ParseError> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => out.push(next),
                Some(other) => return Err(ParseError::Escape(format!("\\{other}"))),
                None => return Err(ParseError::Escape("\\".to_owned())),
            },
            ',' | '=' => return Err(ParseError::Unescaped(c.into())),
            _ => out.push(c),
        }
    }
    Ok(out)
}

fn split_terms(selector: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut escaped = false;
    for (index, c) in selector.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ',' => {
                terms.push(&selector[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    terms.push(&selector[start..]);
    terms
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let index = term.find(['!', '=']).and_then(|first| {
        // A lone `!` is part of the field's name.
        term[first..]
            .char_indices()
            .map(|(offset, _)| first + offset)
            .find(|&index| term[index..].starts_with('=') || term[index..].starts_with("!="))
    })?;
    let (field, rest) = term.split_at(index);
    if let Some(value) = rest.strip_prefix("!=") {
        return Some((field, false, value));
    }
    let value = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    Some((field, true, value))
}

#[cfg(test)]
mod tests;
