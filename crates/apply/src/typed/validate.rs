//! Whether a value is of its type.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Problems, items, no_shape};
use crate::{
    element::Element,
    schema::{ListType, Scalar, Schema, Shape},
    value,
};

/// Whether elements of one key may be in a list more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicates {
    Refused,
    /// Stored objects may have them: nobody forbade them.
    Allowed,
}

/// Checks a value against its type.
pub fn validate(
    value: &Value,
    schema: &dyn Schema,
    duplicates: Duplicates,
) -> Result<(), Problems> {
    walk(value, schema, duplicates).into_result()
}

fn walk(value: &Value, schema: &dyn Schema, duplicates: Duplicates) -> Problems {
    match schema.atom().deduce(value).shape() {
        None => no_shape(),
        Some(Shape::Scalar(scalar)) => match check_scalar(scalar, value) {
            Ok(()) => Problems::default(),
            Err(message) => Problems::one(message),
        },
        Some(Shape::List(list)) => match value {
            Value::Null => Problems::default(),
            Value::Array(items) => check_items(items, schema, list, duplicates),
            other => Problems::one(format!("expected list, got {}", pointer(other))),
        },
        Some(Shape::Map(_)) => match value {
            Value::Null => Problems::default(),
            Value::Object(map) => check_fields(map, schema, duplicates),
            other => Problems::one(format!("expected map, got {}", pointer(other))),
        },
    }
}

fn check_items(
    items: &[Value],
    schema: &dyn Schema,
    list: ListType,
    duplicates: Duplicates,
) -> Problems {
    let mut problems = Problems::default();
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        let element = match list {
            ListType::Atomic => Element::Index(i64::try_from(index).unwrap_or(i64::MAX)),
            list => match items::element_of(schema, list, item) {
                Ok(element) => element,
                // What cannot be told apart cannot be told of.
                Err(why) => {
                    problems.add(Problems::one(format!("element {index}: {why}")));
                    return problems;
                }
            },
        };
        problems.add(walk(item, schema.element(), duplicates).below(&element));
        if list != ListType::Atomic && duplicates == Duplicates::Refused {
            let text = element.to_string();
            if !seen.insert(element) {
                problems.add(Problems::one(format!("duplicate entries for key {text}")));
            }
        }
    }
    problems
}

fn check_fields(
    map: &serde_json::Map<String, Value>,
    schema: &dyn Schema,
    duplicates: Duplicates,
) -> Problems {
    let mut problems = Problems::default();
    for (name, value) in map {
        let element = Element::Field(name.as_str().into());
        match crate::schema::field_schema(schema, name) {
            Some(schema) => problems.add(walk(value, schema, duplicates).below(element)),
            // Upstream says no more of this object.
            None => {
                problems.add(Problems::one("field not declared in schema").below(element));
                break;
            }
        }
    }
    problems
}

/// The error is upstream's.
pub(super) fn check_scalar(scalar: Scalar, value: &Value) -> Result<(), String> {
    let fits = match (scalar, value) {
        (_, Value::Null) => true,
        (Scalar::Numeric, Value::Number(_)) => true,
        (Scalar::String, Value::String(_)) => true,
        (Scalar::Boolean, Value::Bool(_)) => true,
        (Scalar::Untyped, value) => !value.is_array() && !value.is_object(),
        _ => false,
    };
    if fits {
        return Ok(());
    }
    Err(match scalar {
        Scalar::Numeric => format!(
            "expected numeric (int or float), got {}",
            value::type_name(value)
        ),
        Scalar::String => {
            let mut text = String::new();
            value::source(value, &mut text);
            format!("expected string, got &value.valueUnstructured{{Value:{text}}}")
        }
        Scalar::Boolean => format!("expected boolean, got {}", pointer(value)),
        Scalar::Untyped => format!("expected any scalar, got {}", pointer(value)),
    })
}

/// A value as upstream's messages show it: it prints the wrapper, not what is in it.
fn pointer(value: &Value) -> String {
    let mut text = "&{".to_owned();
    value::plain(value, &mut text);
    text.push('}');
    text
}
