//! Reads JSON into a tree, noting fields that occur twice.
//!
//! `serde_json` alone lets the last one win in silence, as this does; but a client may ask to be warned or refused
//! (`fieldValidation`). Costs nothing more while there is no duplicate.

use std::{cell::RefCell, fmt};

use knarr_meta::Status;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::path::{Path, Step};

/// Most strict decoding errors that are reported for one document, as upstream's.
pub(super) const MAX_STRICT_ERRORS: usize = 100;

/// Reads a document. Beside it: `duplicate field "spec.replicas"` for each field that occurs more than once.
///
/// Errors: 400 for what is not JSON, or is nested deeper than 127 levels.
pub fn json(bytes: &[u8]) -> Result<(Value, Vec<String>), Status> {
    tree(bytes).map_err(|error| {
        Status::bad_request(format!(
            "couldn't get version/kind; json parse error: {error}"
        ))
    })
}

/// As [`json`], for callers that word the error themselves.
pub fn tree(bytes: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let duplicates = RefCell::new(Vec::new());
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Node {
        path: &Path::ROOT,
        duplicates: &duplicates,
    }
    .deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok((value, duplicates.into_inner()))
}

/// A value that is about to be read.
#[derive(Clone, Copy)]
struct Node<'a> {
    path: &'a Path<'a>,
    duplicates: &'a RefCell<Vec<String>>,
}

impl Node<'_> {
    fn duplicate(&self, name: &str) {
        let mut duplicates = self.duplicates.borrow_mut();
        let message = format!("duplicate field {:?}", self.path.with(name));
        if duplicates.len() < MAX_STRICT_ERRORS && !duplicates.contains(&message) {
            duplicates.push(message);
        }
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        loop {
            let path = self.path.child(Step::Index(list.len()));
            match access.next_element_seed(Node {
                path: &path,
                ..self
            })? {
                Some(element) => list.push(element),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let path = self.path.child(Step::Key(&key));
            let value = access.next_value_seed(Node {
                path: &path,
                ..self
            })?;
            match object.entry(key) {
                serde_json::map::Entry::Vacant(entry) => {
                    entry.insert(value);
                }
                serde_json::map::Entry::Occupied(mut entry) => {
                    self.duplicate(entry.key());
                    entry.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}
