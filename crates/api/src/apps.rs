//! apps/v1.

pub mod controller_revision;
pub mod daemon_set;
pub mod deployment;
pub mod replica_set;
pub mod stateful_set;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    names,
    object::{self, at, i64_at, label, list_at, map_at, str_at, struct_at},
    object_meta::validate_label_selector,
    status::Status,
};
use serde_json::{Map, Value};

use crate::{
    core::pod_spec,
    kind::{Column, Part},
    table::wide,
    tree, validate,
};

/// Defaults of spec.template.
pub(crate) fn default_template(spec: &mut Map<String, Value>) {
    if let Some(template) = tree::child(spec, "template")
        && let Some(pod) = tree::child(template, "spec")
    {
        pod_spec::default_pod_spec(pod);
    }
}

/// Columns of a workload's template, behind the others, and their cells.
pub(crate) const CONTAINERS: Column = wide(
    "Containers",
    "string",
    "Names of the template's containers.",
);
pub(crate) const IMAGES: Column = wide("Images", "string", "Images of the template's containers.");

/// The cells of [`CONTAINERS`] and [`IMAGES`].
pub(crate) fn template_cells(object: &Value) -> [Value; 2] {
    let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
    let (names, images) = pod_spec::names_and_images(template);
    [names.into(), images.into()]
}

/// What an update through this part may not change: the status, or all but it.
pub(crate) fn keep_other_part(new: &mut Value, old: &Value, part: Part) {
    let kept = if part == Part::Status {
        "spec"
    } else {
        "status"
    };
    tree::keep(new, old, kept);
}

/// What Deployments and ReplicaSets share: replicas, selector, template.
fn validate_workload(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    validate::none_negative(errors, spec, &["replicas", "minReadySeconds"], &path);
    let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
    let template_path = path.child("template");
    let path = path.child("selector");
    let selector = struct_at(object, &["spec", "selector"]);
    match selector {
        None => errors.push(Error::required(&path, "")),
        Some(tree) => {
            validate_label_selector(tree, &path, errors);
            let empty = map_at(tree, &["matchLabels"]).is_none_or(Map::is_empty)
                && list_at(tree, &["matchExpressions"]).is_empty();
            if empty {
                errors.push(Error::invalid(
                    &path,
                    tree.clone(),
                    "empty selector is invalid for deployment",
                ));
            }
        }
    }
    match Selector::from_value(selector) {
        Err(_) => errors.push(Error::invalid(
            &path,
            selector.cloned().unwrap_or_default(),
            "invalid label selector",
        )),
        Ok(selector) => {
            if !selector.is_empty() && !selector.matches_with(|key| label(template, key)) {
                errors.push(Error::invalid(
                    &template_path.child("metadata").child("labels"),
                    at(template, &["metadata", "labels"])
                        .cloned()
                        .unwrap_or_default(),
                    "`selector` does not match template `labels`",
                ));
            }
            validate_template(template, "ReplicaSet", &template_path, errors);
        }
    }
}

/// `kind` is what errors call the owner of the template.
pub(crate) fn validate_template(template: &Value, kind: &str, path: &Path, errors: &mut ErrorList) {
    pod_spec::validate_template(template, path, errors);
    validate_forever(template, kind, path, errors);
}

/// Pods of a workload run until they are deleted.
fn validate_forever(template: &Value, kind: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child("spec");
    let policy = str_at(template, &["spec", "restartPolicy"]);
    if policy != "Always" {
        errors.push(Error::not_supported(
            &path.child("restartPolicy"),
            policy,
            &["Always"],
        ));
    }
    if i64_at(template, &["spec", "activeDeadlineSeconds"]).is_some() {
        errors.push(Error::forbidden(
            &path.child("activeDeadlineSeconds"),
            format!("activeDeadlineSeconds in {kind} is not Supported"),
        ));
    }
}

fn validate_selector_kept(new: &Value, old: &Value, errors: &mut ErrorList) {
    validate::immutable(
        errors,
        &Path::new("spec").child("selector"),
        at(new, &["spec", "selector"]),
        at(old, &["spec", "selector"]),
    );
}

/// Counts of a status: none is negative, and none of `parts` is greater than `replicas`.
pub(crate) fn validate_counts(object: &Value, parts: &[&'static str], errors: &mut ErrorList) {
    let path = Path::new("status");
    let count = |field: &str| i64_at(object, &["status", field]).unwrap_or_default();
    for field in ["observedGeneration", "replicas"].iter().chain(parts) {
        validate::not_negative(errors, &path.child(*field), Some(count(field)));
    }
    for field in parts {
        if count(field) > count("replicas") {
            errors.push(Error::invalid(
                &path.child(*field),
                count(field),
                "cannot be greater than status.replicas",
            ));
        }
    }
    if count("availableReplicas") > count("readyReplicas") {
        errors.push(Error::invalid(
            &path.child("availableReplicas"),
            count("availableReplicas"),
            "cannot be greater than readyReplicas",
        ));
    }
}

/// status.collisionCount: not negative, and never less than before.
fn validate_collisions(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("collisionCount");
    let collisions = |object: &Value| i64_at(object, &["status", "collisionCount"]);
    validate::not_negative(errors, &path, collisions(new));
    if collisions(new) < collisions(old) {
        let count = collisions(new).unwrap_or_default();
        errors.push(Error::invalid(&path, count, "cannot be decremented"));
    }
}

/// The number, and whether it is a percentage.
fn int_or_percent(value: &Value) -> (i64, bool) {
    match value {
        Value::String(text) => {
            let number = text
                .strip_suffix('%')
                .and_then(|digits| digits.parse().ok());
            (number.unwrap_or_default(), number.is_some())
        }
        other => (other.as_i64().unwrap_or_default(), false),
    }
}

/// A number that is not negative, or a percentage.
pub(crate) fn validate_int_or_percent(value: &Value, path: &Path, errors: &mut ErrorList) {
    match value {
        Value::String(text) => validate::each(errors, path, text, names::percent(text)),
        other => validate::not_negative(errors, path, other.as_i64()),
    }
}

pub(crate) fn validate_at_most_all(value: &Value, path: &Path, errors: &mut ErrorList) {
    let (number, percent) = int_or_percent(value);
    if percent && number > 100 {
        errors.push(Error::invalid(
            path,
            value.clone(),
            "must not be greater than 100%",
        ));
    }
}

fn selector_text(object: &Value) -> Option<String> {
    Selector::from_value(at(object, &["spec", "selector"]))
        .ok()
        .map(|selector| selector.to_string())
}

/// spec.replicas, status.replicas and the selector as text.
fn scale(object: &Value) -> Option<(i64, i64, String)> {
    Some((
        i64_at(object, &["spec", "replicas"]).unwrap_or_default(),
        i64_at(object, &["status", "replicas"]).unwrap_or_default(),
        selector_text(object)?,
    ))
}

pub(crate) fn set_scale(object: &mut Value, replicas: i64) -> Result<(), Status> {
    let spec = object::child_mut(object, "spec")
        .ok_or_else(|| Status::internal("the object has no spec"))?;
    spec.insert("replicas".to_owned(), replicas.into());
    Ok(())
}

#[cfg(test)]
mod tests;
