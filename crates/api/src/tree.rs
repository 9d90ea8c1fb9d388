//! Small edits of JSON trees, as defaulting and strategies need them. Null counts as absent everywhere.

use knarr_meta::object::at;
use serde_json::{Map, Value};

/// Where absent or empty, puts a string.
pub(crate) fn default_str(map: &mut Map<String, Value>, field: &str, value: &str) {
    if map
        .get(field)
        .is_none_or(|v| v.is_null() || v.as_str() == Some(""))
    {
        map.insert(field.to_owned(), Value::from(value));
    }
}

/// Where absent, puts a value.
pub(crate) fn default_value(map: &mut Map<String, Value>, field: &str, value: impl Into<Value>) {
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), value.into());
    }
}

/// Where absent or 0, puts a number.
pub(crate) fn default_number(map: &mut Map<String, Value>, field: &str, value: i64) {
    if map
        .get(field)
        .is_none_or(|v| v.is_null() || v.as_i64() == Some(0))
    {
        map.insert(field.to_owned(), value.into());
    }
}

/// The map below a field, made where absent. `None` where something else is there.
pub(crate) fn child<'a>(
    map: &'a mut Map<String, Value>,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    default_value(map, field, Map::new());
    map.get_mut(field)?.as_object_mut()
}

/// The map below a field, where it is there.
pub(crate) fn existing<'a>(
    map: &'a mut Map<String, Value>,
    field: &str,
) -> Option<&'a mut Map<String, Value>> {
    map.get_mut(field)?.as_object_mut()
}

/// The maps in a list below a field.
pub(crate) fn items<'a>(
    map: &'a mut Map<String, Value>,
    field: &str,
) -> impl Iterator<Item = &'a mut Map<String, Value>> {
    map.get_mut(field)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

/// The string at a field, or "".
pub(crate) fn text<'a>(map: &'a Map<String, Value>, field: &str) -> &'a str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// Gives `new` what `old` has at a top-level field.
pub(crate) fn keep(new: &mut Value, old: &Value, field: &str) {
    if let Some(map) = new.as_object_mut() {
        keep_in(map, old, field);
    }
}

/// Gives `new` what `old` has in its metadata.
pub(crate) fn keep_metadata(new: &mut Value, old: &Value, field: &str) {
    if let Some(map) = knarr_meta::object::metadata_mut(new) {
        keep_in(map, old.get("metadata").unwrap_or(&Value::Null), field);
    }
}

fn keep_in(map: &mut Map<String, Value>, old: &Value, field: &str) {
    match old.get(field) {
        Some(value) if map.get(field) == Some(value) => {}
        Some(value) => {
            map.insert(field.to_owned(), value.clone());
        }
        None => {
            map.remove(field);
        }
    }
}

/// Puts a value at a top-level field.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

/// True where two trees mean the same: null, absent, and empty lists are one, and so is "" where it is all there is. An empty object is
/// something: a struct that somebody asked for. Empty maps are dropped when an object is decoded, and so is "" where it means nothing;
/// the "" that is left in an object is a map's value, or one of a pointer.
pub(crate) fn same(a: Option<&Value>, b: Option<&Value>) -> bool {
    let says = |value: &&Value| value.as_str() != Some("");
    same_within(a.filter(says), b.filter(says))
}

fn same_within(a: Option<&Value>, b: Option<&Value>) -> bool {
    match (a.filter(|v| !is_empty(v)), b.filter(|v| !is_empty(v))) {
        (None, None) => true,
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            a.keys().all(|key| same_within(a.get(key), b.get(key)))
                && b.keys()
                    .all(|key| a.contains_key(key) || same_within(None, b.get(key)))
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            a.len() == b.len() && (a.iter().zip(b)).all(|(a, b)| same_within(Some(a), Some(b)))
        }
        (a, b) => a == b,
    }
}

/// Whether two objects differ in anything but type, metadata and status.
pub fn fields_differ(new: &Value, old: &Value) -> bool {
    const ASIDE: [&str; 4] = ["apiVersion", "kind", "metadata", "status"];
    let (Some(new), Some(old)) = (new.as_object(), old.as_object()) else {
        return false;
    };
    new.keys()
        .chain(old.keys())
        .filter(|field| !ASIDE.contains(&field.as_str()))
        .any(|field| !same(new.get(field), old.get(field)))
}

/// Whether two objects differ in a field of their metadata.
pub fn metadata_differs(new: &Value, old: &Value, field: &str) -> bool {
    !same(at(new, &["metadata", field]), at(old, &["metadata", field]))
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(_) | Value::String(_) | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
