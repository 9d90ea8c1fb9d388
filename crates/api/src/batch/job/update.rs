//! What of a job's spec may change, and when.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{at, bool_at, i64_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use super::{has_condition, is_indexed};
use crate::{tree, validate};

pub(super) fn validate(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let of = |job: &Value, field: &str| at(job, &["spec", field]).cloned();
    let immutable = |field: &'static str, errors: &mut ErrorList| {
        let (new, old) = (of(new, field), of(old, field));
        validate::immutable(errors, &path.child(field), new.as_ref(), old.as_ref());
    };
    validate_completions(new, old, errors);
    immutable("selector", errors);
    validate_template(new, old, errors);
    for field in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        immutable(field, errors);
    }
}

/// An indexed job grows and shrinks, as long as all of its pods may run at once.
fn validate_completions(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("completions");
    let number = |job: &Value, field: &str| i64_at(job, &["spec", field]);
    let (completions, before) = (number(new, "completions"), number(old, "completions"));
    if !is_indexed(new.get("spec").unwrap_or(&Value::Null)) {
        let of = |job| at(job, &["spec", "completions"]);
        validate::immutable(errors, &path, of(new), of(old));
        return;
    }
    if let Some(wanted) = completions
        && completions != before
        && completions != number(new, "parallelism")
    {
        let message = "can only be modified in tandem with spec.parallelism";
        errors.push(Error::invalid(&path, wanted, message));
    }
}

/// While a job is suspended and has no pods, where they are to run, and with which resources, may change.
fn validate_template(new: &Value, old: &Value, errors: &mut ErrorList) {
    let suspended = bool_at(old, &["spec", "suspend"]);
    let not_started = str_at(old, &["status", "startTime"]).is_empty();
    let settled = not_started || has_condition(old, "Suspended", "True");
    let active = i64_at(old, &["status", "active"]).unwrap_or_default();
    let path = Path::new("spec").child("template");
    let template = |job: &Value| at(job, &["spec", "template"]).cloned().unwrap_or_default();
    let (new, mut old) = (template(new), template(old));
    let mutable = suspended && settled && active == 0;
    if mutable {
        allow_scheduling(&mut old, &new);
    }
    if !suspended || !mutable {
        validate::immutable(errors, &path, Some(&new), Some(&old));
        return;
    }
    allow_resources(&mut old, &new);
    let spec = |template: &Value| template.get("spec").cloned();
    // Upstream's path has a dot in its last element; it prints the same.
    let path = path.child("spec");
    validate::immutable(errors, &path, spec(&new).as_ref(), spec(&old).as_ref());
}

/// Gives `old` what of `new` says where pods are to run, and by which names they go.
fn allow_scheduling(old: &mut Value, new: &Value) {
    let wanted = struct_at(new, &["spec", "affinity"]);
    let node_affinity = wanted.and_then(|affinity| affinity.get("nodeAffinity"));
    if let Some(spec) = old.get_mut("spec").and_then(Value::as_object_mut) {
        if wanted.is_some() && spec.get("affinity").is_none_or(Value::is_null) {
            spec.insert("affinity".to_owned(), Map::new().into());
        }
        if let Some(affinity) = tree::existing(spec, "affinity") {
            put(affinity, "nodeAffinity", node_affinity);
            if wanted.is_none() && affinity.is_empty() {
                spec.remove("affinity");
            }
        }
        for field in ["nodeSelector", "tolerations", "schedulingGates"] {
            put(spec, field, at(new, &["spec", field]));
        }
    }
    if let Some(old) = old.as_object_mut()
        && let Some(meta) = tree::child(old, "metadata")
    {
        for field in ["annotations", "labels"] {
            put(meta, field, at(new, &["metadata", field]));
        }
    }
}

/// Gives `old` the resources of the containers of `new`, where they are the same containers.
fn allow_resources(old: &mut Value, new: &Value) {
    for list in ["containers", "initContainers"] {
        let wanted = knarr_meta::object::list_at(new, &["spec", list]);
        let Some(spec) = old.get_mut("spec").and_then(Value::as_object_mut) else {
            return;
        };
        let containers: Vec<_> = tree::items(spec, list).collect();
        if containers.len() != wanted.len() {
            continue;
        }
        for (container, wanted) in containers.into_iter().zip(wanted) {
            if tree::text(container, "name") == str_at(wanted, &["name"]) {
                put(container, "resources", wanted.get("resources"));
            }
        }
    }
}

fn put(map: &mut Map<String, Value>, field: &str, value: Option<&Value>) {
    match value {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}
