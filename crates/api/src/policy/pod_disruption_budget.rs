//! PodDisruptionBudget.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{i64_at, list_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::{Value, json};

use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "policy",
    version: "v1",
    kind: "PodDisruptionBudget",
    resource: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/poddisruptionbudgets"),
    definition: "io.k8s.api.policy.v1.PodDisruptionBudget",
    strategy: &PodDisruptionBudget,
    aliases: &[],
};

struct PodDisruptionBudget;

const COLUMNS: &[Column] = &[
    NAME,
    column("Min Available", "string", "Pods that must be available."),
    column("Max Unavailable", "string", "Pods that may be unavailable."),
    column(
        "Allowed Disruptions",
        "integer",
        "Pods that may be disrupted now.",
    ),
    AGE,
];

impl Strategy for PodDisruptionBudget {
    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", new_status());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
    }

    /// Whatever can be a part of a path.
    fn validate_name(&self, _name: &str, _generate_prefix: bool) -> Vec<String> {
        Vec::new()
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate_spec(spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part) -> ErrorList {
        if part != Part::Status {
            return self.validate_create(new);
        }
        let mut errors = ErrorList::new();
        let path = Path::new("status");
        let conditions = list_at(new, &["status", "conditions"]);
        validate::conditions(conditions, &path.child("conditions"), &mut errors);
        let status = new.get("status").unwrap_or(&Value::Null);
        validate::none_negative(&mut errors, status, COUNTS, &path);
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn counts_dropped(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let limit = |field| match knarr_meta::object::at(object, &["spec", field]) {
            Some(Value::String(percent)) => percent.as_str().into(),
            Some(Value::Number(number)) => number.to_string().into(),
            _ => "N/A".into(),
        };
        let allowed = i64_at(object, &["status", "disruptionsAllowed"]);
        vec![
            table::name(object),
            limit("minAvailable"),
            limit("maxUnavailable"),
            allowed.unwrap_or_default().into(),
            table::age(object, now),
        ]
    }
}

/// The counts of a status, in upstream's order.
const COUNTS: &[&str] = &[
    "disruptionsAllowed",
    "currentHealthy",
    "desiredHealthy",
    "expectedPods",
];

/// The required fields of a status that nobody has counted yet.
fn new_status() -> Value {
    json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
}

fn validate_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let limit = |field: &str| spec.get(field).filter(|value| !value.is_null());
    if limit("minAvailable").is_some() && limit("maxUnavailable").is_some() {
        errors.push(Error::invalid(
            path,
            spec.clone(),
            "minAvailable and maxUnavailable cannot be both set",
        ));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if let Some(value) = limit(field) {
            apps::validate_int_or_percent(value, &path.child(field), errors);
            apps::validate_at_most_all(value, &path.child(field), errors);
        }
    }
    if let Some(selector) = struct_at(spec, &["selector"]) {
        validate_label_selector(selector, &path.child("selector"), errors);
    }
    validate::one_of(
        errors,
        &path.child("unhealthyPodEvictionPolicy"),
        str_at(spec, &["unhealthyPodEvictionPolicy"]),
        &["AlwaysAllow", "IfHealthyBudget"],
        false,
    );
}

#[cfg(test)]
mod tests;
