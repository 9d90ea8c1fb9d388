//! MutatingAdmissionPolicyBinding: where a policy is in force.

use knarr_meta::{
    field::{ErrorList, Path},
    object::{str_at, struct_at},
};
use serde_json::Value;

use super::{GROUP, bindings, match_resources, policies};
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "MutatingAdmissionPolicyBinding",
    resource: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    short_names: &[],
    categories: &["api-extensions"],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/mutatingadmissionpolicybindings"),
    definition: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding",
    strategy: &MutatingAdmissionPolicyBinding,
    aliases: &[],
};

struct MutatingAdmissionPolicyBinding;

impl Strategy for MutatingAdmissionPolicyBinding {
    fn default(&self, object: &mut Value) {
        bindings::default(object);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = policies::spec(object);
        validate::filled(&mut errors, &spec, &["policyName"], &path);
        bindings::validate(&spec, &path, &mut errors);
        if let Some(constraints) = struct_at(&spec, &["matchResources"]) {
            let path = path.child("matchResources");
            match_resources::validate_mutated(constraints, &path, &mut errors);
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
