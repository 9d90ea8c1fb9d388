//! Lists of a strategic merge: which elements a merged list has, and in which order.
//!
//! Elements that the patch names are in the patch's order (`$setElementOrder` before the patch list's own), the others in the
//! order they had. The two are then interleaved: an element the server had is put before the first patch element that came
//! after it in the old list.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{
    DIRECTIVE, Error, Kept, SET_ELEMENT_ORDER, Strategy, go_kind, go_value, list_strategy,
    merge_map, remove_directives,
};
use crate::patch::PatchSchema;

/// What tells elements of a list apart: a field of theirs, or (scalars) themselves.
#[derive(Clone, Copy)]
enum Identity<'a> {
    Key(&'a str),
    Whole,
}

impl Identity<'_> {
    fn of<'v>(&self, element: &'v Value) -> Option<&'v Value> {
        match self {
            Identity::Key(key) => element.as_object()?.get(*key),
            Identity::Whole => Some(element),
        }
    }

    /// Where each element of a list stands; of elements that are the same, the first.
    fn places<'v>(&self, list: impl IntoIterator<Item = &'v Value>) -> HashMap<&'v Value, usize> {
        let mut places = HashMap::new();
        for (at, element) in list.into_iter().enumerate() {
            if let Some(identity) = self.of(element) {
                places.entry(identity).or_insert(at);
            }
        }
        places
    }

    fn place(&self, places: &HashMap<&Value, usize>, element: &Value) -> Option<usize> {
        places.get(self.of(element)?).copied()
    }
}

/// The list of a field after a patch: merged or replaced, as the schema says.
pub(super) fn merge_field(
    original: Vec<Value>,
    patch: Vec<Value>,
    schema: Option<&dyn PatchSchema>,
    field: &str,
) -> Result<Vec<Value>, Error> {
    if list_strategy(schema) == Some(Strategy::Merge) {
        merge(original, patch, schema, field)
    } else {
        Ok(patch)
    }
}

/// The list of a field without the scalars in `gone`, whatever the strategy of the field.
pub(super) fn delete_from_field(
    mut original: Vec<Value>,
    gone: Vec<Value>,
    schema: Option<&dyn PatchSchema>,
    field: &str,
) -> Result<Vec<Value>, Error> {
    if original.is_empty() && gone.is_empty() {
        return Ok(original);
    }
    if objects(&[&original, &gone])? {
        return merge(original, gone, schema, field);
    }
    let gone: HashSet<&Value> = gone.iter().collect();
    original.retain(|element| !gone.contains(element));
    Ok(original)
}

fn merge(
    original: Vec<Value>,
    patch: Vec<Value>,
    schema: Option<&dyn PatchSchema>,
    field: &str,
) -> Result<Vec<Value>, Error> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    if !objects(&[&original, &patch])? {
        let merged = deduplicate(original.iter().chain(&patch));
        return normalize(merged, &patch, &original, Identity::Whole);
    }
    let key = schema
        .and_then(PatchSchema::merge_key)
        .ok_or_else(|| Error::NoKeyForList(field.to_owned()))?;
    let element = schema.and_then(PatchSchema::element);
    let (original, patch) = apply_directives(original, patch, key)?;
    // The order of the old list: elements' keys only, as the elements themselves change now.
    let old_order: Vec<Value> = original
        .iter()
        .map(|element| key_only(element, key))
        .collect();
    let merged = merge_elements(original, &patch, key, element)?;
    normalize(merged, &patch, &old_order, Identity::Key(key))
}

/// Merges each object of `patch` into the one with its key, or appends it.
fn merge_elements(
    mut list: Vec<Value>,
    patch: &[Value],
    key: &str,
    schema: Option<&dyn PatchSchema>,
) -> Result<Vec<Value>, Error> {
    let mut places: HashMap<Value, usize> = HashMap::new();
    for (at, element) in list.iter().enumerate() {
        if let Some(identity) = element.get(key) {
            places.entry(identity.clone()).or_insert(at);
        }
    }
    for value in patch {
        let identity = require_key(value, key)?;
        match places.get(identity) {
            Some(&place) => {
                if let (Value::Object(old), Value::Object(new)) = (&mut list[place], value) {
                    merge_map(old, new.clone(), schema)?;
                }
            }
            None => {
                places.insert(identity.clone(), list.len());
                list.push(value.clone());
            }
        }
    }
    Ok(list)
}

