//! LimitRanger: containers get a namespace's default requests and limits, and what a pod or a claim asks for stays within its
//! LimitRanges.

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use knarr_api::core::{
    amounts::{Amounts, amounts},
    pod,
};
use knarr_auth::objects::Objects;
use knarr_meta::{
    Quantity,
    object::{self, list_at, str_at},
    status::Status,
};
use serde_json::{Map, Value, json};

use super::{forbidden, is, is_pod, is_resize, parse};
use crate::request::{AdmissionPlugin, AdmissionRequest, Operation};

/// Says what was set.
const ANNOTATION: &str = "kubernetes.io/limit-ranger";
/// Amounts up to this are compared by their thousandths.
const MAX_MILLI_VALUE: i64 = i64::MAX / 1000;

/// The plugin.
pub struct LimitRanger {
    objects: Arc<dyn Objects>,
}

impl LimitRanger {
    pub fn new(objects: Arc<dyn Objects>) -> Self {
        LimitRanger { objects }
    }

    fn ranges(&self, namespace: &str) -> Vec<Value> {
        let ranges = self.objects.list("", "limitranges", namespace);
        ranges.iter().filter_map(parse).collect()
    }
}

#[async_trait]
impl AdmissionPlugin for LimitRanger {
    fn name(&self) -> &'static str {
        "LimitRanger"
    }

    fn handles(&self, request: &AdmissionRequest<'_>) -> bool {
        let claim = is(request, "", "persistentvolumeclaims") && request.subresource.is_empty();
        match request.operation {
            Operation::Create => claim || is_pod(request),
            Operation::Update => claim || is_resize(request),
            _ => false,
        }
    }

    async fn admit(&self, request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        if !is(request, "", "pods") {
            return Ok(());
        }
        let ranges = self.ranges(request.namespace);
        if let Some(pod) = request.object.as_deref_mut() {
            ranges.iter().for_each(|range| complete(pod, range));
        }
        Ok(())
    }

    async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<(), Status> {
        let deleting = |old: &Value| object::deletion_timestamp(old).is_some();
        if request.old.is_some_and(deleting) {
            return Ok(());
        }
        let Some(object) = request.object.as_deref() else {
            return Ok(());
        };
        for range in self.ranges(request.namespace) {
            let wrong = match is(request, "", "pods") {
                true => pod_errors(object, &range),
                false => claim_errors(object, &range),
            };
            if let Some(why) = aggregate(wrong) {
                return Err(forbidden(request, why));
            }
        }
        Ok(())
    }
}

/// Several errors in one, as upstream joins them.
fn aggregate(errors: Vec<String>) -> Option<String> {
    let mut seen = BTreeSet::new();
    let once: Vec<String> = errors
        .into_iter()
        .filter(|error| seen.insert(error.clone()))
        .collect();
    match &once[..] {
        [] => None,
        [one] => Some(one.clone()),
        many => Some(format!("[{}]", many.join(", "))),
    }
}

fn limits<'a>(range: &'a Value, type_: &'static str) -> impl Iterator<Item = &'a Value> {
    let all = list_at(range, &["spec", "limits"]).iter();
    all.filter(move |limit| str_at(limit, &["type"]) == type_)
}

/// Sets what containers do not say, and says so in an annotation.
fn complete(pod: &mut Value, range: &Value) {
    let (mut requests, mut most) = (Map::new(), Map::new());
    for limit in limits(range, "Container") {
        for (field, defaults) in [("defaultRequest", &mut requests), ("default", &mut most)] {
            let values = object::map_at(limit, &[field]).into_iter().flatten();
            defaults.extend(values.map(|(name, value)| (name.clone(), value.clone())));
        }
    }
    let mut told = Vec::new();
    for (list, kind) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let containers = pod
            .get_mut("spec")
            .and_then(|spec| spec.get_mut(list))
            .and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            // The limits first, the requests are told first.
            let limited = fill(container, "limits", &most);
            let requested = fill(container, "requests", &requests);
            let name = object::str_at(container, &["name"]);
            for (set, what) in [(requested, "request"), (limited, "limit")] {
                if !set.is_empty() {
                    told.push(format!("{} {what} for {kind} {name}", set.join(", ")));
                }
            }
        }
    }
    if told.is_empty() {
        return;
    }
    if let Some(annotations) = object::metadata_mut(pod).and_then(|meta| {
        let annotations = meta.entry("annotations").or_insert(Value::Null);
        if annotations.is_null() {
            *annotations = json!({});
        }
        annotations.as_object_mut()
    }) {
        let text = format!("LimitRanger plugin set: {}", told.join("; "));
        annotations.insert(ANNOTATION.to_owned(), text.into());
    }
}

/// Fills in what a list of a container's resources lacks; returns what that was.
fn fill(container: &mut Value, list: &str, defaults: &Map<String, Value>) -> Vec<String> {
    let mut set = Vec::new();
    let Some(resources) = object::child_mut(container, "resources") else {
        return set;
    };
    let entry = resources.entry(list).or_insert(Value::Null);
    if entry.is_null() {
        *entry = json!({});
    }
    if let Some(amounts) = entry.as_object_mut() {
        for (name, value) in defaults {
            if !amounts.contains_key(name) {
                amounts.insert(name.clone(), value.clone());
                set.push(name.clone());
            }
        }
    }
    if entry.as_object().is_some_and(Map::is_empty) {
        resources.remove(list);
    }
    set.sort();
    set
}

