//! Lists and maps with a most size, and rules that need no more than two of them.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::list_at,
};
use serde_json::{Map, Value};

use crate::validate;

/// Longest keys that paths show whole, at the least.
const MIN_SHOWN_KEY_BYTES: usize = 16;
const MAX_BINDING_CONDITIONS: usize = 4;

/// Each item, unless there are too many to look at.
pub(super) fn slice<'o>(
    list: &'o [Value],
    max: usize,
    path: &Path,
    errors: &mut ErrorList,
    mut item: impl FnMut(&'o Value, &Path, &mut ErrorList),
) -> bool {
    if list.len() > max {
        errors.push(Error::too_many(path, list.len(), max));
        return false;
    }
    for (index, value) in list.iter().enumerate() {
        item(value, &path.index(index), errors);
    }
    true
}

/// As [`slice`], and no key is there twice: upstream has declared so with the types, and shows the value.
pub(super) fn set<'o>(
    list: &'o [Value],
    max: usize,
    path: &Path,
    errors: &mut ErrorList,
    key: impl Fn(&Value) -> String,
    item: impl FnMut(&'o Value, &Path, &mut ErrorList),
) {
    if slice(list, max, path, errors, item) {
        let twice = twice(list, key).into_iter();
        errors.extend(twice.map(|(index, _)| {
            Error::duplicate(
                &path.index(index),
                list.get(index).cloned().unwrap_or_default(),
            )
        }));
    }
}

/// As [`set`], where it is not declared: shown is the key.
pub(super) fn set_of_keys<'o>(
    list: &'o [Value],
    max: usize,
    path: &Path,
    errors: &mut ErrorList,
    key: impl Fn(&Value) -> String,
    item: impl FnMut(&'o Value, &Path, &mut ErrorList),
) {
    if slice(list, max, path, errors, item) {
        let twice = twice(list, key).into_iter();
        errors.extend(twice.map(|(index, key)| Error::duplicate(&path.index(index), key)));
    }
}

/// The places and keys of what has a key that was there before.
fn twice(list: &[Value], key: impl Fn(&Value) -> String) -> Vec<(usize, String)> {
    let mut seen = HashSet::new();
    let keys = list.iter().map(key).enumerate();
    keys.filter(|(_, key)| !seen.insert(key.clone())).collect()
}

/// The texts of a list, each its own key.
pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Each entry of a map: `key` is told the map's path, `item` that of the entry, in which a key of more than `shown` bytes is cut.
pub(super) fn map(
    map: Option<&Map<String, Value>>,
    max: Option<usize>,
    shown: usize,
    path: &Path,
    errors: &mut ErrorList,
    key: impl Fn(&str, &Path, &mut ErrorList),
    item: impl Fn(&Value, &Path, &mut ErrorList),
) {
    let Some(map) = map else { return };
    if let Some(max) = max
        && map.len() > max
    {
        errors.push(Error::too_many(path, map.len(), max));
        return;
    }
    for (name, value) in map {
        key(name, path, errors);
        item(value, &path.key(shortened(name, shown)), errors);
    }
}

/// The ends of a text that is longer than `max` bytes.
fn shortened(text: &str, max: usize) -> String {
    let max = max.max(MIN_SHOWN_KEY_BYTES);
    if text.len() <= max {
        return text.to_owned();
    }
    let left = max - "...".len();
    let is_boundary = |at: &usize| text.is_char_boundary(*at);
    let head = (0..=left.div_ceil(2)).rev().find(is_boundary);
    let tail = (text.len() - left / 2..=text.len()).find(is_boundary);
    let (head, tail) = (head.unwrap_or(0), tail.unwrap_or(text.len()));
    format!("{}...{}", &text[..head], &text[tail..])
}

/// The conditions that binding waits for, and those that end it: of a device, or of what was allocated of it.
pub(super) fn binding_conditions(owner: &Value, path: &Path, errors: &mut ErrorList) {
    let label = |name: &Value, path: &Path, errors: &mut ErrorList| {
        let name = name.as_str().unwrap_or_default();
        validate::each(errors, path, name, names::qualified_name(name));
    };
    let field = |name| (path.child(name), list_at(owner, &[name]));
    let (wanted_path, wanted) = field("bindingConditions");
    let (failed_path, failed) = field("bindingFailureConditions");
    slice(wanted, MAX_BINDING_CONDITIONS, &wanted_path, errors, label);
    slice(failed, MAX_BINDING_CONDITIONS, &failed_path, errors, label);
    let mut seen = HashSet::new();
    for (index, condition) in wanted.iter().enumerate() {
        if !seen.insert(text(condition)) {
            errors.push(Error::duplicate(&wanted_path.index(index), text(condition)));
        }
    }
    let mut seen = HashSet::new();
    for (index, condition) in failed.iter().enumerate() {
        let path = failed_path.index(index);
        if !seen.insert(text(condition)) {
            errors.push(Error::duplicate(&path, text(condition)));
        }
        if wanted.contains(condition) {
            let why = "bindingFailureConditions must not overlap with bindingConditions";
            errors.push(Error::invalid(&path, text(condition), why));
        }
    }
    if wanted.is_empty() && !failed.is_empty() {
        let why = "bindingConditions are required to use bindingFailureConditions";
        // Of a list that is not there Go shows nothing.
        errors.push(Error::invalid(&wanted_path, Value::Null, why));
    }
    if failed.is_empty() && !wanted.is_empty() {
        let why = "bindingFailureConditions are required to use bindingConditions";
        errors.push(Error::invalid(&failed_path, Value::Null, why));
    }
}
