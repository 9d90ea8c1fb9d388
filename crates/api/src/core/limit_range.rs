//! LimitRange.

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::{self, list_at, map_at, str_at},
};
use serde_json::{Map, Value};

use super::{
    amounts::{self, Amounts, amounts},
    pod_spec::{canonicalize_resources, resources},
};
use crate::{
    kind::{BuiltIn, Part, Scope, Strategy, Verb},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "LimitRange",
    resource: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/limitranges"),
    definition: "io.k8s.api.core.v1.LimitRange",
    strategy: &LimitRange,
    aliases: &[],
};

const POD: &str = "Pod";
const CONTAINER: &str = "Container";
const CLAIM: &str = "PersistentVolumeClaim";

/// The fields of a limit that are amounts by resource.
const AMOUNTS: [&str; 5] = [
    "default",
    "defaultRequest",
    "max",
    "maxLimitRequestRatio",
    "min",
];
/// Numbers below this are compared by their thousandths.
const MAX_MILLI_VALUE: i64 = i64::MAX / 1000;

struct LimitRange;

impl Strategy for LimitRange {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
            tree::items(spec, "limits").for_each(default_limit);
        }
    }

    /// One without a name gets some, as upstream.
    fn prepare_create(&self, object: &mut Value) {
        if object::name(object).is_empty()
            && let Some(metadata) = object::metadata_mut(object)
        {
            metadata.insert("name".to_owned(), names::new_uid().into());
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("limits");
        let limits = list_at(object, &["spec", "limits"]);
        for (index, limit) in limits.iter().enumerate() {
            let path = path.index(index);
            let type_ = str_at(limit, &["type"]);
            validate_type(type_, &path.child("type"), &mut errors);
            let before = &limits[..index];
            if before.iter().any(|other| str_at(other, &["type"]) == type_) {
                errors.push(Error::duplicate(&path.child("type"), type_));
            }
            validate_limit(limit, type_, &path, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }

    fn create_on_update(&self) -> bool {
        true
    }
}

/// A container's default limit is the highest one, its default request the default limit, or the lowest request.
fn default_limit(limit: &mut Map<String, Value>) {
    for field in AMOUNTS {
        if let Some(list) = tree::existing(limit, field) {
            canonicalize_resources(list);
        }
    }
    if tree::text(limit, "type") != CONTAINER {
        return;
    }
    for (field, source) in [
        ("default", "max"),
        ("defaultRequest", "default"),
        ("defaultRequest", "min"),
    ] {
        let source = limit.get(source).and_then(Value::as_object).cloned();
        if let Some(defaults) = tree::child(limit, field) {
            for (name, value) in source.into_iter().flatten() {
                tree::default_value(defaults, &name, value);
            }
        }
    }
    for field in ["default", "defaultRequest"] {
        if map_at_is_empty(limit, field) {
            limit.remove(field);
        }
    }
}

fn map_at_is_empty(map: &Map<String, Value>, field: &str) -> bool {
    map.get(field)
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
}

fn validate_type(type_: &str, path: &Path, errors: &mut ErrorList) {
    let mut messages = names::qualified_name(type_);
    if messages.is_empty() && !type_.contains('/') && !matches!(type_, POD | CONTAINER | CLAIM) {
        messages.push("must be a standard limit type or fully qualified".to_owned());
    }
    validate::each(errors, path, type_, messages);
}

/// The amounts of one limit.
struct Limit {
    min: Amounts,
    max: Amounts,
    default: Amounts,
    request: Amounts,
    ratio: Amounts,
}

fn validate_limit(limit: &Value, type_: &str, path: &Path, errors: &mut ErrorList) {
    let read = |field: &'static str, errors: &mut ErrorList| {
        for (name, value) in map_at(limit, &[field]).into_iter().flatten() {
            let path = path.child(field).key(name);
            match type_ {
                POD | CONTAINER => resources::validate_name(name, &path, errors),
                _ => drop(amounts::validate_name(name, &path, errors)),
            }
            if amounts::amount(value).is_none() {
                let message = "must be a valid resource quantity";
                errors.push(Error::invalid(&path, value.clone(), message));
            }
        }
        amounts(limit, &[field])
    };
    let (max, min) = (read("max", errors), read("min", errors));
    let defaults = |field: &'static str, errors: &mut ErrorList| {
        if type_ != POD {
            return read(field, errors);
        }
        if map_at(limit, &[field]).is_some_and(|map| !map.is_empty()) {
            let message = "may not be specified when `type` is 'Pod'";
            errors.push(Error::forbidden(&path.child(field), message));
        }
        Amounts::new()
    };
    let default = defaults("default", errors);
    let request = defaults("defaultRequest", errors);
    if type_ == CLAIM && !min.contains_key("storage") && !max.contains_key("storage") {
        let message =
            "either minimum or maximum storage value is required, but neither was provided";
        errors.push(Error::required(&path.child("limits"), message));
    }
    let ratio = read("maxLimitRequestRatio", errors);
    let limit = Limit {
        min,
        max,
        default,
        request,
        ratio,
    };
    let all = [
        &limit.min,
        &limit.max,
        &limit.default,
        &limit.request,
        &limit.ratio,
    ];
    let names: std::collections::BTreeSet<&String> =
        all.iter().flat_map(|map| map.keys()).collect();
    for name in names {
        validate_order(&limit, name, path, errors);
        validate_ratio(&limit, name, path, errors);
        validate_overcommit(&limit, name, path, errors);
    }
}

