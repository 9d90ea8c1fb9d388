//! Validation of what the scheduler reads: tolerations, affinities, spread, gates; and of taints.

use std::collections::{HashMap, HashSet};

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, list_at, map_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use crate::validate;

const EFFECTS: &[&str] = &["NoSchedule", "PreferNoSchedule", "NoExecute"];
const NO_SELECTOR: &str = "must not be specified when labelSelector is not set";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// What a pod waits for: conditions before it is ready, gates before it is scheduled.
pub(super) fn validate_gates(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, gate) in list_at(spec, &["readinessGates"]).iter().enumerate() {
        let condition = str_at(gate, &["conditionType"]);
        let path = path.child("readinessGates").index(index);
        validate::each(
            errors,
            &path.child("conditionType"),
            condition,
            names::qualified_name(condition),
        );
    }
    let mut seen = HashSet::new();
    for (index, gate) in list_at(spec, &["schedulingGates"]).iter().enumerate() {
        let path = path.child("schedulingGates").index(index);
        let name = str_at(gate, &["name"]);
        validate::each(errors, &path, name, names::qualified_name(name));
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
    }
}

pub(crate) fn validate_tolerations(tolerations: &[Value], path: &Path, errors: &mut ErrorList) {
    for (index, toleration) in tolerations.iter().enumerate() {
        let path = path.index(index);
        let field = |name| str_at(toleration, &[name]);
        let (key, operator, value, effect) = (
            field("key"),
            field("operator"),
            field("value"),
            field("effect"),
        );
        if !key.is_empty() {
            validate::each(errors, &path.child("key"), key, names::qualified_name(key));
        } else if operator != "Exists" {
            errors.push(Error::invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if i64_at(toleration, &["tolerationSeconds"]).is_some() && effect != "NoExecute" {
            errors.push(Error::invalid(
                &path.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        match operator {
            "" | "Equal" => {
                let messages = names::label_value(value);
                if !messages.is_empty() {
                    errors.push(Error::invalid(
                        &path.child("operator"),
                        value,
                        messages.join(";"),
                    ));
                }
            }
            "Exists" if !value.is_empty() => errors.push(Error::invalid(
                &path.child("operator"),
                value,
                "value must be empty when `operator` is 'Exists'",
            )),
            "Exists" => {}
            // Known, but behind a gate that is off.
            "Lt" | "Gt" => errors.push(Error::not_supported(
                &path.child("operator"),
                operator,
                &["Equal", "Exists", "Lt", "Gt"],
            )),
            _ => errors.push(Error::not_supported(
                &path.child("operator"),
                operator,
                &["Equal", "Exists"],
            )),
        }
        validate::one_of(errors, &path.child("effect"), effect, EFFECTS, false);
    }
}

/// The taints of a node.
pub(crate) fn validate_taints(taints: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, taint) in taints.iter().enumerate() {
        let path = path.index(index);
        let (key, value, effect) = (
            str_at(taint, &["key"]),
            str_at(taint, &["value"]),
            str_at(taint, &["effect"]),
        );
        validate::each(errors, &path.child("key"), key, names::qualified_name(key));
        let messages = names::label_value(value);
        if !messages.is_empty() {
            errors.push(Error::invalid(
                &path.child("value"),
                value,
                messages.join(";"),
            ));
        }
        validate::one_of(errors, &path.child("effect"), effect, EFFECTS, true);
        if !seen.insert((key, effect)) {
            let mut error = Error::duplicate(&path, taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}

pub(super) fn validate_affinity(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(node) = struct_at(spec, &["affinity", "nodeAffinity"]) {
        validate_node_affinity(node, &path.child("nodeAffinity"), errors);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let Some(affinity) = struct_at(spec, &["affinity", kind]) else {
            continue;
        };
        let path = path.child(kind);
        for (index, term) in list_at(affinity, &[REQUIRED]).iter().enumerate() {
            validate_pod_term(term, &path.child(REQUIRED).index(index), errors);
        }
        for (index, weighted) in list_at(affinity, &[PREFERRED]).iter().enumerate() {
            let path = path.child(PREFERRED).index(index);
            validate_weight(weighted, &path, errors);
            let term = weighted.get("podAffinityTerm").unwrap_or(&Value::Null);
            validate_pod_term(term, &path.child("podAffinityTerm"), errors);
        }
    }
}

fn validate_weight(weighted: &Value, path: &Path, errors: &mut ErrorList) {
    let weight = i64_at(weighted, &["weight"]).unwrap_or_default();
    if !(1..=100).contains(&weight) {
        errors.push(Error::invalid(
            &path.child("weight"),
            weight,
            "must be in the range 1-100",
        ));
    }
}

fn validate_node_affinity(affinity: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(required) = struct_at(affinity, &[REQUIRED]) {
        validate_node_selector(required, &path.child(REQUIRED), errors);
    }
    for (index, weighted) in list_at(affinity, &[PREFERRED]).iter().enumerate() {
        let path = path.child(PREFERRED).index(index);
        validate_weight(weighted, &path, errors);
        let term = weighted.get("preference").unwrap_or(&Value::Null);
        validate_node_term(term, false, &path.child("preference"), errors);
    }
}

/// A selector of nodes that is not a mere preference: a pod's, or a volume's.
pub(crate) fn validate_node_selector(selector: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("nodeSelectorTerms");
    let terms = list_at(selector, &["nodeSelectorTerms"]);
    if terms.is_empty() {
        errors.push(Error::required(
            &path,
            "must have at least one node selector term",
        ));
    }
    for (index, term) in terms.iter().enumerate() {
        validate_node_term(term, true, &path.index(index), errors);
    }
}

/// `required`: values that no node can have are refused, where a preference for them does no harm.
fn validate_node_term(term: &Value, required: bool, path: &Path, errors: &mut ErrorList) {
    for (index, requirement) in list_at(term, &["matchExpressions"]).iter().enumerate() {
        let path = path.child("matchExpressions").index(index);
        let count = list_at(requirement, &["values"]).len();
        let operator = str_at(requirement, &["operator"]);
        let values = path.child("values");
        match operator {
            "In" | "NotIn" if count == 0 => errors.push(Error::required(
                &values,
                "must be specified when `operator` is 'In' or 'NotIn'",
            )),
            "Exists" | "DoesNotExist" if count > 0 => errors.push(Error::forbidden(
                &values,
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if count != 1 => errors.push(Error::required(
                &values,
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            _ => errors.push(Error::invalid(
                &path.child("operator"),
                operator,
                "not a valid selector operator",
            )),
        }
        let key = str_at(requirement, &["key"]);
        validate::each(errors, &path.child("key"), key, names::qualified_name(key));
        if required {
            validate_values(requirement, names::label_value, &path, errors);
        }
    }
    for (index, requirement) in list_at(term, &["matchFields"]).iter().enumerate() {
        let path = path.child("matchFields").index(index);
        let operator = str_at(requirement, &["operator"]);
        let count = list_at(requirement, &["values"]).len();
        if !matches!(operator, "In" | "NotIn") {
            errors.push(Error::invalid(
                &path.child("operator"),
                operator,
                "not a valid selector operator",
            ));
        } else if count != 1 {
            errors.push(Error::required(
                &path.child("values"),
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ));
        }
        let key = str_at(requirement, &["key"]);
        if key != "metadata.name" {
            errors.push(Error::invalid(
                &path.child("key"),
                key,
                "not a valid field selector key",
            ));
            continue;
        }
        validate_values(requirement, names::dns1123_subdomain, &path, errors);
    }
}

fn validate_values(requirement: &Value, rule: validate::Rule, path: &Path, errors: &mut ErrorList) {
    let values = list_at(requirement, &["values"]);
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("values").index(index);
        validate::each(errors, &path, value, rule(value));
    }
}

fn validate_pod_term(term: &Value, path: &Path, errors: &mut ErrorList) {
    for selector in ["labelSelector", "namespaceSelector"] {
        if let Some(value) = struct_at(term, &[selector]) {
            validate_label_selector(value, &path.child(selector), errors);
        }
    }
    for namespace in list_at(term, &["namespaces"])
        .iter()
        .filter_map(Value::as_str)
    {
        validate::label(errors, &path.child("namespace"), namespace);
    }
    validate_label_keys(term, path, errors);
    let key = str_at(term, &["topologyKey"]);
    let path = path.child("topologyKey");
    if key.is_empty() {
        errors.push(Error::required(&path, "can not be empty"));
    }
    validate::each(errors, &path, key, names::qualified_name(key));
}

/// Keys of the pod's own labels that a term, or a constraint of where pods are spread, compares with: `matchLabelKeys` and
/// `mismatchLabelKeys`.
pub(super) fn validate_label_keys(term: &Value, path: &Path, errors: &mut ErrorList) {
    let selector = struct_at(term, &["labelSelector"]);
    for field in ["matchLabelKeys", "mismatchLabelKeys"] {
        let keys = list_at(term, &[field]);
        let path = path.child(field);
        if !keys.is_empty() && selector.is_none() {
            errors.push(Error::forbidden(&path, NO_SELECTOR));
            continue;
        }
        for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            validate::each(errors, &path.index(index), key, names::qualified_name(key));
        }
    }
    let matched = list_at(term, &["matchLabelKeys"]);
    validate_repeated_keys(selector, matched, path, errors);
    let mismatched: HashSet<Option<&str>> = list_at(term, &["mismatchLabelKeys"])
        .iter()
        .map(Value::as_str)
        .collect();
    for (index, key) in matched.iter().enumerate() {
        if mismatched.contains(&key.as_str()) {
            errors.push(Error::invalid(
                &path.child("matchLabelKeys").index(index),
                key.clone(),
                "exists in both matchLabelKeys and mismatchLabelKeys",
            ));
        }
    }
}

/// The server adds an expression for each key: a second one for it is the user's.
fn validate_repeated_keys(
    selector: Option<&Value>,
    keys: &[Value],
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(selector) = selector else { return };
    let mut seen: HashSet<&str> = map_at(selector, &["matchLabels"])
        .into_iter()
        .flatten()
        .map(|(key, _)| key.as_str())
        .collect();
    // Of equal ones the last.
    let keys = keys.iter().enumerate();
    let places: HashMap<&str, usize> = keys
        .filter_map(|(index, key)| Some((key.as_str()?, index)))
        .collect();
    for expression in list_at(selector, &["matchExpressions"]) {
        let key = str_at(expression, &["key"]);
        let repeated = !seen.insert(key);
        if let Some(index) = places.get(key).copied()
            && repeated
        {
            errors.push(Error::invalid(
                &path.index(index),
                key,
                "exists in both matchLabelKeys and labelSelector",
            ));
        }
    }
}
