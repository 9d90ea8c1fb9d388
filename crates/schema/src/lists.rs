//! Uniqueness in lists of type set and map.

use std::collections::HashMap;

use knarr_meta::field::{Error, ErrorList, Path};
use serde_json::{Map, Value};

use crate::{ListType, Schema};

/// `Duplicate value` for each element that is there before.
pub fn validate(object: &Value, schema: &Schema) -> ErrorList {
    let mut errors = ErrorList::new();
    value(object, schema, &Path::root(), &mut errors);
    errors
}

fn value(of: &Value, schema: &Schema, path: &Path, errors: &mut ErrorList) {
    match of {
        Value::Object(map) => {
            for (key, inner) in map {
                if let Some(property) = schema.property(key) {
                    value(inner, property, &path.child(key.clone()), errors);
                } else if let Some(additional) = schema.field(key) {
                    value(inner, additional, &path.key(key.clone()), errors);
                }
            }
        }
        Value::Array(items) => {
            match schema.list_type {
                ListType::Set => {
                    for index in repeated(items.iter()) {
                        errors.push(Error::duplicate(&path.index(index), items[index].clone()));
                    }
                }
                ListType::Map => list_map(items, schema, path, errors),
                ListType::Atomic => {}
            }
            if let Some(schema) = &schema.items {
                for (index, item) in items.iter().enumerate() {
                    value(item, schema, &path.index(index), errors);
                }
            }
        }
        _ => {}
    }
}

/// Where an element stands for the second time; later ones are not told.
fn repeated<'v>(items: impl Iterator<Item = &'v Value>) -> Vec<usize> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut again = Vec::new();
    for (index, item) in items.enumerate() {
        let times = seen.entry(item.to_string()).or_default();
        *times += 1;
        if *times == 2 {
            again.push(index);
        }
    }
    again
}

fn list_map(items: &[Value], schema: &Schema, path: &Path, errors: &mut ErrorList) {
    let other = |item: &Value| !item.is_object() && !item.is_null();
    if let Some(index) = items.iter().position(other) {
        errors.push(Error::invalid(
            &path.index(index),
            items[index].clone(),
            "must be an object for an array of list-type map",
        ));
        return;
    }
    let keys: Vec<Value> = items
        .iter()
        .map(|item| key_of(item, &schema.list_map_keys))
        .collect();
    for index in repeated(keys.iter()) {
        errors.push(Error::duplicate(&path.index(index), keys[index].clone()));
    }
}

/// The fields that identify an element.
pub(crate) fn key_of(item: &Value, keys: &[Box<str>]) -> Value {
    let mut key = Map::new();
    for name in keys {
        if let Some(value) = item.get(&**name) {
            key.insert(name.to_string(), value.clone());
        }
    }
    key.into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn duplicates_are_told_once() {
        let schema = Schema::parse(&json!({"type": "object", "properties": {
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"],
                "items": {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "integer"}}}},
        }}));
        let object = json!({
            "set": ["a", "b", "a", "a"],
            "map": [{"a": "x", "b": 1, "c": 1}, {"a": "x", "b": 2}, {"a": "x", "b": 1, "c": 2}, {}, {}],
        });
        let errors = validate(&object, &schema.expect("a schema"));
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                r#"map[2]: Duplicate value: {"a":"x","b":1}"#,
                "map[4]: Duplicate value: {}",
                r#"set[2]: Duplicate value: "a""#,
            ]
        );
    }
}
