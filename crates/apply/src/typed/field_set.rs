//! The paths of a configuration: what its author wants to own.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Problems, items, no_shape};
use crate::{
    element::Element,
    schema::{ListType, MapType, Schema, Shape},
    set::{Node, Set},
};

/// Every leaf, every element of lists whose elements are owned one by one, and every field that no type declares.
pub fn field_set<'a>(value: &'a Value, schema: &'a dyn Schema) -> Result<Set<'a>, Problems> {
    Ok(walk(value, schema)?.1)
}

/// Whether the path of the value is in the set, and what is below it.
fn walk<'a>(value: &'a Value, schema: &'a dyn Schema) -> Result<(bool, Set<'a>), Problems> {
    Ok(match schema.atom().deduce(value).shape() {
        None => return Err(no_shape()),
        Some(Shape::Scalar(_) | Shape::List(ListType::Atomic) | Shape::Map(MapType::Atomic)) => {
            (true, Set::default())
        }
        Some(Shape::Map(_)) => match value {
            Value::Object(map) => (false, fields(map, schema)?),
            _ => (false, Set::default()),
        },
        Some(Shape::List(list)) => match value {
            Value::Array(items) => (false, elements(items, schema, list)?),
            _ => (false, Set::default()),
        },
    })
}

fn fields<'a>(map: &'a Map<String, Value>, schema: &'a dyn Schema) -> Result<Set<'a>, Problems> {
    let mut set = Set::default();
    for (name, value) in map {
        let element = Element::Field(name.as_str().into());
        let declared = schema.field(name);
        let below = match &declared {
            Some(field) => Some(field.schema),
            None => schema.undeclared(),
        };
        let below = below.ok_or_else(|| no_shape().below(&element))?;
        let (leaf, children) = walk(value, below).map_err(|p| p.below(&element))?;
        let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
        set.push(Node {
            element,
            member: leaf || empty || declared.is_none(),
            children,
        });
    }
    set.sort();
    Ok(set)
}

fn elements<'a>(
    items: &'a [Value],
    schema: &'a dyn Schema,
    list: ListType,
) -> Result<Set<'a>, Problems> {
    // The only item of each key; None where there are more, which are owned together.
    let mut unique: BTreeMap<Element<'a>, Option<&'a Value>> = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let element = items::element_of(schema, list, item)
            .map_err(|why| Problems::one(format!("element {index}: {why}")))?;
        unique
            .entry(element)
            .and_modify(|there| *there = None)
            .or_insert(Some(item));
    }
    let mut set = Set::default();
    for (element, item) in unique {
        let children = match item {
            Some(item) => {
                let (_, children) = walk(item, schema.element()).map_err(|p| p.below(&element))?;
                children
            }
            None => Set::default(),
        };
        set.push(Node {
            element,
            member: true,
            children,
        });
    }
    Ok(set)
}
