//! Validation of what a job makes of its pods' ends: podFailurePolicy, successPolicy, podReplacementPolicy.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{indexes, is_indexed};
use crate::validate;

const ACTIONS: [&str; 4] = ["Count", "FailIndex", "FailJob", "Ignore"];
const OPERATORS: [&str; 2] = ["In", "NotIn"];
const STATUSES: [&str; 3] = ["False", "True", "Unknown"];
const MAX_FAILURE_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;
const MAX_PATTERNS: usize = 20;
const MAX_SUCCESS_RULES: usize = 20;
const MAX_INDEXES_BYTES: usize = 64 * 1024;

pub(super) fn validate_replacement(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = spec.get("podReplacementPolicy").and_then(Value::as_str) else {
        return;
    };
    let supported: &[&str] = match struct_at(spec, &["podFailurePolicy"]) {
        Some(_) => &["Failed"],
        None => &["Failed", "TerminatingOrFailed"],
    };
    // A pointer in Go: "" is a policy, too, and none of these.
    if !supported.contains(&policy) {
        errors.push(Error::not_supported(path, policy, supported));
    }
}

pub(super) fn validate_failure(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = struct_at(spec, &["podFailurePolicy"]) else {
        return;
    };
    let path = path.child("rules");
    let rules = list_at(policy, &["rules"]);
    if rules.len() > MAX_FAILURE_RULES {
        errors.push(Error::too_many(&path, rules.len(), MAX_FAILURE_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_failure_rule(spec, rule, &path.index(index), errors);
    }
}

/// What upstream prints of a set: `["A" "B"]`.
fn listed(values: &[&str]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    format!("valid values: [{}]", quoted.join(" "))
}

/// One of some values, which must be there.
fn choice(value: &str, supported: &[&str], path: &Path, errors: &mut ErrorList) {
    if value.is_empty() {
        errors.push(Error::required(path, listed(supported)));
    } else if !supported.contains(&value) {
        errors.push(Error::not_supported(path, value, supported));
    }
}

fn validate_failure_rule(spec: &Value, rule: &Value, path: &Path, errors: &mut ErrorList) {
    let action = str_at(rule, &["action"]);
    choice(action, &ACTIONS, &path.child("action"), errors);
    if action == "FailIndex" && i64_at(spec, &["backoffLimitPerIndex"]).is_none() {
        let message = "requires the backoffLimitPerIndex to be set";
        errors.push(Error::invalid(&path.child("action"), action, message));
    }
    let exit_codes = struct_at(rule, &["onExitCodes"]);
    let conditions = list_at(rule, &["onPodConditions"]);
    if let Some(exit_codes) = exit_codes {
        validate_exit_codes(spec, exit_codes, &path.child("onExitCodes"), errors);
    }
    validate_conditions(conditions, &path.child("onPodConditions"), errors);
    let message = match (exit_codes.is_some(), !conditions.is_empty()) {
        (true, true) => "specifying both OnExitCodes and OnPodConditions is not supported",
        (false, false) => "specifying one of OnExitCodes and OnPodConditions is required",
        _ => return,
    };
    errors.push(Error::invalid_whole(path, message));
}

fn validate_conditions(patterns: &[Value], path: &Path, errors: &mut ErrorList) {
    if patterns.len() > MAX_PATTERNS {
        errors.push(Error::too_many(path, patterns.len(), MAX_PATTERNS));
    }
    for (index, pattern) in patterns.iter().enumerate() {
        let path = path.index(index);
        let type_ = str_at(pattern, &["type"]);
        validate::each(
            errors,
            &path.child("type"),
            type_,
            names::qualified_name(type_),
        );
        let status = str_at(pattern, &["status"]);
        choice(status, &STATUSES, &path.child("status"), errors);
    }
}

fn validate_exit_codes(spec: &Value, rule: &Value, path: &Path, errors: &mut ErrorList) {
    let operator = str_at(rule, &["operator"]);
    choice(operator, &OPERATORS, &path.child("operator"), errors);
    let containers = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| list_at(spec, &["template", "spec", list]));
    let mut names = containers.map(|container| str_at(container, &["name"]));
    if let Some(name) = rule.get("containerName").and_then(Value::as_str)
        && !names.any(|known| known == name)
    {
        errors.push(Error::invalid(
            &path.child("containerName"),
            name,
            "must be one of the container or initContainer names in the pod template",
        ));
    }
    let path = path.child("values");
    let values = list_at(rule, &["values"]);
    if values.is_empty() {
        let shown = rule.get("values").cloned().unwrap_or_default();
        errors.push(Error::invalid(
            &path,
            shown,
            "at least one value is required",
        ));
    } else if values.len() > MAX_EXIT_CODES {
        errors.push(Error::too_many(&path, values.len(), MAX_EXIT_CODES));
    }
    let codes: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    let mut seen = HashSet::new();
    for (index, code) in codes.iter().enumerate() {
        if operator == "In" && *code == 0 {
            let message = "must not be 0 for the In operator";
            errors.push(Error::invalid(&path.index(index), *code, message));
        }
        if !seen.insert(*code) {
            errors.push(Error::duplicate(&path.index(index), *code));
        }
    }
    if !codes.is_sorted() {
        errors.push(Error::invalid(&path, values.to_vec(), "must be ordered"));
    }
}

pub(super) fn validate_success(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(policy) = struct_at(spec, &["successPolicy"]) else {
        return;
    };
    if !is_indexed(spec) {
        let message = "requires indexed completion mode";
        errors.push(Error::invalid(path, policy.clone(), message));
        return;
    }
    let path = path.child("rules");
    let rules = list_at(policy, &["rules"]);
    if rules.is_empty() {
        errors.push(Error::required(
            &path,
            "at least one rules must be specified when the successPolicy is specified",
        ));
    }
    if rules.len() > MAX_SUCCESS_RULES {
        errors.push(Error::too_many(&path, rules.len(), MAX_SUCCESS_RULES));
    }
    let completions = i64_at(spec, &["completions"]).unwrap_or_default();
    for (index, rule) in rules.iter().enumerate() {
        validate_success_rule(rule, completions, &path.index(index), errors);
    }
}

fn validate_success_rule(rule: &Value, completions: i64, path: &Path, errors: &mut ErrorList) {
    let count = i64_at(rule, &["succeededCount"]);
    let listed = rule.get("succeededIndexes").and_then(Value::as_str);
    if count.is_none() && listed.is_none() {
        errors.push(Error::required(
            path,
            "at least one of succeededCount or succeededIndexes must be specified",
        ));
    }
    let mut total = 0;
    if let Some(text) = listed {
        let path = path.child("succeededIndexes");
        if text.len() > MAX_INDEXES_BYTES {
            errors.push(Error::too_long(&path, MAX_INDEXES_BYTES));
        }
        match indexes::count(text, completions) {
            Ok(count) => total = count,
            Err(error) => errors.push(Error::invalid(
                &path,
                text,
                format!("error parsing succeededIndexes: {error}"),
            )),
        }
    }
    let Some(count) = count else { return };
    let path = path.child("succeededCount");
    validate::not_negative(errors, &path, Some(count));
    let mut at_most = |limit: i64, what: &str| {
        if count > limit {
            let message = format!("must be less than or equal to {limit} ({what})");
            errors.push(Error::invalid(&path, count, message));
        }
    };
    at_most(completions, "the number of specified completions");
    if listed.is_some() {
        let what = "the number of indexes in the specified succeededIndexes field";
        at_most(total, what);
    }
}