fn pod_errors(pod: &Value, range: &Value) -> Vec<String> {
    let mut errors = Vec::new();
    for limit in limits(range, "Container") {
        let all = ["containers", "initContainers"].map(|list| list_at(pod, &["spec", list]));
        for container in all.into_iter().flatten() {
            let of = |list| amounts(container, &["resources", list]);
            check(
                limit,
                "Container",
                &of("requests"),
                &of("limits"),
                &mut errors,
            );
        }
    }
    for limit in limits(range, "Pod") {
        let (requests, most) = (pod::amounts::requests(pod), pod::amounts::limits(pod));
        check(limit, "Pod", &requests, &most, &mut errors);
    }
    errors
}

/// Claims have no limits: their requests are what counts.
fn claim_errors(claim: &Value, range: &Value) -> Vec<String> {
    const TYPE: &str = "PersistentVolumeClaim";
    let requests = amounts(claim, &["spec", "resources", "requests"]);
    let mut errors = Vec::new();
    for limit in limits(range, TYPE) {
        for (name, least) in amounts(limit, &["min"]) {
            errors.extend(too_little(TYPE, &name, &least, &requests, &Amounts::new()));
        }
        for (name, most) in amounts(limit, &["max"]) {
            errors.extend(requests_too_much(TYPE, &name, &most, &requests));
        }
    }
    errors
}

fn check(limit: &Value, type_: &str, requests: &Amounts, most: &Amounts, errors: &mut Vec<String>) {
    for (name, enforced) in amounts(limit, &["min"]) {
        errors.extend(too_little(type_, &name, &enforced, requests, most));
    }
    for (name, enforced) in amounts(limit, &["max"]) {
        errors.extend(too_much(type_, &name, &enforced, requests, most));
    }
    for (name, enforced) in amounts(limit, &["maxLimitRequestRatio"]) {
        errors.extend(too_far(type_, &name, &enforced, requests, most));
    }
}

fn too_little(
    type_: &str,
    name: &str,
    least: &Quantity,
    requests: &Amounts,
    most: &Amounts,
) -> Option<String> {
    let Some(request) = requests.get(name) else {
        return Some(format!(
            "minimum {name} usage per {type_} is {least}.  No request is specified"
        ));
    };
    if request < least {
        return Some(format!(
            "minimum {name} usage per {type_} is {least}, but request is {request}"
        ));
    }
    let limit = most.get(name).filter(|limit| *limit < least)?;
    Some(format!(
        "minimum {name} usage per {type_} is {least}, but limit is {limit}"
    ))
}

fn requests_too_much(
    type_: &str,
    name: &str,
    most: &Quantity,
    requests: &Amounts,
) -> Option<String> {
    let Some(request) = requests.get(name) else {
        return Some(format!(
            "maximum {name} usage per {type_} is {most}.  No request is specified"
        ));
    };
    (request > most)
        .then(|| format!("maximum {name} usage per {type_} is {most}, but request is {request}"))
}

fn too_much(
    type_: &str,
    name: &str,
    highest: &Quantity,
    requests: &Amounts,
    most: &Amounts,
) -> Option<String> {
    let Some(limit) = most.get(name) else {
        return Some(format!(
            "maximum {name} usage per {type_} is {highest}.  No limit is specified"
        ));
    };
    if limit > highest {
        return Some(format!(
            "maximum {name} usage per {type_} is {highest}, but limit is {limit}"
        ));
    }
    let request = requests.get(name).filter(|request| *request > highest)?;
    Some(format!(
        "maximum {name} usage per {type_} is {highest}, but request is {request}"
    ))
}

/// How far a limit is above its request.
fn too_far(
    type_: &str,
    name: &str,
    enforced: &Quantity,
    requests: &Amounts,
    most: &Amounts,
) -> Option<String> {
    let zero = |quantity: &Quantity| quantity.is_zero();
    let refuse = |why: String| {
        format!("{name} max limit to request ratio per {type_} is {enforced}, but {why}")
    };
    let Some(request) = requests.get(name).filter(|request| !zero(request)) else {
        return Some(refuse("no request is specified or request is 0".to_owned()));
    };
    let Some(limit) = most.get(name).filter(|limit| !zero(limit)) else {
        return Some(refuse("no limit is specified or limit is 0".to_owned()));
    };
    let small = |quantity: &Quantity| quantity.value() <= MAX_MILLI_VALUE;
    let ratio = match small(request) && small(limit) {
        true => limit.milli_value() as f64 / request.milli_value() as f64,
        false => limit.value() as f64 / request.value() as f64,
    };
    let highest = match small(enforced) {
        true => enforced.milli_value() as f64 / 1000.0,
        false => enforced.value() as f64,
    };
    (ratio > highest).then(|| refuse(format!("provided ratio is {ratio:.6}")))
}

#[cfg(test)]
mod tests;
