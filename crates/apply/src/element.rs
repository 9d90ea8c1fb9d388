//! Steps of a path: into a field, an element of a list by its key or its value, or by its place.

use std::{borrow::Cow, cmp::Ordering, fmt};

use serde_json::{Map, Value};

use crate::value;

/// One step of a path. The order is upstream's: fields, keys, values, places.
#[derive(Clone, Debug)]
pub enum Element<'a> {
    /// A field of an object.
    Field(Cow<'a, str>),
    /// The element of a list with these key fields, sorted by name.
    Key(Vec<(Cow<'a, str>, Value)>),
    /// The element of a set with this value.
    Value(Value),
    /// The element at this place.
    Index(i64),
}

/// Why a text is no path element.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    #[error("key must be 2 characters long:")]
    Short,
    #[error("missing colon: {0}")]
    NoColon(String),
    #[error("{0}")]
    Content(String),
}

impl<'a> Element<'a> {
    /// From its form in fieldsV1: `f:name`, `k:{"name":"a"}`, `v:"a"`, `i:0`. `None`: of a kind that a later version may know.
    pub fn parse(text: &'a str) -> Result<Option<Element<'a>>, Malformed> {
        let bytes = text.as_bytes();
        let (Some(kind), Some(colon)) = (bytes.first(), bytes.get(1)) else {
            return Err(Malformed::Short);
        };
        if *colon != b':' {
            return Err(Malformed::NoColon(text.to_owned()));
        }
        let content = &text[2..];
        let json = |error: serde_json::Error| Malformed::Content(error.to_string());
        Ok(Some(match kind {
            b'f' => Element::Field(Cow::Borrowed(content)),
            b'k' => {
                let fields: Map<String, Value> = serde_json::from_str(content).map_err(json)?;
                let mut fields: Vec<(Cow<'a, str>, Value)> = fields
                    .into_iter()
                    .map(|(name, value)| (Cow::Owned(name), value))
                    .collect();
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Element::Key(fields)
            }
            b'v' => Element::Value(serde_json::from_str(content).map_err(json)?),
            b'i' => Element::Index(
                content
                    .parse()
                    .map_err(|_| Malformed::Content(format!("no index: {content}")))?,
            ),
            _ => return Ok(None),
        }))
    }

    /// Appends the form in fieldsV1.
    pub fn write(&self, out: &mut String) {
        match self {
            Element::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            Element::Key(fields) => {
                out.push_str("k:{");
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    value::json_string(name, out);
                    out.push(':');
                    value::json(value, out);
                }
                out.push('}');
            }
            Element::Value(value) => {
                out.push_str("v:");
                value::json(value, out);
            }
            Element::Index(index) => {
                out.push_str("i:");
                out.push_str(&index.to_string());
            }
        }
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Element<'static> {
        match self {
            Element::Field(name) => Element::Field(Cow::Owned(name.into_owned())),
            Element::Key(fields) => Element::Key(
                fields
                    .into_iter()
                    .map(|(name, value)| (Cow::Owned(name.into_owned()), value))
                    .collect(),
            ),
            Element::Value(value) => Element::Value(value),
            Element::Index(index) => Element::Index(index),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Element::Field(_) => 0,
            Element::Key(_) => 1,
            Element::Value(_) => 2,
            Element::Index(_) => 3,
        }
    }
}

impl Ord for Element<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Element::Field(left), Element::Field(right)) => left.cmp(right),
            (Element::Key(left), Element::Key(right)) => left
                .iter()
                .zip(right)
                .map(|((a, left), (b, right))| a.cmp(b).then_with(|| value::compare(left, right)))
                .find(|order| order.is_ne())
                .unwrap_or_else(|| left.len().cmp(&right.len())),
            (Element::Value(left), Element::Value(right)) => value::compare(left, right),
            (Element::Index(left), Element::Index(right)) => left.cmp(right),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Element<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Element<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Element<'_> {}

/// As paths show it: `.spec`, `[name="a"]`, `[="a"]`, `[0]`.
impl fmt::Display for Element<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        match self {
            Element::Field(name) => return write!(f, ".{name}"),
            Element::Index(index) => return write!(f, "[{index}]"),
            Element::Value(value) => {
                text.push('=');
                value::in_path(value, &mut text);
            }
            Element::Key(fields) => {
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        text.push(',');
                    }
                    text.push_str(name);
                    text.push('=');
                    value::in_path(value, &mut text);
                }
            }
        }
        write!(f, "[{text}]")
    }
}

/// A path as upstream prints it.
pub fn show(path: &[&Element<'_>]) -> String {
    path.iter().map(|element| element.to_string()).collect()
}
