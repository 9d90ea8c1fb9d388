//! Which objects a quota is about.

use std::collections::BTreeSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, map_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use crate::core::amounts::is_quota_resource;

pub(super) const TERMINATING: &str = "Terminating";
pub(super) const NOT_TERMINATING: &str = "NotTerminating";
pub(super) const BEST_EFFORT: &str = "BestEffort";
pub(super) const NOT_BEST_EFFORT: &str = "NotBestEffort";
pub(super) const PRIORITY_CLASS: &str = "PriorityClass";
pub(super) const CROSS_NAMESPACE_AFFINITY: &str = "CrossNamespacePodAffinity";
const VOLUME_ATTRIBUTES_CLASS: &str = "VolumeAttributesClass";

const ALL: &[&str] = &[
    TERMINATING,
    NOT_TERMINATING,
    BEST_EFFORT,
    NOT_BEST_EFFORT,
    PRIORITY_CLASS,
    CROSS_NAMESPACE_AFFINITY,
    VOLUME_ATTRIBUTES_CLASS,
];

/// No object is in both.
const PAIRS: [[&str; 2]; 2] = [
    [BEST_EFFORT, NOT_BEST_EFFORT],
    [TERMINATING, NOT_TERMINATING],
];

/// The names in a quota's list of scopes.
pub(super) fn names(quota: &Value) -> BTreeSet<&str> {
    let scopes = list_at(quota, &["spec", "scopes"]).iter();
    scopes.filter_map(Value::as_str).collect()
}

/// Whether objects of a scope use a resource.
fn applies(scope: &str, resource: &str) -> bool {
    let of_pods = || {
        resource == "pods"
            || ["", "requests.", "limits."].iter().any(|prefix| {
                let rest = resource.strip_prefix(prefix);
                rest.is_some_and(|rest| matches!(rest, "cpu" | "memory"))
            })
    };
    match scope {
        TERMINATING
        | NOT_TERMINATING
        | NOT_BEST_EFFORT
        | PRIORITY_CLASS
        | CROSS_NAMESPACE_AFFINITY => of_pods(),
        BEST_EFFORT => resource == "pods",
        VOLUME_ATTRIBUTES_CLASS => {
            matches!(resource, "persistentvolumeclaims" | "requests.storage")
        }
        _ => true,
    }
}

/// The resources of a quota to which a scope does not apply.
fn misapplied<'a>(quota: &'a Value, scope: &'a str) -> impl Iterator<Item = &'a String> {
    let hard = map_at(quota, &["spec", "hard"]);
    let names = hard.into_iter().flat_map(Map::keys);
    names.filter(move |name| is_quota_resource(name) && !applies(scope, name))
}

pub(super) fn validate(quota: &Value, path: &Path, errors: &mut ErrorList) {
    let scopes = list_at(quota, &["spec", "scopes"]);
    let list = path.child("scopes");
    let shown = || Value::from(scopes.to_vec());
    for scope in scopes.iter().filter_map(Value::as_str) {
        if !ALL.contains(&scope) {
            errors.push(Error::invalid(&list, shown(), "unsupported scope"));
        }
        for _ in misapplied(quota, scope) {
            let message = "unsupported scope applied to resource";
            errors.push(Error::invalid(&list, shown(), message));
        }
    }
    validate_pairs(&names(quota), &list, &shown(), errors);
    if let Some(selector) = struct_at(quota, &["spec", "scopeSelector"]) {
        let path = path.child("scopeSelector").child("matchExpressions");
        validate_selector(quota, selector, &path, errors);
    }
}

fn validate_pairs(names: &BTreeSet<&str>, path: &Path, shown: &Value, errors: &mut ErrorList) {
    for pair in PAIRS {
        if pair.iter().all(|scope| names.contains(scope)) {
            errors.push(Error::invalid(path, shown.clone(), "conflicting scopes"));
        }
    }
}

fn validate_selector(quota: &Value, selector: &Value, path: &Path, errors: &mut ErrorList) {
    let mut names = BTreeSet::new();
    for rule in list_at(selector, &["matchExpressions"]) {
        let scope = str_at(rule, &["scopeName"]);
        if !ALL.contains(&scope) {
            errors.push(Error::invalid(
                &path.child("scopeName"),
                scope,
                "unsupported scope",
            ));
        }
        for _ in misapplied(quota, scope) {
            let message = "unsupported scope applied to resource";
            errors.push(Error::invalid(path, selector.clone(), message));
        }
        validate_operator(rule, scope, path, errors);
        names.insert(scope);
    }
    let scopes = Value::from(list_at(quota, &["spec", "scopes"]).to_vec());
    validate_pairs(&names, path, &scopes, errors);
}

fn validate_operator(rule: &Value, scope: &str, path: &Path, errors: &mut ErrorList) {
    let operator = str_at(rule, &["operator"]);
    let values = list_at(rule, &["values"]);
    if !matches!(scope, PRIORITY_CLASS | VOLUME_ATTRIBUTES_CLASS)
        && ALL.contains(&scope)
        && operator != "Exists"
    {
        errors.push(Error::invalid(
            &path.child("operator"),
            operator,
            "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, \
             ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity",
        ));
    }
    let path_of_values = path.child("values");
    match operator {
        "In" | "NotIn" if values.is_empty() => errors.push(Error::required(
            &path_of_values,
            "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::invalid(
            &path_of_values,
            values.to_vec(),
            "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
        _ => errors.push(Error::invalid(
            &path.child("operator"),
            operator,
            "not a valid selector operator",
        )),
    }
}
