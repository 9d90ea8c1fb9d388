//! PriorityClass.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, i64_at, name, str_at},
};
use serde_json::Value;

use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "scheduling.k8s.io",
    version: "v1",
    kind: "PriorityClass",
    resource: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/priorityclasses"),
    definition: "io.k8s.api.scheduling.v1.PriorityClass",
    strategy: &PriorityClass,
    aliases: &[],
};

/// Names with this prefix are the system's.
const SYSTEM_PREFIX: &str = "system-";
/// The highest priority of classes that users make.
pub const HIGHEST_USER_DEFINABLE: i64 = 1_000_000_000;
/// The system's classes: name, value, what they are for.
pub const SYSTEM_CLASSES: &[(&str, i64, &str)] = &[
    (
        "system-node-critical",
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
    (
        "system-cluster-critical",
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
];

struct PriorityClass;

const COLUMNS: &[Column] = &[
    NAME,
    column("Value", "integer", "The priority of the class's pods."),
    column(
        "Global-Default",
        "boolean",
        "Pods without a class get this one.",
    ),
    AGE,
    column(
        "PreemptionPolicy",
        "string",
        "Whether the class's pods may displace others.",
    ),
];

/// Why a class with a name of the system's is none of them.
fn not_a_system_class(object: &Value) -> Option<String> {
    let name = name(object);
    let Some((_, value, _)) = SYSTEM_CLASSES.iter().find(|(class, _, _)| *class == name) else {
        return Some(format!("{name} is not a known system priority class"));
    };
    if i64_at(object, &["value"]) != Some(*value) {
        return Some(format!("value of {name} PriorityClass must be {value}"));
    }
    bool_at(object, &["globalDefault"])
        .then(|| format!("globalDefault of {name} PriorityClass must be false"))
}

impl Strategy for PriorityClass {
    fn undeletable(&self, name: &str) -> Option<&'static str> {
        let is_system = SYSTEM_CLASSES.iter().any(|(class, _, _)| *class == name);
        is_system.then_some("this is a system priority class and cannot be deleted")
    }

    fn default(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            tree::default_value(map, "preemptionPolicy", "PreemptLowerPriority");
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let value = i64_at(object, &["value"]).unwrap_or_default();
        let name = name(object);
        if name.starts_with(SYSTEM_PREFIX) {
            if let Some(why) = not_a_system_class(object) {
                errors.push(Error::forbidden(
                    &Path::new("metadata").child("name"),
                    format!(
                        "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
                    ),
                ));
            }
        } else if value > HIGHEST_USER_DEFINABLE {
            errors.push(Error::forbidden(
                &Path::new("value"),
                format!(
                    "maximum allowed value of a user defined priority is {HIGHEST_USER_DEFINABLE}"
                ),
            ));
        }
        validate::one_of(
            &mut errors,
            &Path::new("preemptionPolicy"),
            object
                .get("preemptionPolicy")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            &["PreemptLowerPriority", "Never"],
            true,
        );
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if i64_at(new, &["value"]).unwrap_or_default()
            != i64_at(old, &["value"]).unwrap_or_default()
        {
            errors.push(Error::forbidden(
                &Path::new("value"),
                "may not be changed in an update.",
            ));
        }
        validate::immutable(
            &mut errors,
            &Path::new("preemptionPolicy"),
            new.get("preemptionPolicy"),
            old.get("preemptionPolicy"),
        );
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    /// It stays what it was made as.
    fn changes_generation(&self, _new: &Value, _old: &Value) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            i64_at(object, &["value"]).unwrap_or_default().into(),
            bool_at(object, &["globalDefault"]).into(),
            table::age(object, now),
            str_at(object, &["preemptionPolicy"]).into(),
        ]
    }
}

#[cfg(test)]
mod tests;
