//! Validation of how pods spread over a topology.

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
    for (index, constraint) in constraints.iter().enumerate() {
        let rest = &constraints[index + 1..];
        validate_constraint(constraint, rest, &path.index(index), errors);
    }
}

/// `rest`: the constraints behind this one, none of which may be of the same key and action.
fn validate_constraint(constraint: &Value, rest: &[Value], path: &Path, errors: &mut ErrorList) {
    let skew = i64_at(constraint, &["maxSkew"]).unwrap_or_default();
    if skew <= 0 {
        errors.push(Error::invalid(&path.child("maxSkew"), skew, NOT_POSITIVE));
    }
    let key = str_at(constraint, &["topologyKey"]);
    if key.is_empty() {
        errors.push(Error::required(
            &path.child("topologyKey"),
            "can not be empty",
        ));
    }
    let action = str_at(constraint, &["whenUnsatisfiable"]);
    if !matches!(action, "DoNotSchedule" | "ScheduleAnyway") {
        errors.push(Error::not_supported(
            &path.child("whenUnsatisfiable"),
            action,
            &["DoNotSchedule", "ScheduleAnyway"],
        ));
    }
    let same = |other: &Value| {
        str_at(other, &["topologyKey"]) == key && str_at(other, &["whenUnsatisfiable"]) == action
    };
    if rest.iter().any(same) {
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
