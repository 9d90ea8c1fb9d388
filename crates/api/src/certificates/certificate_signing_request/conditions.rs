//! Conditions of a request, as its parts change them.

use knarr_meta::object::str_at;
use serde_json::Value;

use super::conditions as list;

/// Those of one type, with their places.
pub(super) fn of<'o>(object: &'o Value, kind: &str) -> impl Iterator<Item = (usize, &'o Value)> {
    list(object)
        .iter()
        .enumerate()
        .filter(move |(_, condition)| str_at(condition, &["type"]) == kind)
}

fn list_mut(object: &mut Value) -> impl Iterator<Item = &mut Value> {
    object
        .pointer_mut("/status/conditions")
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
}

/// Gives the conditions of this type what they were. Where some were added or taken away all stay as they are: validation refuses
/// them.
pub(super) fn preserve(new: &mut Value, old: &Value, kind: &str) {
    let before: Vec<Value> = of(old, kind)
        .map(|(_, condition)| condition.clone())
        .collect();
    let places: Vec<usize> = of(new, kind).map(|(place, _)| place).collect();
    if before.len() != places.len() {
        return;
    }
    for (place, condition) in places.into_iter().zip(before) {
        if let Some(slot) = list_mut(new).nth(place) {
            *slot = condition;
        }
    }
}

/// Fills in times that are not there: a condition keeps the time of its last transition while its status is the same.
pub(super) fn stamp(new: &mut Value, old: &Value, now: &str) {
    for condition in list_mut(new) {
        let text = |field: &str| str_at(condition, &[field]).to_owned();
        let (kind, status) = (text("type"), text("status"));
        let missing = |field| text(field).is_empty();
        let (update, transition) = (missing("lastUpdateTime"), missing("lastTransitionTime"));
        let Some(map) = condition.as_object_mut() else {
            continue;
        };
        if update {
            map.insert("lastUpdateTime".to_owned(), now.into());
        }
        if transition {
            let since = of(old, &kind)
                .map(|(_, before)| before)
                .filter(|before| str_at(before, &["status"]) == status)
                .map(|before| str_at(before, &["lastTransitionTime"]))
                .find(|time| !time.is_empty());
            map.insert("lastTransitionTime".to_owned(), since.unwrap_or(now).into());
        }
    }
}