/// Carries out `$patch` of elements. Returns the old list without what was deleted, and the patch's ordinary elements; after a
/// `replace` these are the list and nothing remains to merge.
fn apply_directives(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, Vec<Value>), Error> {
    let mut ordinary = Vec::with_capacity(patch.len());
    let mut deleted: HashSet<Value> = HashSet::new();
    let mut replace = false;
    for value in patch {
        match value.get(DIRECTIVE) {
            None => ordinary.push(value),
            Some(directive) => match directive.as_str() {
                Some("delete") => {
                    deleted.insert(require_key(&value, key)?.clone());
                }
                Some("replace") => replace = true,
                Some("merge") => return Err(Error::MergeDirective),
                _ => {
                    return Err(Error::Directive {
                        directive: go_value(directive),
                        map: object(&value),
                    });
                }
            },
        }
    }
    if !deleted.is_empty() {
        original.retain(|element| element.get(key).is_none_or(|key| !deleted.contains(key)));
    }
    if replace {
        Ok((ordinary, Vec::new()))
    } else {
        Ok((original, ordinary))
    }
}

/// Carries out every `$setElementOrder/FIELD` of a patch, together with the patch's FIELD: both are taken out of it.
pub(super) fn set_element_order(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    schema: Option<&dyn PatchSchema>,
) -> Result<(), Error> {
    let directives: Vec<String> = patch
        .keys()
        .filter(|key| key.starts_with(SET_ELEMENT_ORDER))
        .cloned()
        .collect();
    for directive in directives {
        let order = expect_list(patch.remove(&directive).unwrap_or_default())?;
        let field = directive[SET_ELEMENT_ORDER.len()..]
            .strip_prefix('/')
            .ok_or(Error::SetElementOrder)?;
        let schema = schema.and_then(|schema| schema.field(field));
        let old = original.get(field).cloned().map(expect_list).transpose()?;
        let new = patch.get(field).cloned().map(expect_list).transpose()?;
        let key = schema.and_then(PatchSchema::merge_key);
        check_order(new.as_deref().unwrap_or_default(), &order, key)?;
        let (merged, old_order) = match (old, new) {
            (None, None) => continue,
            (Some(list), None) => (list.clone(), list),
            (None, Some(mut list)) => {
                list.retain_mut(|element| remove_directives(element) == Kept::Yes);
                (list, Vec::new())
            }
            (Some(old), Some(new)) => {
                let old_order = order_after_deletions(&old, &new, key);
                (merge_field(old, new, schema, field)?, old_order)
            }
        };
        let identity = key.map_or(Identity::Whole, Identity::Key);
        let merged = normalize(merged, &order, &old_order, identity)?;
        original.insert(field.to_owned(), Value::Array(merged));
        patch.remove(field);
    }
    Ok(())
}

/// The old list's order as upstream sees it when a patch also deletes elements: each deleted element leaves a slot at the end,
/// and elements that the patch adds fill these slots, so that what stays of the old list comes before them.
fn order_after_deletions(old: &[Value], patch: &[Value], key: Option<&str>) -> Vec<Value> {
    let Some(key) = key else { return old.to_vec() };
    let (directives, ordinary): (Vec<&Value>, Vec<&Value>) = patch
        .iter()
        .partition(|element| element.get(DIRECTIVE).is_some());
    let gone: HashSet<Option<&Value>> = directives
        .iter()
        .filter(|directive| directive[DIRECTIVE] == "delete")
        .map(|directive| directive.get(key))
        .collect();
    let deleted = |element: &Value| gone.contains(&element.get(key));
    let mut order: Vec<Value> = old
        .iter()
        .filter(|element| !deleted(element))
        .cloned()
        .collect();
    let slots = old.len() - order.len();
    let identity = Identity::Key(key);
    let places = identity.places(&order);
    let added: Vec<Value> = ordinary
        .into_iter()
        .filter(|element| identity.place(&places, element).is_none())
        .take(slots)
        .cloned()
        .collect();
    order.extend(added);
    order
}

