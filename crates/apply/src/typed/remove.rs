//! A value without some of its paths.

use serde_json::{Map, Value};

use super::items;
use crate::{
    element::Element,
    schema::{ListType, MapType, Schema, Shape, field_schema},
    set::Set,
};

/// `value` without the fields and elements in `set`. What is one value is removed when a part of it is to go.
pub fn remove(value: &Value, set: &Set<'_>, schema: &dyn Schema) -> Value {
    match schema.atom().deduce(value).shape() {
        Some(Shape::Scalar(_)) => value.clone(),
        Some(Shape::List(list)) if list != ListType::Atomic => match value {
            Value::Array(items) => elements(items, set, schema, list),
            _ => Value::Null,
        },
        Some(Shape::Map(MapType::Granular)) => match value {
            Value::Object(map) => fields(map, set, schema),
            _ => Value::Null,
        },
        _ => Value::Null,
    }
}

fn elements(items: &[Value], set: &Set<'_>, schema: &dyn Schema, list: ListType) -> Value {
    let kept: Vec<Value> = items
        .iter()
        .filter_map(|item| {
            // What has no key is in no set.
            let node = match items::element_of(schema, list, item) {
                Ok(element) => set.node(&element),
                Err(_) => None,
            };
            match node {
                Some(node) if node.member => None,
                Some(node) => Some(remove(item, &node.children, schema.element())),
                None => Some(item.clone()),
            }
        })
        .collect();
    match kept.is_empty() {
        true => Value::Null,
        false => Value::Array(kept),
    }
}

fn fields(map: &Map<String, Value>, set: &Set<'_>, schema: &dyn Schema) -> Value {
    let mut kept = Map::new();
    for (name, value) in map {
        let value = match set.node(&Element::Field(name.as_str().into())) {
            Some(node) if node.member => continue,
            Some(node) => match field_schema(schema, name) {
                Some(below) => remove(value, &node.children, below),
                None => Value::Null,
            },
            None => value.clone(),
        };
        kept.insert(name.clone(), value);
    }
    match kept.is_empty() {
        true => Value::Null,
        false => Value::Object(kept),
    }
}