/// min <= default request <= default <= max, as far as they are there.
fn validate_order(limit: &Limit, name: &str, path: &Path, errors: &mut ErrorList) {
    let Limit {
        min,
        max,
        default,
        request,
        ..
    } = limit;
    // The lower and the higher, as they are called; the field that is wrong, and the value shown.
    let min = (min, "min value");
    let max = (max, "max value");
    let limits = (default, "default value");
    let requests = (request, "default request value");
    let default_limit = (default, "default limit value");
    for (low, high, field, show_low) in [
        (min, max, "min", true),
        (min, requests, "defaultRequest", false),
        (requests, max, "defaultRequest", true),
        (requests, default_limit, "defaultRequest", true),
        (min, limits, "default", true),
        (limits, max, "default", false),
    ] {
        if let (Some(lower), Some(higher)) = (low.0.get(name), high.0.get(name))
            && lower > higher
        {
            let shown = if show_low { lower } else { higher };
            let (low, high) = (low.1, high.1);
            let message = format!("{low} {lower} is greater than {high} {higher}");
            let path = path.child(field).key(name);
            errors.push(Error::invalid(&path, shown.to_string(), message));
        }
    }
}

fn validate_ratio(limit: &Limit, name: &str, path: &Path, errors: &mut ErrorList) {
    let Some(ratio) = limit.ratio.get(name) else {
        return;
    };
    let path = path.child("maxLimitRequestRatio").key(name);
    if *ratio < Quantity::new(1, knarr_meta::quantity::Format::DecimalSi) {
        let message = format!("ratio {ratio} is less than 1");
        errors.push(Error::invalid(&path, ratio.to_string(), message));
    }
    let (Some(min), Some(max)) = (limit.min.get(name), limit.max.get(name)) else {
        return;
    };
    let small = [ratio, min, max]
        .iter()
        .all(|quantity| quantity.value() < MAX_MILLI_VALUE);
    let (wanted, highest) = match small {
        true => (
            ratio.milli_value() as f64 / 1000.0,
            max.milli_value() as f64 / min.milli_value() as f64,
        ),
        false => (
            ratio.value() as f64,
            max.value() as f64 / min.value() as f64,
        ),
    };
    if wanted > highest {
        let message = format!("ratio {ratio} is greater than max/min = {highest:.6}");
        errors.push(Error::invalid(&path, ratio.to_string(), message));
    }
}

/// Where more cannot be promised than there is, request and limit are one.
fn validate_overcommit(limit: &Limit, name: &str, path: &Path, errors: &mut ErrorList) {
    if resources::may_overcommit(name) {
        return;
    }
    if let (Some(default), Some(request)) = (limit.default.get(name), limit.request.get(name))
        && default != request
    {
        let message = format!(
            "default value {default} must equal to defaultRequest value {request} in {name}"
        );
        let path = path.child("defaultRequest").key(name);
        errors.push(Error::invalid(&path, request.to_string(), message));
    }
}

#[cfg(test)]
mod tests;
