//! How fast an autoscaler scales: defaults and validation of its behavior.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, list_at, str_at, struct_at},
};
use serde_json::{Map, Value, json};

use crate::{core::amounts, tree, validate};

const MAX_PERIOD_SECONDS: i64 = 1800;
const MAX_WINDOW_SECONDS: i64 = 3600;

/// Fills in both directions, where there is a behavior.
pub(super) fn default(spec: &mut Map<String, Value>) {
    let Some(behavior) = tree::existing(spec, "behavior") else {
        return;
    };
    let all = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let four = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    for (direction, policies) in [("scaleUp", json!([four, all])), ("scaleDown", json!([all]))] {
        let Some(rules) = tree::child(behavior, direction) else {
            continue;
        };
        tree::default_value(rules, "selectPolicy", "Max");
        tree::default_value(rules, "policies", policies);
        if direction == "scaleUp" {
            tree::default_value(rules, "stabilizationWindowSeconds", 0);
        }
    }
}

pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for direction in ["scaleUp", "scaleDown"] {
        if let Some(rules) = struct_at(spec, &["behavior", direction]) {
            validate_rules(rules, &path.child(direction), errors);
        }
    }
}

fn validate_rules(rules: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(seconds) = i64_at(rules, &["stabilizationWindowSeconds"]) {
        let path = path.child("stabilizationWindowSeconds");
        if seconds < 0 {
            let message = "must be greater than or equal to zero";
            errors.push(Error::invalid(&path, seconds, message));
        }
        if seconds > MAX_WINDOW_SECONDS {
            let message = format!("must be less than or equal to {MAX_WINDOW_SECONDS}");
            errors.push(Error::invalid(&path, seconds, message));
        }
    }
    if rules.get("selectPolicy").is_some_and(Value::is_string) {
        let policy = str_at(rules, &["selectPolicy"]);
        let known = ["Disabled", "Max", "Min"];
        if !known.contains(&policy) {
            errors.push(Error::not_supported(
                &path.child("selectPolicy"),
                policy,
                &known,
            ));
        }
    }
    let policies = list_at(rules, &["policies"]);
    let list = path.child("policies");
    if policies.is_empty() {
        errors.push(Error::required(&list, "must specify at least one Policy"));
    }
    for (index, policy) in policies.iter().enumerate() {
        validate_policy(policy, &list.index(index), errors);
    }
    if let Some(tolerance) = rules.get("tolerance").and_then(amounts::amount)
        && tolerance.is_negative()
    {
        let message = validate::NOT_NEGATIVE;
        errors.push(Error::invalid(
            &path.child("tolerance"),
            tolerance.to_string(),
            message,
        ));
    }
}

fn validate_policy(policy: &Value, path: &Path, errors: &mut ErrorList) {
    let type_ = str_at(policy, &["type"]);
    let known = ["Percent", "Pods"];
    if !known.contains(&type_) {
        errors.push(Error::not_supported(&path.child("type"), type_, &known));
    }
    for field in ["value", "periodSeconds"] {
        let number = i64_at(policy, &[field]).unwrap_or_default();
        if number <= 0 {
            let message = "must be greater than zero";
            errors.push(Error::invalid(&path.child(field), number, message));
        }
    }
    let period = i64_at(policy, &["periodSeconds"]).unwrap_or_default();
    if period > MAX_PERIOD_SECONDS {
        let message = format!("must be less than or equal to {MAX_PERIOD_SECONDS}");
        errors.push(Error::invalid(
            &path.child("periodSeconds"),
            period,
            message,
        ));
    }
}