/// The patch list's elements must all be in the order list, in its order; deleted ones aside.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut wanted = order.iter();
    for element in patch {
        if key.is_some() && element.get(DIRECTIVE).is_some() {
            continue;
        }
        loop {
            let Some(candidate) = wanted.next() else {
                return Err(Error::Order {
                    patch: go_value(&Value::Array(patch.to_vec())),
                    order: go_value(&Value::Array(order.to_vec())),
                });
            };
            let same = match key {
                Some(key) => require_key(element, key)? == require_key(candidate, key)?,
                None => element == candidate,
            };
            if same {
                break;
            }
        }
    }
    Ok(())
}

/// Puts a merged list in order: elements in `order` by it, the others by `old`, the two interleaved.
fn normalize(
    merged: Vec<Value>,
    order: &[Value],
    old: &[Value],
    identity: Identity<'_>,
) -> Result<Vec<Value>, Error> {
    if let Identity::Key(key) = identity {
        for element in merged.iter().chain(order).chain(old) {
            require_key(element, key)?;
        }
    }
    let (in_order, in_old) = (identity.places(order), identity.places(old));
    let (mut named, mut others): (Vec<Value>, Vec<Value>) = merged
        .into_iter()
        .partition(|element| identity.place(&in_order, element).is_some());
    let place = |places: &HashMap<&Value, usize>, element: &Value| {
        identity.place(places, element).unwrap_or(usize::MAX)
    };
    named.sort_by_cached_key(|element| place(&in_order, element));
    others.sort_by_cached_key(|element| place(&in_old, element));

    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for element in named {
        let here = identity.place(&in_old, &element);
        while let Some(other) = others.peek() {
            match (identity.place(&in_old, other), here) {
                (Some(there), Some(here)) if there < here => result.extend(others.next()),
                _ => break,
            }
        }
        result.push(element);
    }
    result.extend(others);
    Ok(result)
}

/// Without repeated scalars. Their order is settled afterwards.
fn deduplicate<'a>(list: impl Iterator<Item = &'a Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    list.filter(|element| seen.insert(*element))
        .cloned()
        .collect()
}

/// True when the lists hold objects, false for scalars. All elements must be of one kind, and none a list.
fn objects(lists: &[&Vec<Value>]) -> Result<bool, Error> {
    let mut elements = lists.iter().flat_map(|list| list.iter());
    let Some(first) = elements.next() else {
        return Err(Error::NoElements);
    };
    if first.is_array() {
        return Err(Error::ListOfLists);
    }
    if elements.any(|element| go_kind(element) != go_kind(first)) {
        let lists: Vec<String> = lists
            .iter()
            .map(|list| go_value(&Value::Array((*list).clone())))
            .collect();
        return Err(Error::MixedList(format!("[{}]", lists.join(" "))));
    }
    Ok(first.is_object())
}

fn require_key<'a>(element: &'a Value, key: &str) -> Result<&'a Value, Error> {
    let Value::Object(map) = element else {
        return Err(Error::Kind {
            expected: "map[string]interface {}",
            actual: go_kind(element),
        });
    };
    map.get(key).ok_or_else(|| Error::NoMergeKey {
        map: map.clone(),
        key: key.to_owned(),
    })
}

fn expect_list(value: Value) -> Result<Vec<Value>, Error> {
    match value {
        Value::Array(list) => Ok(list),
        other => Err(Error::Kind {
            expected: "[]interface {}",
            actual: go_kind(&other),
        }),
    }
}

fn key_only(element: &Value, key: &str) -> Value {
    let mut map = Map::new();
    if let Some(value) = element.get(key) {
        map.insert(key.to_owned(), value.clone());
    }
    Value::Object(map)
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}
