//! Sets as fieldsV1.

use serde_json::{Map, Value};

use super::{Node, Set};
use crate::element::{self, Element};

/// Why a value is no fieldsV1.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Malformed {
    #[error("expected an object of paths, got {0}")]
    NoObject(String),
    #[error(transparent)]
    Element(#[from] element::Malformed),
}

impl<'a> Set<'a> {
    /// From fieldsV1, in any order; null is the empty set, and path elements of unknown kinds are dropped.
    pub fn from_json(fields: &'a Value) -> Result<Set<'a>, Malformed> {
        Ok(read(fields)?.1)
    }

    /// As fieldsV1.
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        let mut name = String::new();
        for node in &self.nodes {
            name.clear();
            node.element.write(&mut name);
            let mut below = node.children.to_json();
            if node.member
                && let Value::Object(map) = &mut below
                && !map.is_empty()
            {
                map.insert(".".to_owned(), Value::Object(Map::new()));
            }
            out.insert(name.clone(), below);
        }
        Value::Object(out)
    }
}

/// Whether the path itself is a member, and what is below it.
fn read(fields: &Value) -> Result<(bool, Set<'_>), Malformed> {
    let map = match fields {
        Value::Object(map) => map,
        Value::Null => return Ok((true, Set::default())),
        other => return Err(Malformed::NoObject(other.to_string())),
    };
    let (mut member, mut set) = (false, Set::default());
    for (name, below) in map {
        if name == "." {
            member = true;
            continue;
        }
        let Some(element) = Element::parse(name)? else {
            continue;
        };
        let (ends, children) = read(below)?;
        set.push(Node {
            element,
            member: ends,
            children,
        });
    }
    set.sort();
    // Two texts may be one element: {"a":1} and {"a":1.0}. What is below the last one counts, as upstream.
    set.nodes.dedup_by(|later, earlier| {
        let same = later.element == earlier.element;
        if same {
            earlier.member |= later.member;
            earlier.children = std::mem::take(&mut later.children);
        }
        same
    });
    Ok((member || set.is_empty(), set))
}
