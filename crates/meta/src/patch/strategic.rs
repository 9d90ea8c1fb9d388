//! Strategic merge patch, applied to a JSON tree.
//!
//! A patch looks like the object it changes. Objects are merged field by field, null removes a field, and a list is replaced
//! or merged as the schema says. Directives among the fields change that:
//!
//! - `$patch: replace | delete` in an object: the object is replaced by the rest of the patch, or removed;
//! - `$retainKeys: [..]`: fields of the object that are not in this list go;
//! - `$deleteFromPrimitiveList/FIELD: [..]`: these go from a list of scalars;
//! - `$setElementOrder/FIELD: [..]`: the order of the merged list (see [`lists`]).
//!
//! Mirrors `apimachinery/pkg/util/strategicpatch` as the server calls it: parallel lists are merged, and nulls that match
//! nothing are dropped. Where upstream asks a schema about a field that has no type (raw extensions, values of maps) and fails,
//! this merges objects and replaces lists, as the defaults of typed fields do.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{PatchSchema, Strategy, unprocessable};
use crate::status::{Reason, Status};

mod lists;

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM_LIST: &str = "$deleteFromPrimitiveList";
const SET_ELEMENT_ORDER: &str = "$setElementOrder";

/// Why a patch does not apply.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("expected a {expected}, but received a {actual}")]
    Kind {
        expected: &'static str,
        actual: &'static str,
    },
    #[error("map: {} does not contain declared merge key: {key}", go_map(.map))]
    NoMergeKey {
        map: Map<String, Value>,
        key: String,
    },
    #[error("unknown patch type: {directive} in map: {}", go_map(.map))]
    Directive {
        directive: String,
        map: Map<String, Value>,
    },
    #[error("cannot merge lists without merge key for {0}")]
    NoKeyForList(String),
    #[error("merging lists cannot yet be specified in the patch")]
    MergeDirective,
    #[error("list element types are not identical: {0}")]
    MixedList(String),
    #[error("no elements in any of the given slices")]
    NoElements,
    #[error("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n")]
    Order { patch: String, order: String },
}

impl From<Error> for Status {
    /// Upstream's codes. Errors that it does not expect are those of the server: 500 without a reason.
    fn from(error: Error) -> Status {
        match error {
            Error::PrimitiveList | Error::RetainKeys | Error::SetElementOrder => {
                Status::bad_request(error.to_string())
            }
            Error::ListOfLists => unprocessable(),
            other => Status::new(500, Reason::Unknown, other.to_string()),
        }
    }
}

/// Applies a strategic merge patch to a copy of `original`.
///
/// Errors: 400 when the patch is no object or a directive has the wrong form, 422 for lists of lists, 500 (as upstream) when
/// an element lacks its merge key or a directive is unknown.
pub fn strategic(
    original: &Value,
    patch: &Value,
    schema: &dyn PatchSchema,
) -> Result<Value, Status> {
    let Value::Object(patch) = patch else {
        return Err(Status::bad_request(format!(
            "json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            json_name(patch)
        )));
    };
    let mut result = match original {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    merge_map(&mut result, patch.clone(), Some(schema))?;
    Ok(Value::Object(result))
}

/// Merges a patch into an object of a type.
fn merge_map(
    original: &mut Map<String, Value>,
    mut patch: Map<String, Value>,
    schema: Option<&dyn PatchSchema>,
) -> Result<(), Error> {
    if let Some(directive) = patch.get(DIRECTIVE) {
        *original = match directive.as_str() {
            Some("replace") => {
                patch.remove(DIRECTIVE);
                patch
            }
            Some("delete") => Map::new(),
            _ => {
                return Err(Error::Directive {
                    directive: go_value(directive),
                    map: patch,
                });
            }
        };
        return Ok(());
    }
    retain_keys(original, &mut patch)?;
    lists::set_element_order(original, &mut patch, schema)?;
    for (key, value) in patch {
        match key.strip_prefix(DELETE_FROM_LIST) {
            Some(rest) => {
                let field = rest.strip_prefix('/').ok_or(Error::PrimitiveList)?;
                delete_from_list(original, field, value, schema)?;
            }
            None => merge_field(original, key, value, schema)?,
        }
    }
    Ok(())
}

/// Merges the patch's value of one field.
fn merge_field(
    original: &mut Map<String, Value>,
    key: String,
    mut value: Value,
    schema: Option<&dyn PatchSchema>,
) -> Result<(), Error> {
    if value.is_null() {
        original.remove(&key);
        return Ok(());
    }
    let field = schema.and_then(|schema| schema.field(&key));
    match (original.get_mut(&key), value) {
        (Some(Value::Object(old)), Value::Object(new)) => {
            if list_strategy(field) == Some(Strategy::Replace) {
                *old = new;
                Ok(())
            } else {
                merge_map(old, new, field)
            }
        }
        (Some(Value::Array(old)), Value::Array(new)) => {
            *old = lists::merge_field(std::mem::take(old), new, field, &key)?;
            Ok(())
        }
        (_, new) => {
            value = new;
            discard_nulls(&mut value);
            match remove_directives(&mut value) {
                Kept::Yes => original.insert(key, value),
                Kept::No => original.remove(&key),
            };
            Ok(())
        }
    }
}

/// `$deleteFromPrimitiveList/FIELD`: does nothing to a list that is not there.
fn delete_from_list(
    original: &mut Map<String, Value>,
    field: &str,
    value: Value,
    schema: Option<&dyn PatchSchema>,
) -> Result<(), Error> {
    let schema = schema.and_then(|schema| schema.field(field));
    if value.is_null() {
        original.remove(field);
        return Ok(());
    }
    if let (Some(Value::Array(old)), Value::Array(gone)) = (original.get_mut(field), value) {
        *old = lists::delete_from_field(std::mem::take(old), gone, schema, field)?;
    }
    Ok(())
}

/// `$retainKeys`: the patch's own fields must be among them.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
) -> Result<(), Error> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(keys) = keys else {
        return Err(Error::RetainKeys);
    };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let kept = |key: &str| keys.contains(key);
    for (key, value) in patch.iter() {
        let directive = key.starts_with(DELETE_FROM_LIST) || key.starts_with(SET_ELEMENT_ORDER);
        if !value.is_null() && !directive && !kept(key) {
            return Err(Error::RetainKeys);
        }
    }
    original.retain(|key, _| kept(key));
    Ok(())
}

