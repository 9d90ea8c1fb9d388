//! ValidatingAdmissionPolicyBinding: where a policy is in force, and what becomes of what it refuses.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::str_at,
};
use serde_json::Value;

use super::{GROUP, bindings, policies, rules};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ValidatingAdmissionPolicyBinding",
    resource: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    short_names: &[],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/validatingadmissionpolicybindings"),
    definition: "io.k8s.api.admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    strategy: &ValidatingAdmissionPolicyBinding,
    aliases: &[],
};

struct ValidatingAdmissionPolicyBinding;

const ACTIONS: &[&str] = &["Audit", "Deny", "Warn"];

impl Strategy for ValidatingAdmissionPolicyBinding {
    fn default(&self, object: &mut Value) {
        bindings::default(object);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = policies::spec(object);
        bindings::validate(&spec, &path, &mut errors);
        let actions = validate_actions(&spec, &path, &mut errors);
        // What only has to be there is told last, as upstream's declared rules are.
        validate::filled(&mut errors, &spec, &["policyName"], &path);
        if actions == 0 {
            errors.push(Error::required(&path.child("validationActions"), ""));
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        policies::warnings(object)
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        bindings::COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            str_at(object, &["spec", "policyName"]).into(),
            bindings::param_ref_cell(object),
            table::age(object, now),
        ]
    }
}

/// How many actions there are.
fn validate_actions(spec: &Value, path: &Path, errors: &mut ErrorList) -> usize {
    let path = path.child("validationActions");
    let actions = rules::texts(spec, "validationActions");
    let mut seen = HashSet::new();
    for (index, action) in actions.iter().enumerate() {
        let path = path.index(index);
        if !ACTIONS.contains(action) {
            errors.push(Error::not_supported(&path, *action, ACTIONS));
        }
        if !seen.insert(action) {
            errors.push(Error::duplicate(&path, *action));
        }
    }
    if seen.contains(&"Deny") && seen.contains(&"Warn") {
        let why = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(Error::invalid(&path, actions.clone(), why));
    }
    actions.len()
}
