//! The types that mutations are written in: `Object{...}` of configurations to apply, and `JSONPatch{...}`.
//!
//! As upstream's `DynamicTypeResolver`: of an `Object` any field may be said, of any type; its type's name is the path to where it
//! belongs (`Object.spec.template`), which is looked at when it was made ([`Output::misplaced`]).

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
};

use knarr_meta::patch::MAX_DEPTH;
use serde_json::{Map as JsonMap, Value};

/// Of `jsonpatch.escapeKey`.
pub use crate::functions::PATCH as NAMESPACE;
use crate::{
    Error,
    cost::Cost,
    types::{Field, Object, Type},
    value::{List, Map, Struct, Val},
};

const OBJECT: &str = "Object";
const JSON_PATCH: &str = "JSONPatch";

/// Whether it is the type of a configuration to apply.
pub fn is_object(ty: &Type) -> bool {
    matches!(ty, Type::Named(name) if &**name == OBJECT)
}

/// Whether it is the type of the operations of a JSON patch.
pub fn are_operations(ty: &Type) -> bool {
    let Type::List(list) = ty else {
        return false;
    };
    matches!(&list.element, Type::Object(object) if object.name == JSON_PATCH)
}

static JSON_PATCH_TYPE: LazyLock<Type> = LazyLock::new(|| {
    let field = |name: &str, ty| {
        let json = name.into();
        (name.into(), Field { json, ty })
    };
    let fields: BTreeMap<Box<str>, Field> = [
        field("op", Type::String),
        field("path", Type::String),
        field("from", Type::String),
        field("value", Type::Dyn),
    ]
    .into();
    let name = JSON_PATCH.to_owned();
    Type::Object(Arc::new(Object { name, fields }))
});

/// The type of this name, if it is one of mutations.
pub(crate) fn type_of(name: &str) -> Option<Type> {
    if name == JSON_PATCH {
        return Some(JSON_PATCH_TYPE.clone());
    }
    let below = name.strip_prefix(OBJECT)?;
    (below.is_empty() || below.starts_with('.')).then(|| Type::Named(name.into()))
}

/// One operation of a JSON patch (RFC 6902).
#[derive(Clone, Debug)]
pub struct Operation<'a> {
    pub op: String,
    pub path: String,
    pub from: String,
    pub value: Option<Val<'a>>,
}

/// Most bytes of JSON that one mutation may make: no object and no patch of one is larger.
const MAX_BYTES: usize = knarr_meta::patch::MAX_PATCH_BYTES;
/// Most operations of a patch.
const MAX_OPERATIONS: usize = knarr_meta::patch::MAX_JSON_PATCH_OPERATIONS;
/// Most names of types that are told to be wrong.
const MAX_MISPLACED: usize = 20;

/// Makes what a mutation says out of the value of its expression. Values share their parts and JSON does not: this ends where the
/// result would be larger or deeper than an object may be, or more work than is paid for.
pub struct Output<'c> {
    cost: &'c mut Cost,
    /// That may still be made.
    bytes: usize,
}

