//! Reads the parts that every object has from its JSON tree. Absent and wrongly typed both read as empty: types are
//! the schema's business.

use serde_json::{Map, Value};

/// The value at a path of field names.
pub fn at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, name| value.get(name))
}

/// The string at a path, or "".
pub fn str_at<'a>(object: &'a Value, path: &[&str]) -> &'a str {
    at(object, path).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a path.
pub fn i64_at(object: &Value, path: &[&str]) -> Option<i64> {
    at(object, path).and_then(Value::as_i64)
}

/// The bool at a path; absent is false.
pub fn bool_at(object: &Value, path: &[&str]) -> bool {
    at(object, path).and_then(Value::as_bool).unwrap_or(false)
}

/// The list at a path, or an empty one.
pub fn list_at<'a>(object: &'a Value, path: &[&str]) -> &'a [Value] {
    at(object, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The map at a path.
pub fn map_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Map<String, Value>> {
    at(object, path).and_then(Value::as_object)
}

/// The object at a path, where it is set. Absent and null are the same.
pub fn struct_at<'a>(object: &'a Value, path: &[&str]) -> Option<&'a Value> {
    at(object, path).filter(|value| value.is_object())
}

/// The map's entries whose values are strings.
pub fn strings(map: Option<&Map<String, Value>>) -> impl Iterator<Item = (&str, &str)> {
    map.into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

pub fn api_version(object: &Value) -> &str {
    str_at(object, &["apiVersion"])
}

pub fn kind(object: &Value) -> &str {
    str_at(object, &["kind"])
}

pub fn metadata(object: &Value) -> Option<&Map<String, Value>> {
    object.get("metadata").and_then(Value::as_object)
}

fn metadata_str<'a>(object: &'a Value, field: &str) -> &'a str {
    metadata(object)
        .and_then(|metadata| metadata.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// The metadata to write into; made when absent. `None` when the object is not a map, or metadata is something else.
pub fn metadata_mut(object: &mut Value) -> Option<&mut Map<String, Value>> {
    child_mut(object, "metadata")
}

/// A field that is a map, to write into; made when absent or null.
pub fn child_mut<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Map<String, Value>> {
    let map = object.as_object_mut()?;
    if map.get(field).is_none_or(Value::is_null) {
        map.insert(field.to_owned(), Value::Object(Map::new()));
    }
    map.get_mut(field)?.as_object_mut()
}

pub fn name(object: &Value) -> &str {
    metadata_str(object, "name")
}

pub fn generate_name(object: &Value) -> &str {
    metadata_str(object, "generateName")
}

pub fn namespace(object: &Value) -> &str {
    metadata_str(object, "namespace")
}

pub fn uid(object: &Value) -> &str {
    metadata_str(object, "uid")
}

pub fn resource_version(object: &Value) -> &str {
    metadata_str(object, "resourceVersion")
}

pub fn creation_timestamp(object: &Value) -> &str {
    metadata_str(object, "creationTimestamp")
}

/// The RFC 3339 time, where deletion has begun.
pub fn deletion_timestamp(object: &Value) -> Option<&str> {
    Some(metadata_str(object, "deletionTimestamp")).filter(|time| !time.is_empty())
}

pub fn deletion_grace_period_seconds(object: &Value) -> Option<i64> {
    metadata(object)?
        .get("deletionGracePeriodSeconds")?
        .as_i64()
}

pub fn generation(object: &Value) -> i64 {
    i64_at(object, &["metadata", "generation"]).unwrap_or_default()
}

pub fn labels(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    strings(map_at(object, &["metadata", "labels"]))
}

pub fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, &["metadata", "labels"])?.get(key)?.as_str()
}

pub fn annotations(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    strings(map_at(object, &["metadata", "annotations"]))
}

pub fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    at(object, &["metadata", "annotations"])?.get(key)?.as_str()
}

pub fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    list_at(object, &["metadata", "finalizers"])
        .iter()
        .filter_map(Value::as_str)
}

/// One entry of metadata.ownerReferences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerReference<'a> {
    pub api_version: &'a str,
    pub kind: &'a str,
    pub name: &'a str,
    pub uid: &'a str,
    pub controller: bool,
    pub block_owner_deletion: bool,
}

pub fn owner_references(object: &Value) -> impl Iterator<Item = OwnerReference<'_>> {
    list_at(object, &["metadata", "ownerReferences"])
        .iter()
        .map(|reference| OwnerReference {
            api_version: str_at(reference, &["apiVersion"]),
            kind: str_at(reference, &["kind"]),
            name: str_at(reference, &["name"]),
            uid: str_at(reference, &["uid"]),
            controller: bool_at(reference, &["controller"]),
            block_owner_deletion: bool_at(reference, &["blockOwnerDeletion"]),
        })
}
