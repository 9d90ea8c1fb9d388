//! Validation of how pods spread over a topology.

use std::collections::HashMap;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, list_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use super::scheduling;
use crate::validate;

const NOT_POSITIVE: &str = "must be greater than zero";

pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let constraints = list_at(spec, &["topologySpreadConstraints"]);
    let mut behind: HashMap<_, usize> = HashMap::new();
    for constraint in constraints {
        *behind.entry(identity(constraint)).or_default() += 1;
    }
    for (index, constraint) in constraints.iter().enumerate() {
        let repeated = behind.get_mut(&identity(constraint)).is_some_and(|left| {
            *left = left.saturating_sub(1);
            *left > 0
        });
        validate_constraint(constraint, repeated, &path.index(index), errors);
    }
}

/// Its key and action.
fn identity(constraint: &Value) -> (&str, &str) {
    let of = |field| str_at(constraint, &[field]);
    (of("topologyKey"), of("whenUnsatisfiable"))
}

/// `repeated`: one behind this one is of the same key and action, which none may be.
fn validate_constraint(constraint: &Value, repeated: bool, path: &Path, errors: &mut ErrorList) {
    let skew = i64_at(constraint, &["maxSkew"]).unwrap_or_default();
    if skew <= 0 {
        errors.push(Error::invalid(&path.child("maxSkew"), skew, NOT_POSITIVE));
    }
    let (key, action) = identity(constraint);
    if key.is_empty() {
        errors.push(Error::required(
            &path.child("topologyKey"),
            "can not be empty",
        ));
    }
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        errors.push(Error::not_supported(
            &path.child("whenUnsatisfiable"),
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
        ));
    }
    if repeated {
        errors.push(Error::duplicate(
            &path.child("{topologyKey, whenUnsatisfiable}"),
            format!("{{{key}, {action}}}"),
        ));
    }
    validate_min_domains(constraint, action, &path.child("minDomains"), errors);
    for policy in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
        validate::one_of(
            errors,
            &path.child(policy),
            str_at(constraint, &[policy]),
            &["Honor", "Ignore"],
            false,
        );
    }
    scheduling::validate_label_keys(constraint, path, errors);
    if let Some(selector) = struct_at(constraint, &["labelSelector"]) {
        validate_label_selector(selector, &path.child("labelSelector"), errors);
    }
}

fn validate_min_domains(constraint: &Value, action: &str, path: &Path, errors: &mut ErrorList) {
    let Some(domains) = i64_at(constraint, &["minDomains"]) else {
        return;
    };
    if domains <= 0 {
        errors.push(Error::invalid(path, domains, NOT_POSITIVE));
    }
    if action != "DoNotSchedule" {
        errors.push(Error::invalid(
            path,
            domains,
            format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"),
        ));
    }
}
