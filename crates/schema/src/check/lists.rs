//! `x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and `x-kubernetes-map-type`.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, list_at, str_at},
};
use serde_json::Value;

use super::schema_at;

const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const KEYS: &str = "x-kubernetes-list-map-keys";

pub(super) fn check(props: &Value, path: &Path, errors: &mut ErrorList) {
    let map_type = str_at(props, &[MAP_TYPE]);
    if !map_type.is_empty() {
        of_type(props, "object", MAP_TYPE, path, errors);
        if !matches!(map_type, "atomic" | "granular") {
            let known = ["atomic", "granular"];
            errors.push(Error::not_supported(
                &path.child(MAP_TYPE),
                map_type,
                &known,
            ));
        }
    }
    let list_type = str_at(props, &[LIST_TYPE]);
    if !list_type.is_empty() {
        let is_list = of_type(props, "array", LIST_TYPE, path, errors);
        if is_list && list_type == "set" {
            set(props, path, errors);
        }
        if !matches!(list_type, "atomic" | "set" | "map") {
            let known = ["atomic", "set", "map"];
            errors.push(Error::not_supported(
                &path.child(LIST_TYPE),
                list_type,
                &known,
            ));
        }
    }
    if !list_at(props, &[KEYS]).is_empty() && list_type != "map" {
        let why = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match list_type {
            "" => Error::required(&path.child(LIST_TYPE), why),
            other => Error::invalid(&path.child(LIST_TYPE), other, why),
        });
    }
    if list_type == "map" {
        map(props, path, errors);
    }
    if matches!(list_type, "map" | "set")
        && let Some(items) = schema_at(props, "items")
    {
        identified(props, items, list_type, path, errors);
    }
}

/// Whether an extension stands beside the type it is for.
fn of_type(
    props: &Value,
    wanted: &str,
    extension: &str,
    path: &Path,
    errors: &mut ErrorList,
) -> bool {
    let ty = str_at(props, &["type"]);
    if ty == wanted {
        return true;
    }
    let why = format!("must be {wanted} if {extension} is specified");
    errors.push(match ty {
        "" => Error::required(&path.child("type"), why),
        ty => Error::invalid(&path.child("type"), ty, why),
    });
    false
}

fn set(props: &Value, path: &Path, errors: &mut ErrorList) {
    const WHY: &str = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let Some(items) = schema_at(props, "items") else {
        return;
    };
    let path = path.child("items");
    let (list_type, map_type) = (str_at(items, &[LIST_TYPE]), str_at(items, &[MAP_TYPE]));
    match str_at(items, &["type"]) {
        "array" if !matches!(list_type, "" | "atomic") => {
            errors.push(Error::invalid(&path.child(LIST_TYPE), list_type, WHY));
        }
        "object" if map_type != "atomic" => {
            let shown = items.get(LIST_TYPE).cloned().unwrap_or_default();
            errors.push(Error::invalid(&path.child(MAP_TYPE), shown, WHY));
        }
        _ => {}
    }
}

fn map(props: &Value, path: &Path, errors: &mut ErrorList) {
    let keys = list_at(props, &[KEYS]);
    if keys.is_empty() {
        let why = "must not be empty if x-kubernetes-list-type is map";
        errors.push(Error::required(&path.child(KEYS), why));
    }
    let Some(items) = schema_at(props, "items") else {
        if props.get("items").is_none_or(Value::is_null) {
            let why = "must have a schema if x-kubernetes-list-type is map";
            errors.push(Error::required(&path.child("items"), why));
        }
        return;
    };
    let items_path = path.child("items");
    let ty = str_at(items, &["type"]);
    if ty != "object" {
        let why = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&items_path.child("type"), ty, why));
        return;
    }
    let mut seen = HashSet::new();
    for key in keys.iter().filter_map(Value::as_str) {
        match items
            .get("properties")
            .and_then(|properties| properties.get(key))
        {
            Some(property) if matches!(str_at(property, &["type"]), "array" | "object") => {
                let path = items_path.child("properties").key(key).child("type");
                let why = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(Error::invalid(&path, ty, why));
            }
            Some(_) => {}
            None => errors.push(Error::invalid(
                &path.child(KEYS),
                keys.to_vec(),
                "entries must all be names of item properties",
            )),
        }
        if !seen.insert(key) {
            errors.push(Error::invalid(
                &path.child(KEYS),
                keys.to_vec(),
                "must not contain duplicate entries",
            ));
        }
    }
}

/// What identifies an element must be there.
fn identified(props: &Value, items: &Value, list_type: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child("items");
    if bool_at(items, &["nullable"]) {
        let why = format!("cannot be nullable when x-kubernetes-list-type is {list_type}");
        errors.push(Error::forbidden(&path.child("nullable"), why));
    }
    if list_type != "map" {
        return;
    }
    let required = list_at(items, &["required"]);
    for key in list_at(props, &[KEYS]).iter().filter_map(Value::as_str) {
        let Some(property) = items
            .get("properties")
            .and_then(|properties| properties.get(key))
        else {
            continue;
        };
        let path = path.child("properties").key(key);
        let has_default = property
            .get("default")
            .is_some_and(|default| !default.is_null());
        if !has_default && !required.iter().any(|name| name == key) {
            errors.push(Error::required(
                &path.child("default"),
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
        if bool_at(property, &["nullable"]) {
            errors.push(Error::forbidden(
                &path.child("nullable"),
                "this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
            ));
        }
    }
}
