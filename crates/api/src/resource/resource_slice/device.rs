//! One device of a slice.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, list_at, map_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{attributes, capacity, validate_counters};
use crate::{
    core::pod_spec::validate_node_selector,
    resource::{bounded, names, taints},
    tree,
};

const MAX_ATTRIBUTES_AND_CAPACITIES: usize = 32;
const MAX_TAINTS: usize = 16;
const MAX_CONSUMPTIONS: usize = 2;

/// `by_itself`: the device says which nodes it is on, not the slice. What `old` has need not be right any more.
pub(super) fn validate(
    device: &Value,
    old: Option<&Value>,
    by_itself: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let same = |field| old.is_some_and(|old| tree::same(old.get(field), device.get(field)));
    names::label(str_at(device, &["name"]), &path.child("name"), errors);
    let maps = ["attributes", "capacity"].map(|field| map_at(device, &[field]));
    let count: usize = maps.iter().map(|map| map.map_or(0, Map::len)).sum();
    if count > MAX_ATTRIBUTES_AND_CAPACITIES {
        let why = format!(
            "the total number of attributes and capacities must not exceed {MAX_ATTRIBUTES_AND_CAPACITIES}"
        );
        errors.push(Error::invalid(path, count, why));
    }
    let [attributes, capacities] = maps;
    let at = path.child("attributes");
    let shown = names::MAX_QUALIFIED_BYTES;
    let rule = attributes::validate;
    bounded::map(attributes, None, shown, &at, errors, names::qualified, rule);
    if !same("capacity") {
        let shared = bool_at(device, &["allowMultipleAllocations"]);
        let at = path.child("capacity");
        let rule = |value: &Value, path: &Path, errors: &mut ErrorList| {
            capacity::validate(value, shared, path, errors);
        };
        bounded::map(capacities, None, shown, &at, errors, names::qualified, rule);
    }
    if !same("taints") {
        let at = path.child("taints");
        let list = list_at(device, &["taints"]);
        bounded::slice(list, MAX_TAINTS, &at, errors, |taint, path, errors| {
            taints::validate(taint, None, path, errors);
        });
    }
    bounded::set(
        list_at(device, &["consumesCounters"]),
        MAX_CONSUMPTIONS,
        &path.child("consumesCounters"),
        errors,
        |consumption| str_at(consumption, &["counterSet"]).to_owned(),
        |consumption, path, errors| {
            let set = str_at(consumption, &["counterSet"]);
            names::required_label(set, &path.child("counterSet"), errors);
            validate_counters(consumption, path, errors);
        },
    );
    match by_itself {
        true => validate_nodes(device, path, errors),
        false => refuse_nodes(device, path, errors),
    }
    bounded::binding_conditions(device, path, errors);
}

fn refuse_nodes(device: &Value, path: &Path, errors: &mut ErrorList) {
    let fields = ["nodeName", "nodeSelector", "allNodes"];
    let is_set = |field: &&str| device.get(*field).is_some_and(|value| !value.is_null());
    if fields.iter().any(is_set) {
        let why = "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
        errors.push(Error::invalid(path, Value::Null, why));
    }
}

fn validate_nodes(device: &Value, path: &Path, errors: &mut ErrorList) {
    const WHY: &str = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec";
    let mut set = Vec::new();
    match device.get("nodeName").and_then(Value::as_str) {
        None => {}
        Some("") => {
            let path = path.child("nodeName");
            errors.push(Error::invalid(&path, "", "must not be empty"));
        }
        Some(name) => {
            set.push("`nodeName`");
            names::node(name, &path.child("nodeName"), errors);
        }
    }
    if let Some(selector) = struct_at(device, &["nodeSelector"]) {
        set.push("`nodeSelector`");
        validate_node_selector(selector, &path.child("nodeSelector"), errors);
    }
    match device.get("allNodes").and_then(Value::as_bool) {
        None => {}
        Some(true) => set.push("`allNodes`"),
        Some(false) => {
            let why = "must be either unset or set to true";
            errors.push(Error::invalid(&path.child("allNodes"), false, why));
        }
    }
    match set.len() {
        0 => errors.push(Error::required(path, WHY)),
        1 => {}
        _ => {
            let set = format!("{{{}}}", set.join(", "));
            errors.push(Error::invalid(path, set, WHY));
        }
    }
}
