//! MatchResources: which requests a policy or a binding is about.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at},
    object_meta::validate_label_selector,
};
use serde_json::{Map, Value};

use super::rules;
use crate::{tree, validate};

const MATCH_POLICIES: &[&str] = &["Equivalent", "Exact"];
/// Nothing is left to mutate of what is deleted.
const MUTATED: &[&str] = &["*", "CONNECT", "CREATE", "UPDATE"];

/// Fills in what is not said.
pub(super) fn default(spec: &mut Map<String, Value>, field: &str) {
    let Some(constraints) = spec.get_mut(field).filter(|value| value.is_object()) else {
        return;
    };
    if let Some(map) = constraints.as_object_mut() {
        tree::default_value(map, "matchPolicy", "Equivalent");
        tree::default_value(map, "namespaceSelector", Map::new());
        tree::default_value(map, "objectSelector", Map::new());
    }
    rules::default(constraints, "resourceRules");
    rules::default(constraints, "excludeResourceRules");
}

pub(super) fn validate(constraints: &Value, path: &Path, errors: &mut ErrorList) {
    let policy = str_at(constraints, &["matchPolicy"]);
    validate::one_of(
        errors,
        &path.child("matchPolicy"),
        policy,
        MATCH_POLICIES,
        true,
    );
    for field in ["namespaceSelector", "objectSelector"] {
        let path = path.child(field);
        match constraints.get(field).filter(|value| !value.is_null()) {
            None => errors.push(Error::required(&path, "")),
            Some(selector) => validate_label_selector(selector, &path, errors),
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list_at(constraints, &[field]).iter().enumerate() {
            rules::validate_named(rule, &path.child(field).index(index), errors);
        }
    }
}

/// The constraints of a policy: there are some, and they say what types it is about.
pub(super) fn validate_of_policy(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("matchConstraints");
    let Some(constraints) = knarr_meta::object::struct_at(spec, &["matchConstraints"]) else {
        errors.push(Error::required(&path, ""));
        return;
    };
    validate(constraints, &path, errors);
    if list_at(constraints, &["resourceRules"]).is_empty() {
        errors.push(Error::required(&path.child("resourceRules"), ""));
    }
}

/// The operations of what mutates. Upstream names no index in these paths.
pub(super) fn validate_mutated(constraints: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("resourceRules").child("operations");
    for rule in list_at(constraints, &["resourceRules"]) {
        for operation in rules::texts(rule, "operations") {
            if !MUTATED.contains(&operation) {
                errors.push(Error::not_supported(&path, operation, MUTATED));
            }
        }
    }
}