impl<'c> Output<'c> {
    /// At the cost of the expressions that made the value.
    pub fn new(cost: &'c mut Cost) -> Output<'c> {
        Output {
            cost,
            bytes: MAX_BYTES,
        }
    }

    fn work(&mut self, steps: usize) -> Result<(), String> {
        let paid = self.cost.steps(steps as u64);
        paid.map_err(|exceeded| Error::from(exceeded).to_string())
    }

    /// Takes a value with a text of so many bytes.
    fn take(&mut self, bytes: usize) -> Result<(), String> {
        self.work(bytes.saturating_add(1))?;
        // With a comma or a colon. Quotes and brackets are the caller's to count.
        match self.bytes.checked_sub(bytes.saturating_add(1)) {
            Some(left) => {
                self.bytes = left;
                Ok(())
            }
            None => Err(format!("the result is larger than {MAX_BYTES} bytes")),
        }
    }

    /// The operations that an expression made; none: it made something else.
    ///
    /// # Errors
    /// Where they are more, or longer, than those of a patch may be.
    pub fn operations<'a>(
        &mut self,
        value: &Val<'a>,
    ) -> Result<Option<Vec<Operation<'a>>>, String> {
        let Val::List(list) = value else {
            return Ok(None);
        };
        let length = list.len();
        if length > MAX_OPERATIONS {
            return Err(format!(
                "The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {length}"
            ));
        }
        let mut operations = Vec::with_capacity(length);
        for index in 0..length {
            let item = list.get(index, self.cost);
            let item = item.map_err(|exceeded| Error::from(exceeded).to_string())?;
            let Some(Val::Map(Map::Struct(made))) = item else {
                return Ok(None);
            };
            if made.name != JSON_PATCH {
                return Ok(None);
            }
            let mut text = |name| {
                let value = field(&made, name);
                let text = value.as_ref().and_then(Val::as_str).unwrap_or_default();
                self.take(text.len()).map(|()| text.to_owned())
            };
            operations.push(Operation {
                op: text("op")?,
                path: text("path")?,
                from: text("from")?,
                value: field(&made, "value"),
            });
        }
        Ok(Some(operations))
    }

    /// What is made of objects whose type's name is not the path to where they are, in upstream's words.
    ///
    /// # Errors
    /// Where that is too much work to find.
    pub fn misplaced(&mut self, value: &Val<'_>) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        if let Val::Map(Map::Struct(made)) = value {
            self.look(value, &mut vec![made.name], &mut found)?;
        }
        Ok(found)
    }

    fn look<'a>(
        &mut self,
        value: &Val<'a>,
        path: &mut Vec<&'a str>,
        found: &mut Vec<String>,
    ) -> Result<(), String> {
        if found.len() >= MAX_MISPLACED {
            return Ok(());
        }
        self.work(1)?;
        match value {
            Val::Map(Map::Struct(made)) => {
                self.work(path.len())?;
                let wanted = path.join(".");
                if wanted != made.name {
                    let name = made.name;
                    found.push(format!(
                        "unexpected type name {name:?}, expected {wanted:?}, which matches field name path from root Object type"
                    ));
                }
                for (name, value) in &made.fields {
                    path.push(name);
                    self.look(value, path, found)?;
                    path.pop();
                }
            }
            Val::Map(Map::Owned(entries) | Map::Sparse(entries)) => {
                for (_, value) in entries.iter() {
                    self.look(value, path, found)?;
                }
            }
            Val::List(List::Owned(items)) => {
                for value in items.iter() {
                    self.look(value, path, found)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A value as JSON.
    ///
    /// # Errors
    /// In the words of cel-go, for what JSON has not: `unsupported conversion`; where it is too large, too deep or too much work.
    pub fn json(&mut self, value: &Val<'_>) -> Result<Value, String> {
        self.json_within(value, MAX_DEPTH)
    }

    fn json_within(&mut self, value: &Val<'_>, levels: usize) -> Result<Value, String> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let unsupported = || format!("type conversion error from '{}' to JSON", value.type_name());
        self.take(match value {
            Val::Text(text) => text.as_str().len().saturating_add(2),
            Val::Bytes(bytes) => bytes.len().saturating_mul(2),
            Val::List(_) | Val::Map(_) => 2,
            _ => 1,
        })?;
        Ok(match value {
            Val::Null => Value::Null,
            Val::Bool(flag) => Value::Bool(*flag),
            Val::Int(number) => (*number).into(),
            Val::Uint(number) => (*number).into(),
            Val::Double(number) => number_of(*number).ok_or_else(unsupported)?,
            Val::Text(text) => text.as_str().into(),
            Val::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Val::Duration(_) | Val::Timestamp(_) => crate::value::brief(value).into(),
            Val::List(List::Json(items, _)) => {
                let levels = below(levels)?;
                let items = items.iter().map(|item| self.copy(item, levels));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Val::List(List::Owned(items)) => {
                let levels = below(levels)?;
                let items = items.iter().map(|item| self.json_within(item, levels));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Val::Map(Map::Object(map, _) | Map::Json(map, _)) => {
                self.copy_map(map, below(levels)?)?
            }
            Val::Map(Map::Owned(entries) | Map::Sparse(entries)) => {
                let levels = below(levels)?;
                let mut object = JsonMap::new();
                for (key, value) in entries.iter() {
                    let Some(name) = key.as_str() else {
                        let kind = key.type_name();
                        let key = crate::value::brief(key);
                        return Err(format!("map key {key:?} is of type {kind}, not string"));
                    };
                    self.take(name.len().saturating_add(2))?;
                    object.insert(name.to_owned(), self.json_within(value, levels)?);
                }
                Value::Object(object)
            }
            Val::Map(Map::Struct(made)) => {
                let levels = below(levels)?;
                let mut object = JsonMap::new();
                for (name, value) in &made.fields {
                    self.take(name.len().saturating_add(2))?;
                    object.insert((*name).to_owned(), self.json_within(value, levels)?);
                }
                Value::Object(object)
            }
            Val::Optional(Some(value)) => self.json_within(value, below(levels)?)?,
            Val::Optional(None) => Value::Null,
            Val::Type(_) | Val::Other(_) => return Err(unsupported()),
        })
    }

    /// A part of an object as it is.
    fn copy(&mut self, value: &Value, levels: usize) -> Result<Value, String> {
        self.take(match value {
            Value::String(text) => text.len().saturating_add(2),
            Value::Array(_) | Value::Object(_) => 2,
            _ => 1,
        })?;
        Ok(match value {
            Value::Array(items) => {
                let levels = below(levels)?;
                let items = items.iter().map(|item| self.copy(item, levels));
                Value::Array(items.collect::<Result<_, _>>()?)
            }
            Value::Object(map) => self.copy_map(map, below(levels)?)?,
            simple => simple.clone(),
        })
    }

    fn copy_map(&mut self, map: &JsonMap<String, Value>, levels: usize) -> Result<Value, String> {
        let mut object = JsonMap::new();
        for (name, value) in map {
            self.take(name.len().saturating_add(2))?;
            object.insert(name.clone(), self.copy(value, levels)?);
        }
        Ok(Value::Object(object))
    }
}

/// How many levels may be inside of one more list or map.
fn below(levels: usize) -> Result<usize, String> {
    let left = levels.checked_sub(1);
    left.ok_or_else(|| format!("the result is nested deeper than {MAX_DEPTH} levels"))
}

fn field<'a>(made: &Struct<'a>, name: &str) -> Option<Val<'a>> {
    let mut found = made.fields.iter().filter(|(field, _)| *field == name);
    found.next().map(|(_, value)| value.clone())
}

/// Numbers without a fraction are written without one, as Go does.
fn number_of(number: f64) -> Option<Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match number.fract() == 0.0 && number.abs() < EXACT {
        true => Some((number as i64).into()),
        false => serde_json::Number::from_f64(number).map(Value::Number),
    }
}

#[cfg(test)]
mod tests;
