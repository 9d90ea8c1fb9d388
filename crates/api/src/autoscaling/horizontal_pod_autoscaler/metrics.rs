//! Validation of the metrics that an autoscaler looks at.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{Version, validate_reference, version_error};
use crate::{
    core::{amounts, pod_spec::resources},
    validate,
};

/// Types of metrics, sorted, and the field of each.
const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];
/// The fields in the order in which the first that is there is looked at.
const ORDER: [&str; 5] = [
    "object",
    "external",
    "pods",
    "resource",
    "containerResource",
];

pub(super) fn validate(spec: &Value, old: Option<&Value>, path: &Path, errors: &mut ErrorList) {
    let metrics = list_at(spec, &["metrics"]);
    // An object that was wrongly referred to may stay.
    let wrong = |metric: &Value| {
        let version = str_at(metric, &["object", "describedObject", "apiVersion"]);
        str_at(metric, &["type"]) == "Object" && version_error(version, Version::Core).is_some()
    };
    let before = old.map_or(&[][..], |old| list_at(old, &["spec", "metrics"]));
    let version = match before.iter().any(wrong) {
        true => Version::Any,
        false => Version::Core,
    };
    for (index, metric) in metrics.iter().enumerate() {
        validate_metric(metric, version, &path.index(index), errors);
    }
    let outside = |metric: &Value| matches!(str_at(metric, &["type"]), "Object" | "External");
    if i64_at(spec, &["minReplicas"]) == Some(0) && !metrics.iter().any(outside) {
        let message = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(path, message));
    }
}

fn validate_metric(metric: &Value, version: Version, path: &Path, errors: &mut ErrorList) {
    let type_ = str_at(metric, &["type"]);
    let known = SOURCES.map(|(type_, _)| type_);
    if type_.is_empty() {
        let message = "must specify a metric source type";
        errors.push(Error::required(&path.child("type"), message));
    }
    let unknown = |errors: &mut ErrorList| {
        errors.push(Error::not_supported(&path.child("type"), type_, &known));
    };
    if !known.contains(&type_) {
        unknown(errors);
    }
    let present: Vec<&'static str> = ORDER
        .into_iter()
        .filter(|field| struct_at(metric, &[field]).is_some())
        .collect();
    if let Some(field) = present.first()
        && let Some(source) = struct_at(metric, &[field])
    {
        validate_source(field, source, version, &path.child(*field), errors);
    }
    let wanted = SOURCES.iter().find(|(name, _)| *name == type_);
    match wanted {
        Some((_, field)) if !present.contains(field) => errors.push(Error::required(
            &path.child(*field),
            "must populate information for the given metric source",
        )),
        Some(_) => {}
        None => unknown(errors),
    }
    if present.len() != 1 {
        let others = present
            .iter()
            .filter(|field| wanted.is_none_or(|(_, w)| w != *field));
        for field in others {
            let message = "must populate the given metric source only";
            errors.push(Error::forbidden(&path.child(*field), message));
        }
    }
}

fn validate_source(
    field: &str,
    source: &Value,
    version: Version,
    path: &Path,
    errors: &mut ErrorList,
) {
    match field {
        "object" => {
            let described = source.get("describedObject").unwrap_or(&Value::Null);
            validate_reference(described, version, &path.child("describedObject"), errors);
        }
        "containerResource" => validate_container(source, path, errors),
        "resource" if str_at(source, &["name"]).is_empty() => {
            errors.push(Error::required(
                &path.child("name"),
                "must specify a resource name",
            ));
        }
        _ => {}
    }
    if matches!(field, "object" | "external" | "pods") {
        validate_identifier(source, &path.child("metric"), errors);
    }
    let target = source.get("target").unwrap_or(&Value::Null);
    let path = path.child("target");
    validate_target(target, &path, errors);
    let has = |field: &str| target.get(field).is_some_and(|value| !value.is_null());
    let (wanted, other, lacking, both) = match field {
        "object" => (
            "averageValue",
            "value",
            "must set either a target value or averageValue",
            None,
        ),
        "external" => (
            "averageValue",
            "value",
            "must set either a target value for metric or a per-pod target",
            Some((
                "value",
                "may not set both a target value for metric and a per-pod target",
            )),
        ),
        "pods" => (
            "averageValue",
            "averageValue",
            "must specify a positive target averageValue",
            None,
        ),
        _ => (
            "averageUtilization",
            "averageValue",
            "must set either a target raw value or a target utilization",
            Some((
                "averageValue",
                "may not set both a target raw value and a target utilization",
            )),
        ),
    };
    if !has(wanted) && !has(other) {
        errors.push(Error::required(&path.child(wanted), lacking));
    }
    if let Some((field, message)) = both.filter(|_| has(wanted) && has(other)) {
        errors.push(Error::forbidden(&path.child(field), message));
    }
}

fn validate_container(source: &Value, path: &Path, errors: &mut ErrorList) {
    match str_at(source, &["name"]) {
        "" => errors.push(Error::required(
            &path.child("name"),
            "must specify a resource name",
        )),
        name => resources::validate_name(name, &path.child("name"), errors),
    }
    match str_at(source, &["container"]) {
        "" => errors.push(Error::required(
            &path.child("container"),
            "must specify a container",
        )),
        container => validate::label(errors, &path.child("container"), container),
    }
}

fn validate_identifier(source: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("name");
    match str_at(source, &["metric", "name"]) {
        "" => errors.push(Error::required(&path, "must specify a metric name")),
        name => validate::each(errors, &path, name, names::path_segment(name, false)),
    }
}

fn validate_target(target: &Value, path: &Path, errors: &mut ErrorList) {
    let type_ = str_at(target, &["type"]);
    if type_.is_empty() {
        let message = "must specify a metric target type";
        errors.push(Error::required(&path.child("type"), message));
    }
    if !matches!(type_, "Utilization" | "Value" | "AverageValue") {
        let message = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&path.child("type"), type_, message));
    }
    for field in ["value", "averageValue"] {
        let Some(value) = target.get(field).filter(|value| !value.is_null()) else {
            continue;
        };
        let positive = |q: knarr_meta::Quantity| !q.is_negative() && !q.is_zero();
        if !amounts::amount(value).is_some_and(positive) {
            let message = "must be positive";
            errors.push(Error::invalid(&path.child(field), value.clone(), message));
        }
    }
    if let Some(percent) = i64_at(target, &["averageUtilization"]).filter(|percent| *percent < 1) {
        let message = "must be greater than 0";
        errors.push(Error::invalid(
            &path.child("averageUtilization"),
            percent,
            message,
        ));
    }
}
