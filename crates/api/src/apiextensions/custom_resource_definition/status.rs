//! Conditions, accepted names and stored versions.

use std::collections::BTreeMap;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, list_at, str_at},
    time,
};
use serde_json::{Value, json};

use super::{names, versions};

/// The conditions of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Established,
    NamesAccepted,
    NonStructuralSchema,
    Terminating,
    ApprovalPolicyConformant,
}

impl Condition {
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::Established => "Established",
            Condition::NamesAccepted => "NamesAccepted",
            Condition::NonStructuralSchema => "NonStructuralSchema",
            Condition::Terminating => "Terminating",
            Condition::ApprovalPolicyConformant => "KubernetesAPIApprovalPolicyConformant",
        }
    }
}

/// A condition, where the definition has it.
pub fn condition(definition: &Value, condition: Condition) -> Option<&Value> {
    let all = list_at(definition, &["status", "conditions"]);
    all.iter()
        .find(|one| str_at(one, &["type"]) == condition.as_str())
}

/// Whether a condition is there and `True`.
pub fn is_true(definition: &Value, of: Condition) -> bool {
    condition(definition, of).is_some_and(|one| str_at(one, &["status"]) == "True")
}

/// Sets a condition; its transition time changes with its status. True where anything did.
pub fn set_condition(
    definition: &mut Value,
    of: Condition,
    status: &str,
    reason: &str,
    message: &str,
) -> bool {
    let before = condition(definition, of);
    let same = |field: &str, value: &str| before.is_some_and(|one| str_at(one, &[field]) == value);
    if same("status", status) && same("reason", reason) && same("message", message) {
        return false;
    }
    let since = match before.filter(|_| same("status", status)) {
        Some(one) => str_at(one, &["lastTransitionTime"]).to_owned(),
        None => time::now_seconds(),
    };
    let wanted = json!({
        "type": of.as_str(), "status": status, "reason": reason, "message": message, "lastTransitionTime": since,
    });
    let Some(map) = knarr_meta::object::child_mut(definition, "status") else {
        return false;
    };
    let all = map.entry("conditions").or_insert_with(|| json!([]));
    if all.is_null() {
        *all = json!([]);
    }
    let Some(all) = all.as_array_mut() else {
        return false;
    };
    match all
        .iter_mut()
        .find(|one| str_at(one, &["type"]) == of.as_str())
    {
        Some(one) => *one = wanted,
        None => all.push(wanted),
    }
    true
}

pub(super) fn validate(definition: &Value) -> ErrorList {
    let empty = Value::Null;
    let accepted = definition
        .get("status")
        .and_then(|status| status.get("acceptedNames"));
    names::validate(
        accepted.unwrap_or(&empty),
        &Path::new("status").child("acceptedNames"),
    )
}

/// Versions that may still be in the store are declared.
pub(super) fn validate_stored_versions(definition: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status").child("storedVersions");
    let stored = list_at(definition, &["status", "storedVersions"]);
    if stored.is_empty() {
        errors.push(Error::invalid(
            &path,
            Value::Null,
            "must have at least one stored version",
        ));
        return errors;
    }
    let names = stored.iter().map(|name| name.as_str().unwrap_or_default());
    let mut unseen: BTreeMap<&str, usize> = names.zip(0..).collect();
    for version in versions(definition) {
        let name = str_at(version, &["name"]);
        // One that is declared twice is stored once, as upstream counts.
        if unseen.remove(name).is_none() && bool_at(version, &["storage"]) {
            let why = format!("must have the storage version {name}");
            errors.push(Error::invalid(&path, stored.to_vec(), why));
        }
    }
    for (name, index) in unseen {
        let why = format!(
            "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a \
             storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
        );
        errors.push(Error::invalid(&path.index(index), name, why));
    }
    errors
}
