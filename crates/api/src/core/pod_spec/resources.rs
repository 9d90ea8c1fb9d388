//! Validation of resource requirements.

use std::collections::{BTreeMap, HashSet};

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    object::{list_at, map_at, str_at, struct_at},
};
use serde_json::{Value, json};

pub(crate) use crate::core::amounts::{is_extended, is_whole_resource, parse};
use crate::{
    core::{
        amounts::{self, amounts, is_native},
        pod::amounts as totals,
    },
    validate::{self, NOT_NEGATIVE},
};

fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether an amount is pages of the size that the resource's name says.
fn is_whole_pages(name: &str, quantity: &Quantity) -> bool {
    name.strip_prefix("hugepages-")
        .and_then(|size| Quantity::parse(size).ok())
        .is_some_and(|size| size.value() > 0 && quantity.value() % size.value() == 0)
}

/// Whether more of it may be promised than there is.
pub(crate) fn may_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// A rule for names of resources.
pub(crate) type NameRule = fn(&str, &Path, &mut ErrorList);

/// The name of a resource that a pod may state as a whole.
fn validate_name_of_pod(name: &str, path: &Path, errors: &mut ErrorList) {
    if amounts::validate_name(name, path, errors) && !totals::is_of_pod(name) {
        let supported = ["cpu", "hugepages-", "memory"];
        errors.push(Error::not_supported(path, name, &supported));
    }
}

/// The name of a resource that a container may have.
pub(crate) fn validate_name(name: &str, path: &Path, errors: &mut ErrorList) {
    // What is told of it as a name does not keep upstream from the rest.
    amounts::validate_name(name, path, errors);
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
            "must be a standard resource for containers",
        ));
    }
}

/// What a pod takes beside its containers, at the path of what upstream puts it into for this.
pub(crate) fn validate_overhead(overhead: &Value, path: &Path, errors: &mut ErrorList) {
    validate_list(&json!({"limits": overhead}), "limits", path, errors);
}

/// One map of resources to quantities; what parses is returned.
pub(crate) fn validate_list<'a>(
    owner: &'a Value,
    field: &'static str,
    path: &Path,
    errors: &mut ErrorList,
) -> BTreeMap<&'a str, Quantity> {
    validate_named(owner, field, validate_name, path, errors)
}

fn validate_named<'a>(
    owner: &'a Value,
    field: &'static str,
    rule: NameRule,
    path: &Path,
    errors: &mut ErrorList,
) -> BTreeMap<&'a str, Quantity> {
    let mut quantities = BTreeMap::new();
    let list_path = path.child(field);
    for (name, value) in map_at(owner, &[field]).into_iter().flatten() {
        let path = list_path.key(name);
        rule(name, &path, errors);
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
    if let Some(resources) = struct_at(container, &["resources"]) {
        validate_amounts(resources, validate_name, path, errors);
    }
}

/// The `resources` of a pod as a whole: what it states of itself, and how that agrees with its containers.
pub(super) fn validate_of_pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(resources) = struct_at(spec, &["resources"]) else {
        return;
    };
    let path = path.child("resources");
    if str_at(spec, &["os", "name"]) == "windows" {
        errors.push(Error::forbidden(&path, "may not be set for a windows pod"));
        return;
    }
    if !list_at(resources, &["claims"]).is_empty() {
        let why = "claims may not be set for Resources at pod-level";
        errors.push(Error::forbidden(&path.child("claims"), why));
    }
    validate_amounts(resources, validate_name_of_pod, &path, errors);
    for (list, only_huge) in [("requests", false), ("limits", true)] {
        let whole = amounts(resources, &[list]);
        // Pod and spec are one level apart.
        let of_containers = totals::of_containers(&json!({"spec": spec}), list);
        for (name, sum) in of_containers {
            match whole.get(&name) {
                Some(whole) if sum > *whole && (!only_huge || is_huge_page(&name)) => {
                    errors.push(Error::invalid(
                        &path.child(list).key(&name),
                        whole.to_string(),
                        format!(
                            "must be greater than or equal to aggregate container {list} of {sum}"
                        ),
                    ));
                }
                _ => {}
            }
        }
    }
    let whole = amounts(resources, &["limits"]);
    for (index, container) in list_at(spec, &["containers"]).iter().enumerate() {
        for (name, limit) in amounts(container, &["resources", "limits"]) {
            if let Some(whole) = whole.get(&name).filter(|whole| limit > **whole) {
                // Upstream's path.
                let path = path.child("containers").index(index).key(&name);
                errors.push(Error::invalid(
                    &path.child("limits"),
                    limit.to_string(),
                    format!("must be less than or equal to pod limits of {whole}"),
                ));
            }
        }
    }
}

fn validate_amounts(resources: &Value, rule: NameRule, path: &Path, errors: &mut ErrorList) {
    let limits = validate_named(resources, "limits", rule, path, errors);
    let requests = validate_named(resources, "requests", rule, path, errors);
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
                "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
            ));
        }
    }
}
