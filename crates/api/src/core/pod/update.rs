//! What updates of a pod may change.

use std::collections::{BTreeSet, HashSet};

use knarr_meta::{
    field::{Error, ErrorList, Path, quote},
    names,
    object::{i64_at, list_at, str_at},
};
use serde_json::Value;

use super::gated;
use crate::{
    core::pod_spec::{self, Within, validate_tolerations},
    tree::same,
};

const MAX_I32: i64 = i32::MAX as i64;

const OTHER_FIELDS: &str = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// An update of the pod itself. The order of checks is upstream's: a changed number of containers ends it.
pub(super) fn validate_main(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let (new, old) = (
        new.get("spec").unwrap_or(&Value::Null),
        old.get("spec").unwrap_or(&Value::Null),
    );
    // What was valid when it was written stays so; most updates change metadata only.
    if same(Some(new), Some(old)) {
        return errors;
    }
    pod_spec::validate_pod_spec(new, Within::StoredPod, &path, &mut errors);
    for list in ["containers", "initContainers"] {
        let (new, old) = (list_at(new, &[list]), list_at(old, &[list]));
        let path = path.child(list);
        if new.len() != old.len() {
            errors.push(Error::forbidden(
                &path,
                "pod updates may not add or remove containers",
            ));
            return errors;
        }
        for (index, container) in new.iter().enumerate() {
            if str_at(container, &["image"]).is_empty() {
                let path = path.index(index).child("image");
                errors.push(Error::required(&path, ""));
            }
        }
    }
    if !validate_deadline(new, old, &path, &mut errors) {
        return errors;
    }
    validate_added_tolerations(new, old, &path.child("tolerations"), &mut errors);
    validate_removed_gates(new, old, &path.child("schedulingGates"), &mut errors);
    gated::validate(new, old, &path, &mut errors);
    let changes = other_changes(new, old);
    if !changes.is_empty() {
        errors.push(Error::forbidden(
            &path,
            format!("{OTHER_FIELDS}\n{}", changes.join("\n")),
        ));
    }
    errors
}

/// False ends validation.
fn validate_deadline(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) -> bool {
    let path = path.child("activeDeadlineSeconds");
    let before = i64_at(old, &["activeDeadlineSeconds"]);
    match (i64_at(new, &["activeDeadlineSeconds"]), before) {
        (Some(seconds), _) if !(0..=MAX_I32).contains(&seconds) => {
            let message = names::range_message(0, MAX_I32);
            errors.push(Error::invalid(&path, seconds, message));
            false
        }
        (Some(seconds), Some(before)) if before < seconds => {
            errors.push(Error::invalid(
                &path,
                seconds,
                "must be less than or equal to previous value",
            ));
            false
        }
        (None, Some(_)) => {
            errors.push(Error::invalid(
                &path,
                Value::Null,
                "must not update from a positive integer to nil value",
            ));
            true
        }
        _ => true,
    }
}

fn validate_added_tolerations(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let now = list_at(new, &["tolerations"]);
    fn identity(toleration: &Value) -> [&str; 4] {
        ["key", "operator", "value", "effect"].map(|field| str_at(toleration, &[field]))
    }
    let there: HashSet<_> = now.iter().map(identity).collect();
    let mut before = list_at(old, &["tolerations"]).iter().map(identity);
    if before.all(|toleration| there.contains(&toleration)) {
        validate_tolerations(now, path, errors);
    } else {
        errors.push(Error::forbidden(
            path,
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
}

fn validate_removed_gates(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let before = list_at(old, &["schedulingGates"]).iter();
    let before: HashSet<&str> = before.map(|gate| str_at(gate, &["name"])).collect();
    for (index, gate) in list_at(new, &["schedulingGates"]).iter().enumerate() {
        let name = str_at(gate, &["name"]);
        if !before.contains(name) {
            errors.push(Error::forbidden(
                &path.index(index).child("name"),
                format!("only deletion is allowed, but found new scheduling gate '{name}'"),
            ));
        }
    }
}

/// Changed fields that may not change, one line each.
fn other_changes(new: &Value, old: &Value) -> Vec<String> {
    const FREE: &[&str] = &["activeDeadlineSeconds", "tolerations", "schedulingGates"];
    let mut changes = Vec::new();
    for field in changed_fields(new, old) {
        let (now, before) = (new.get(field), old.get(field));
        match field {
            _ if FREE.contains(&field) || gated::may_change(field, new, old) => {}
            "containers" | "initContainers" => {
                let pairs = list_at(new, &[field]).iter().zip(list_at(old, &[field]));
                for (index, (now, before)) in pairs.enumerate() {
                    container_changes(&format!("{field}[{index}]"), now, before, &mut changes);
                }
            }
            "terminationGracePeriodSeconds"
                if now.and_then(Value::as_i64) == Some(1)
                    && before.and_then(Value::as_i64).is_some_and(|s| s < 0) => {}
            _ => changes.push(change(field, now, before)),
        }
    }
    changes
}

/// The names of fields that differ, sorted.
fn changed_fields<'a>(new: &'a Value, old: &'a Value) -> BTreeSet<&'a str> {
    [new, old]
        .into_iter()
        .filter_map(Value::as_object)
        .flat_map(|map| map.keys())
        .map(String::as_str)
        .filter(|field| !same(new.get(field), old.get(field)))
        .collect()
}

fn container_changes(name: &str, now: &Value, before: &Value, changes: &mut Vec<String>) {
    for field in changed_fields(now, before) {
        if field != "image" {
            let name = format!("{name}.{field}");
            changes.push(change(&name, now.get(field), before.get(field)));
        }
    }
}

fn change(field: &str, now: Option<&Value>, before: Option<&Value>) -> String {
    let show = |value: Option<&Value>| value.map_or_else(|| "null".to_owned(), Value::to_string);
    format!("  {field}: - {} + {}", show(before), show(now))
}

/// An update through `/ephemeralcontainers`: containers are only added.
pub(super) fn validate_ephemeral(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let spec = new.get("spec").unwrap_or(&Value::Null);
    pod_spec::validate_pod_spec(spec, Within::StoredPod, &path, &mut errors);
    let path = path.child("ephemeralContainers");
    let now = list_at(new, &["spec", "ephemeralContainers"]);
    for before in list_at(old, &["spec", "ephemeralContainers"]) {
        let name = str_at(before, &["name"]);
        let what = match now.iter().find(|c| str_at(c, &["name"]) == name) {
            None => "removed",
            Some(container) if !same(Some(container), Some(before)) => "changed",
            Some(_) => continue,
        };
        errors.push(Error::forbidden(
            &path,
            format!(
                "existing ephemeral containers {} may not be {what}\n",
                quote(name)
            ),
        ));
    }
    errors
}
