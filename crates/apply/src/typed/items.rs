//! Elements of lists whose elements are owned one by one.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    element::Element,
    schema::{ListType, Schema},
};

/// The path element of an element of a list of this type; the error is upstream's.
pub(super) fn element_of<'a>(
    schema: &'a dyn Schema,
    list: ListType,
    item: &Value,
) -> Result<Element<'a>, String> {
    match list {
        ListType::Atomic => Err("invalid indexing of non-associative list".to_owned()),
        ListType::Map => keyed(schema, item),
        ListType::Set => match item {
            Value::Object(_) => {
                Err("associative list without keys has an element that's a map type".to_owned())
            }
            Value::Array(_) => {
                Err("not supported: associative list with lists as elements".to_owned())
            }
            Value::Null => Err(
                "associative list without keys has an element that's an explicit null".to_owned(),
            ),
            scalar => Ok(Element::Value(scalar.clone())),
        },
    }
}

fn keyed<'a>(schema: &'a dyn Schema, item: &Value) -> Result<Element<'a>, String> {
    let map = match item {
        Value::Object(map) => map,
        Value::Null => {
            return Err("associative list with keys may not have a null element".to_owned());
        }
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut fields = Vec::new();
    let mut names = 0;
    while let Some(name) = schema.key(names) {
        names += 1;
        if let Some(value) = key_value(schema, map, name) {
            fields.push((Cow::Borrowed(name), value.clone()));
        }
    }
    if fields.is_empty() && names > 0 {
        let names: Vec<String> = (0..names)
            .filter_map(|index| schema.key(index))
            .map(knarr_meta::field::quote)
            .collect();
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{}] \
             (and doesn't have default values for any key fields)",
            names.join(" ")
        ));
    }
    fields.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Element::Key(fields))
}

/// The value of a key field: its own, or the default of its type.
fn key_value<'v>(
    schema: &'v dyn Schema,
    item: &'v Map<String, Value>,
    name: &str,
) -> Option<&'v Value> {
    match item.get(name) {
        Some(value) => Some(value),
        None => schema.element().field(name)?.default,
    }
}

/// The list in a value; null and what is none are no list.
pub(super) fn as_list(value: Option<&Value>) -> Option<&Vec<Value>> {
    value?.as_array()
}

/// The object in a value; null and what is none are no object.
pub(super) fn as_map(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value?.as_object()
}
