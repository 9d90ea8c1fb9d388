//! Fills in defaults, and removes nulls that are no values.

use serde_json::{Map, Value};

use crate::{Additional, Schema};

/// Most bytes of JSON that defaults may add to one object: a default in a list's items is added once an item.
pub const MAX_ADDED_BYTES: usize = 4 << 20;

/// The defaults of an object would be more than [`MAX_ADDED_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the defaults of the object's schema would add more than {MAX_ADDED_BYTES} bytes to it")]
pub struct TooMuch;

/// Removes nulls where the schema takes none and has no default, then fills in the defaults.
///
/// # Errors
/// With the object half filled in, where the defaults are too many.
pub fn default(object: &mut Value, schema: &Schema) -> Result<(), TooMuch> {
    prune_nulls(object, schema);
    let mut left = MAX_ADDED_BYTES;
    fill(object, schema, &mut left)
}

fn is_no_value(value: &Value, schema: &Schema) -> bool {
    value.is_null() && !schema.nullable
}

/// Removes nulls of fields that are not nullable and have no default.
fn prune_nulls(value: &mut Value, schema: &Schema) {
    match value {
        Value::Object(map) => map.retain(|key, value| match schema.field(key) {
            Some(field) if is_no_value(value, field) && field.default.is_none() => false,
            Some(field) => {
                prune_nulls(value, field);
                true
            }
            None => true,
        }),
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                list.iter_mut().for_each(|item| prune_nulls(item, items));
            }
        }
        _ => {}
    }
}

fn fill(value: &mut Value, schema: &Schema, left: &mut usize) -> Result<(), TooMuch> {
    match value {
        Value::Object(map) => {
            missing(map, schema, left)?;
            for (key, value) in map.iter_mut() {
                if let Some(property) = schema.property(key) {
                    fill(value, property, left)?;
                } else if let Additional::Of(schema) = &schema.additional {
                    replace(value, schema, left)?;
                    fill(value, schema, left)?;
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = &schema.items {
                for item in list {
                    replace(item, items, left)?;
                    fill(item, items, left)?;
                }
            }
        }
        _ => {}
    }
    Ok(())
}

/// Properties that are not there, or null where they cannot be.
fn missing(map: &mut Map<String, Value>, schema: &Schema, left: &mut usize) -> Result<(), TooMuch> {
    for (name, property) in schema.properties() {
        let Some(default) = &property.default else {
            continue;
        };
        if map
            .get(name)
            .is_none_or(|value| is_no_value(value, property))
        {
            *left = left
                .checked_sub(default.bytes + name.len())
                .ok_or(TooMuch)?;
            map.insert(name.to_owned(), default.value.clone());
        }
    }
    Ok(())
}

fn replace(value: &mut Value, schema: &Schema, left: &mut usize) -> Result<(), TooMuch> {
    if is_no_value(value, schema)
        && let Some(default) = &schema.default
    {
        *left = left.checked_sub(default.bytes).ok_or(TooMuch)?;
        *value = default.value.clone();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(props: Value) -> Schema {
        Schema::parse(&props).expect("a schema")
    }

    #[test]
    fn defaults_are_filled_in_from_outside_to_inside() {
        let schema = schema(json!({"type": "object", "properties": {
            "a": {"type": "object", "default": {}, "properties": {"b": {"type": "integer", "default": 5}}},
            "list": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "string", "default": "x"}}}},
            "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {"n": {"type": "string", "default": "x"}}}},
        }}));
        let mut object = json!({"list": [{}, {"n": "y"}], "map": {"k": {}}});
        assert_eq!(default(&mut object, &schema), Ok(()));
        assert_eq!(
            object,
            json!({"a": {"b": 5}, "list": [{"n": "x"}, {"n": "y"}], "map": {"k": {"n": "x"}}})
        );
    }

    #[test]
    fn a_null_is_a_value_where_it_may_be() {
        let schema = schema(json!({"type": "object", "properties": {
            "nullable": {"type": "string", "nullable": true, "default": "x"},
            "defaulted": {"type": "string", "default": "x"},
            "plain": {"type": "string"},
        }}));
        let mut object =
            json!({"nullable": null, "defaulted": null, "plain": null, "unknown": null});
        assert_eq!(default(&mut object, &schema), Ok(()));
        assert_eq!(
            object,
            json!({"nullable": null, "defaulted": "x", "unknown": null})
        );
    }

    #[test]
    fn a_small_object_does_not_become_a_large_one() {
        let large = "x".repeat(1 << 20);
        let schema = schema(
            json!({"type": "object", "properties": {"list": {"type": "array", "items": {
                "type": "object", "properties": {"n": {"type": "string", "default": large}},
            }}}}),
        );
        let mut object = json!({"list": [{}, {}, {}, {}, {}]});
        assert_eq!(default(&mut object, &schema), Err(TooMuch));
    }
}
