//! A configuration merged into an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Problems, items, no_shape, validate::check_scalar};
use crate::{
    element::Element,
    schema::{ListType, MapType, Schema, Shape, field_schema},
};

/// `live` with everything that `config` says. Nothing is removed; elements of lists that are owned one by one are in the order
/// of `config`, those that it does not have stay where they are among the others.
pub fn merge(live: &Value, config: &Value, schema: &dyn Schema) -> Result<Value, Problems> {
    let atom = schema.atom();
    match atom.deduce(config).shape().ok_or_else(no_shape)? {
        Shape::Scalar(scalar) => {
            if let (Err(left), Err(right)) =
                (check_scalar(scalar, live), check_scalar(scalar, config))
            {
                let mut problems = Problems::one(format!("lhs: {left}"));
                problems.add(Problems::one(format!("rhs: {right}")));
                return Err(problems);
            }
            Ok(config.clone())
        }
        Shape::Map(map) => {
            let (left, right) = (items::as_map(Some(live)), items::as_map(Some(config)));
            let empty = |map: Option<&Map<String, Value>>| map.is_none_or(Map::is_empty);
            match map == MapType::Atomic || (empty(left) && empty(right)) {
                true => Ok(config.clone()),
                false => fields(left, right, schema),
            }
        }
        Shape::List(list) => {
            let (left, right) = (items::as_list(Some(live)), items::as_list(Some(config)));
            let empty = |list: Option<&Vec<Value>>| list.is_none_or(Vec::is_empty);
            match list == ListType::Atomic || (empty(left) && empty(right)) {
                true => Ok(config.clone()),
                false => elements(
                    left.map_or(&[], Vec::as_slice),
                    right.map_or(&[], Vec::as_slice),
                    schema,
                    list,
                ),
            }
        }
    }
}

fn fields(
    live: Option<&Map<String, Value>>,
    config: Option<&Map<String, Value>>,
    schema: &dyn Schema,
) -> Result<Value, Problems> {
    let mut out = live.cloned().unwrap_or_default();
    for (name, config) in config.into_iter().flatten() {
        let merged = match out.get(name) {
            Some(live) => {
                let element = || Element::Field(name.as_str().into());
                let below =
                    field_schema(schema, name).ok_or_else(|| no_shape().below(element()))?;
                merge(live, config, below).map_err(|p| p.below(element()))?
            }
            None => config.clone(),
        };
        out.insert(name.clone(), merged);
    }
    Ok(Value::Object(out))
}

/// Items of a list in order, and which of them has each key.
struct Indexed<'a> {
    elements: Vec<Element<'a>>,
    /// `None`: more than one has the key; they are not merged with anything.
    at: BTreeMap<Element<'a>, Option<&'a Value>>,
}

fn index<'a>(
    items: &'a [Value],
    schema: &'a dyn Schema,
    list: ListType,
    duplicates: bool,
) -> Result<Indexed<'a>, Problems> {
    let mut out = Indexed {
        elements: Vec::with_capacity(items.len()),
        at: BTreeMap::new(),
    };
    let mut problems = Problems::default();
    for (index, item) in items.iter().enumerate() {
        let element = match items::element_of(schema, list, item) {
            Ok(element) => element,
            Err(why) => {
                problems.add(Problems::one(format!("element {index}: {why}")));
                continue;
            }
        };
        if !out.at.contains_key(&element) {
            out.at.insert(element.clone(), Some(item));
        } else if duplicates {
            out.at.insert(element.clone(), None);
        } else {
            let text = format!("duplicate entries for key {element}");
            problems.add(Problems::one(text));
            continue;
        }
        out.elements.push(element);
    }
    problems.into_result().map(|()| out)
}

/// Walks both lists: shared items appear in the configuration's order, each where the later of the two lists has it; the live
/// object's other items stay before the shared one that followed them.
fn elements(
    live: &[Value],
    config: &[Value],
    schema: &dyn Schema,
    list: ListType,
) -> Result<Value, Problems> {
    let right = index(config, schema, list, false)?;
    let left = index(live, schema, list, true)?;
    let mut out = Vec::with_capacity(left.elements.len().max(right.elements.len()));
    let take = |element: &Element<'_>| -> Result<Value, Problems> {
        let config = right.at.get(element).copied().flatten();
        let config = config.unwrap_or(&Value::Null);
        match left.at.get(element).copied().flatten() {
            Some(live) => merge(live, config, schema.element()).map_err(|p| p.below(element)),
            None => Ok(config.clone()),
        }
    };
    let mut shared = right
        .elements
        .iter()
        .filter(|element| left.at.contains_key(element));
    let mut next_shared = shared.next();
    let mut merged = BTreeSet::new();
    let (mut l, mut r) = (0, 0);
    while l < left.elements.len() || r < right.elements.len() {
        let (left_element, right_element) = (left.elements.get(l), right.elements.get(r));
        if let (Some(element), Some(other)) = (left_element, right_element) {
            if element == other {
                merged.insert(element);
                out.push(take(element)?);
                l += 1;
                r += 1;
                next_shared = shared.next();
                continue;
            }
            if right.at.contains_key(element) && next_shared.is_some_and(|next| next != element) {
                // Shared, and not the one whose turn it is.
                l += 1;
                continue;
            }
        }
        if let Some(element) = left_element {
            if !right.at.contains_key(element) {
                out.push(live[l].clone());
                l += 1;
                continue;
            }
            if merged.contains(element) {
                l += 1;
            }
        }
        if let Some(element) = right_element {
            merged.insert(element);
            out.push(take(element)?);
            r += 1;
            if next_shared == Some(element) {
                next_shared = shared.next();
            }
        }
    }
    Ok(match out.is_empty() {
        true => Value::Null,
        false => Value::Array(out),
    })
}
