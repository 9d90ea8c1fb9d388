//! What the bindings of both kinds of policies have in common.

use std::fmt::Write as _;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, map_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use super::match_resources;
use crate::{
    kind::Column,
    table::{AGE, NAME, column},
    validate,
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("PolicyName", "string", "The policy that is bound."),
    column(
        "ParamRef",
        "string",
        "The objects that parameterize the policy.",
    ),
    AGE,
];

const NOT_FOUND_ACTIONS: &[&str] = &["Deny", "Allow"];

pub(super) fn default(object: &mut Value) {
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        match_resources::default(spec, "matchResources");
    }
}

/// Which policy, with what parameters, for which requests. That a policy is named at all is for the caller to tell: upstream's
/// errors of that are not in the same place for both kinds.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    validate::optional(errors, spec, "policyName", path, names::dns1123_subdomain);
    if let Some(reference) = struct_at(spec, &["paramRef"]) {
        param_ref(reference, &path.child("paramRef"), errors);
    }
    if let Some(constraints) = struct_at(spec, &["matchResources"]) {
        match_resources::validate(constraints, &path.child("matchResources"), errors);
    }
}

fn param_ref(reference: &Value, path: &Path, errors: &mut ErrorList) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    let name = str_at(reference, &["name"]);
    let selector = struct_at(reference, &["selector"]);
    if !name.is_empty() {
        let path = path.child("name");
        validate::each(errors, &path, name, names::path_segment(name, false));
        if selector.is_some() {
            errors.push(Error::forbidden(&path, EXCLUSIVE));
        }
    }
    if let Some(selector) = selector {
        let path = path.child("selector");
        validate_label_selector(selector, &path, errors);
        if !name.is_empty() {
            errors.push(Error::forbidden(&path, EXCLUSIVE));
        }
    }
    if name.is_empty() && selector.is_none() {
        let why = "one of name or selector must be specified";
        errors.push(Error::required(path, why));
    }
    let action = str_at(reference, &["parameterNotFoundAction"]);
    let path = path.child("parameterNotFoundAction");
    validate::one_of(errors, &path, action, NOT_FOUND_ACTIONS, true);
}

/// A selector as the Go type is shown, which is what upstream's tables have.
fn go_selector(selector: &Value) -> String {
    let mut shown = "&LabelSelector{MatchLabels:map[string]string{".to_owned();
    for (key, value) in map_at(selector, &["matchLabels"]).into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        // Writing to a string cannot fail.
        let _ = write!(shown, "{key}: {value},");
    }
    shown.push_str("},MatchExpressions:[]LabelSelectorRequirement{");
    for expression in list_at(selector, &["matchExpressions"]) {
        let text = |field| str_at(expression, &[field]);
        let values: Vec<&str> = list_at(expression, &["values"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let _ = write!(
            shown,
            "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{}],}},",
            text("key"),
            text("operator"),
            values.join(" ")
        );
    }
    shown.push_str("},}");
    shown
}

/// The cell of a binding's parameters.
pub(super) fn param_ref_cell(object: &Value) -> Value {
    let Some(reference) = struct_at(object, &["spec", "paramRef"]) else {
        return "<unset>".into();
    };
    let (namespace, name) = (
        str_at(reference, &["namespace"]),
        str_at(reference, &["name"]),
    );
    match (namespace, name) {
        (_, "") => match struct_at(reference, &["selector"]) {
            Some(selector) => go_selector(selector).into(),
            None => "<unset>".into(),
        },
        ("", name) => format!("*/{name}").into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_shown_as_upstream_shows_them() {
        let cases = [
            (json!({"name": "a", "namespace": "b"}), "b/a"),
            (json!({"name": "a"}), "*/a"),
            (
                json!({"selector": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}}),
                "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:c,Operator:In,Values:[d e],},},}",
            ),
        ];
        for (reference, wanted) in cases {
            let object = json!({"spec": {"paramRef": reference}});
            assert_eq!(param_ref_cell(&object), wanted);
        }
    }
}
