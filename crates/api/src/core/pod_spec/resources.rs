//! Validation of resource requirements.

use std::collections::{BTreeMap, HashSet};

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, map_at, str_at, struct_at},
};
use serde_json::Value;

use crate::validate::{self, NOT_NEGATIVE};

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether an amount is pages of the size that the resource's name says.
fn is_whole_pages(name: &str, quantity: &Quantity) -> bool {
    name.strip_prefix("hugepages-")
        .and_then(|size| Quantity::parse(size).ok())
        .is_some_and(|size| size.value() > 0 && quantity.value() % size.value() == 0)
}

/// Native resources have no prefix, or one of kubernetes.io.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// Whether more of it may be promised than there is.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

pub(crate) fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Resources that are counted: a half of one is nothing.
pub(crate) fn is_whole_resource(name: &str) -> bool {
    matches!(name, "pods" | "services" | "secrets" | "configmaps")
        || matches!(name, "resourcequotas" | "replicationcontrollers")
        || is_extended(name)
}

/// The amount that a value states.
pub(crate) fn parse(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

/// The name of a resource that a container may have.
pub(crate) fn validate_name(name: &str, path: &Path, errors: &mut ErrorList) {
    let messages = names::qualified_name(name);
    if !messages.is_empty() {
        for message in messages {
            errors.push(Error::invalid(path, name, message));
        }
        return;
    }
    if name.contains('/') {
        if !is_native(name) && !is_extended(name) {
            errors.push(Error::invalid(
                path,
                name,
                "doesn't follow extended resource name standard",
            ));
        }
        return;
    }
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !is_huge_page(name) {
        errors.push(Error::invalid(
            path,
            name,
            "must be a standard resource type or fully qualified",
        ));
        errors.push(Error::invalid(
            path,
            name,
            "must be a standard resource for containers",
        ));
    }
}

/// One map of resources to quantities; what parses is returned.
pub(crate) fn validate_list<'a>(
    owner: &'a Value,
    field: &'static str,
    path: &Path,
    errors: &mut ErrorList,
) -> BTreeMap<&'a str, Quantity> {
    let mut quantities = BTreeMap::new();
    let list_path = path.child(field);
    for (name, value) in map_at(owner, &[field]).into_iter().flatten() {
        let path = list_path.key(name);
        validate_name(name, &path, errors);
        let Some(quantity) = parse(value) else {
            errors.push(Error::invalid(
                &path,
                value.clone(),
                "must be a valid resource quantity",
            ));
            continue;
        };
        if quantity.is_negative() {
            errors.push(Error::invalid(&path, quantity.to_string(), NOT_NEGATIVE));
        }
        if is_extended(name) && !quantity.is_integer() {
            errors.push(Error::invalid(
                &path,
                quantity.to_string(),
                "must be an integer",
            ));
        }
        if is_huge_page(name) && !is_whole_pages(name, &quantity) {
            errors.push(Error::invalid(
                &path,
                quantity.to_string(),
                format!("{quantity} is not positive integer multiple of {name}"),
            ));
        }
        quantities.insert(name.as_str(), quantity);
    }
    quantities
}

/// The `resources` of a container.
pub(super) fn validate_requirements(container: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(resources) = struct_at(container, &["resources"]) else {
        return;
    };
    let limits = validate_list(resources, "limits", path, errors);
    let requests = validate_list(resources, "requests", path, errors);
    let request_path = path.child("requests");
    for (name, request) in &requests {
        let overcommit = is_native(name) && !is_huge_page(name);
        match limits.get(name) {
            Some(limit) if request != limit && !overcommit => errors.push(Error::invalid(
                &request_path,
                request.to_string(),
                format!("must be equal to {name} limit of {limit}"),
            )),
            Some(limit) if request > limit => errors.push(Error::invalid(
                &request_path,
                request.to_string(),
                format!("must be less than or equal to {name} limit of {limit}"),
            )),
            Some(_) => {}
            None if !overcommit => errors.push(Error::required(
                &path.child("limits"),
                "Limit must be set for non overcommitable resources",
            )),
            None => {}
        }
    }
    let mut all = limits.keys().chain(requests.keys());
    let huge = all.clone().any(|name| is_huge_page(name));
    if huge && !all.any(|name| matches!(*name, "cpu" | "memory")) {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// What a resize of each resource does to the container.
pub(super) fn validate_resize(
    container: &Value,
    restart_policy: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let mut seen = HashSet::new();
    for (index, policy) in list_at(container, &["resizePolicy"]).iter().enumerate() {
        let resource = str_at(policy, &["resourceName"]);
        if !seen.insert(resource) {
            errors.push(Error::duplicate(&path.index(index), resource));
        }
        validate::one_of(errors, path, resource, &["cpu", "memory"], true);
        let restart = str_at(policy, &["restartPolicy"]);
        let restarts = &["NotRequired", "RestartContainer"];
        validate::one_of(errors, path, restart, restarts, true);
        if restart_policy == "Never" && restart != "NotRequired" {
            errors.push(Error::invalid(
                path,
                restart,
                "must be 'NotRequired' when `restartPolicy` is 'Never'",
            ));
        }
    }
}
