//! Which requests are meant: operations, groups, versions, resources, scope. Paths and words are upstream's
//! (`pkg/apis/admissionregistration/validation`).

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::list_at,
};
use serde_json::Value;

use crate::validate;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];

/// The texts of a list.
pub(super) fn texts<'v>(owner: &'v Value, field: &str) -> Vec<&'v str> {
    let list = list_at(owner, &[field]).iter();
    list.map(|text| text.as_str().unwrap_or_default()).collect()
}

/// A RuleWithOperations.
pub(super) fn validate(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let operations = texts(rule, "operations");
    let at = path.child("operations");
    if operations.is_empty() {
        errors.push(Error::required(&at, ""));
    }
    alone(rule, "operations", "operations", path, errors);
    for (index, operation) in operations.iter().enumerate() {
        if !OPERATIONS.contains(operation) {
            errors.push(Error::not_supported(
                &at.index(index),
                *operation,
                OPERATIONS,
            ));
        }
    }
    for (field, what) in [("apiGroups", "API groups"), ("apiVersions", "API versions")] {
        if texts(rule, field).is_empty() {
            errors.push(Error::required(&path.child(field), ""));
        }
        alone(rule, field, what, path, errors);
    }
    for (index, version) in texts(rule, "apiVersions").iter().enumerate() {
        if version.is_empty() {
            errors.push(Error::required(&path.child("apiVersions").index(index), ""));
        }
    }
    resources(rule, &path.child("resources"), errors);
    if let Some(scope) = rule.get("scope").filter(|scope| !scope.is_null())
        && !SCOPES.contains(&scope.as_str().unwrap_or_default())
    {
        errors.push(Error::not_supported(
            &path.child("scope"),
            scope.clone(),
            SCOPES,
        ));
    }
}

/// `*` stands alone in a list.
fn alone(rule: &Value, field: &'static str, what: &str, path: &Path, errors: &mut ErrorList) {
    let list = texts(rule, field);
    if list.len() > 1 && list.contains(&"*") {
        let why = format!("if '*' is present, must not specify other {what}");
        errors.push(Error::invalid(&path.child(field), list, why));
    }
}

fn resources(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let resources = texts(rule, "resources");
    if resources.is_empty() {
        errors.push(Error::required(path, ""));
    }
    // `x/*` and `*/x` that came before.
    let (mut all_of, mut of_all) = (HashSet::new(), HashSet::new());
    let mut has_plain = false;
    for (index, resource) in resources.iter().enumerate() {
        let path = path.index(index);
        if resource.is_empty() {
            errors.push(Error::required(&path, ""));
            continue;
        }
        let Some((of, sub)) = resource.split_once('/') else {
            has_plain = *resource != "*";
            continue;
        };
        if all_of.contains(of) {
            let why = format!("if '{of}/*' is present, must not specify {resource}");
            errors.push(Error::invalid(&path, *resource, why));
        }
        if of_all.contains(sub) {
            let why = format!("if '*/{sub}' is present, must not specify {resource}");
            errors.push(Error::invalid(&path, *resource, why));
        }
        if sub == "*" {
            all_of.insert(of);
        }
        if of == "*" {
            of_all.insert(sub);
        }
    }
    if resources.len() > 1 && resources.contains(&"*/*") {
        let why = "if '*/*' is present, must not specify other resources";
        errors.push(Error::invalid(path, resources.clone(), why));
    }
    if resources.contains(&"*") && has_plain {
        let why = "if '*' is present, must not specify other resources without subresources";
        errors.push(Error::invalid(path, resources, why));
    }
}

/// Puts in the scope that the rules in a field have where they say none.
pub(super) fn default(owner: &mut Value, field: &str) {
    let rules = owner.get_mut(field).and_then(Value::as_array_mut);
    for rule in rules.into_iter().flatten() {
        if let Some(rule) = rule.as_object_mut() {
            crate::tree::default_value(rule, "scope", "*");
        }
    }
}

/// A NamedRuleWithOperations: a rule that may also say names of objects.
pub(super) fn validate_named(rule: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, name) in texts(rule, "resourceNames").into_iter().enumerate() {
        let path = path.child("resourceNames").index(index);
        let wrong = knarr_meta::names::path_segment(name, false);
        validate::each(errors, &path, name, wrong);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
    validate(rule, path, errors);
}