/// The strategy of a field, `retainKeys` aside.
fn list_strategy(schema: Option<&dyn PatchSchema>) -> Option<Strategy> {
    schema?
        .strategies()
        .iter()
        .copied()
        .find(|strategy| *strategy != Strategy::RetainKeys)
}

/// Removes fields that are null, at any depth: there is nothing for them to delete.
fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => map.retain(|_, value| {
            discard_nulls(value);
            !value.is_null()
        }),
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// Whether anything of a value is left without its directives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Yes,
    No,
}

/// Takes objects with `$patch` out of a value that merges with nothing, at any depth: there is nothing for them to delete or replace.
fn remove_directives(value: &mut Value) -> Kept {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => return Kept::No,
        Value::Object(map) => map.retain(|_, value| remove_directives(value) == Kept::Yes),
        Value::Array(list) => list.retain_mut(|value| remove_directives(value) == Kept::Yes),
        _ => {}
    }
    Kept::Yes
}

/// The name of a value's type in Go's JSON errors.
fn json_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// The name of a value's type in Go.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "%!s(<nil>)",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go prints it with `%v`, for messages that clients compare.
/// What upstream's errors show of a patch that was applied: as Go prints it, without what merging takes out of it.
pub fn shown(patch: &Value) -> String {
    let mut patch = patch.clone();
    without_directives(&mut patch);
    go_value(&patch)
}

fn without_directives(patch: &mut Value) {
    match patch {
        Value::Object(map) => {
            // A list that has an order is merged first, and gone by the time of an error.
            let ordered: HashSet<String> = map
                .keys()
                .filter_map(|key| key.strip_prefix(SET_ELEMENT_ORDER)?.strip_prefix('/'))
                .map(str::to_owned)
                .collect();
            map.retain(|key, _| {
                let of_field = key.split_once('/').map_or("", |(directive, _)| directive);
                let is_directive =
                    key == RETAIN_KEYS || matches!(of_field, DELETE_FROM_LIST | SET_ELEMENT_ORDER);
                !is_directive && !ordered.contains(key)
            });
            map.values_mut().for_each(without_directives);
        }
        Value::Array(list) => list.iter_mut().for_each(without_directives),
        _ => {}
    }
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!(
            "[{}]",
            list.iter().map(go_value).collect::<Vec<_>>().join(" ")
        ),
        Value::Object(map) => go_map(map),
        other => other.to_string(),
    }
}

fn go_map(map: &Map<String, Value>) -> String {
    let fields: Vec<String> = map
        .iter()
        .map(|(key, value)| format!("{key}:{}", go_value(value)))
        .collect();
    format!("map[{}]", fields.join(" "))
}
