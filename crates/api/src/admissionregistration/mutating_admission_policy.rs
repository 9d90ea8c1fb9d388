//! MutatingAdmissionPolicy.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{
    GROUP,
    expressions::Returns,
    match_conditions::check,
    match_resources,
    policies::{self, Scope},
};
use crate::{
    kind::{self, BuiltIn, Column, Part, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "MutatingAdmissionPolicy",
    resource: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    short_names: &[],
    categories: &["api-extensions"],
    scope: kind::Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/mutatingadmissionpolicies"),
    definition: "io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy",
    strategy: &MutatingAdmissionPolicy,
    aliases: &[],
};

struct MutatingAdmissionPolicy;

const REINVOCATION_POLICIES: &[&str] = &["IfNeeded", "Never"];
const PATCH_TYPES: &[&str] = &["ApplyConfiguration", "JSONPatch"];

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Mutations",
        "integer",
        "How many mutations the policy makes.",
    ),
    column(
        "ParamKind",
        "string",
        "The kind of the objects that parameterize the policy.",
    ),
    AGE,
];

impl Strategy for MutatingAdmissionPolicy {
    fn default(&self, object: &mut Value) {
        policies::default(object);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        validate_policy(object, None)
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        validate_policy(new, Some(old))
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
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            list_at(object, &["spec", "mutations"]).len().into(),
            policies::param_kind_cell(object),
            table::age(object, now),
        ]
    }
}

fn validate_policy(object: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("spec");
    let spec = policies::spec(object);
    let old = old.map(policies::spec);
    let composes = true;
    let scope = policies::validate(&spec, old.as_ref(), composes, &path, &mut errors);
    if let Some(constraints) = struct_at(&spec, &["matchConstraints"]) {
        let path = path.child("matchConstraints");
        match_resources::validate_mutated(constraints, &path, &mut errors);
    }
    let mutations = list_at(&spec, &["mutations"]);
    if mutations.is_empty() {
        let why = "mutations must contain at least one item";
        errors.push(Error::required(&path.child("mutations"), why));
    }
    for (index, mutation) in mutations.iter().enumerate() {
        let path = path.child("mutations").index(index);
        validate_mutation(mutation, &scope, &path, &mut errors);
    }
    validate::one_of(
        &mut errors,
        &path.child("reinvocationPolicy"),
        str_at(&spec, &["reinvocationPolicy"]),
        REINVOCATION_POLICIES,
        true,
    );
    errors
}

fn validate_mutation(mutation: &Value, scope: &Scope, path: &Path, errors: &mut ErrorList) {
    const FIELDS: [(&str, &str, Returns); 2] = [
        ("JSONPatch", "jsonPatch", Returns::Operations),
        ("ApplyConfiguration", "applyConfiguration", Returns::Object),
    ];
    let given = str_at(mutation, &["patchType"]);
    let at = path.child("patchType");
    validate::one_of(errors, &at, given, PATCH_TYPES, true);
    if !PATCH_TYPES.contains(&given) {
        return;
    }
    // The one that is meant first.
    let (meant, others): (Vec<_>, Vec<_>) = FIELDS.into_iter().partition(|(ty, ..)| *ty == given);
    for (_, field, returns) in meant {
        let path = path.child(field);
        let Some(patch) = struct_at(mutation, &[field]) else {
            let why = format!("must be specified when patchType is {given}");
            errors.push(Error::required(&path, why));
            continue;
        };
        let path = path.child("expression");
        match str_at(patch, &["expression"]).trim() {
            "" => errors.push(Error::required(&path, "")),
            source => {
                let env = scope.env().with_patch_types();
                check(source, &env, returns, &path, errors);
            }
        }
    }
    for (_, field, _) in others {
        if struct_at(mutation, &[field]).is_some() {
            let why = format!("must not be specified when patchType is {given}");
            let shown = format!("{{{field}}}");
            errors.push(Error::invalid(&path.child(field), shown, why));
        }
    }
}

#[cfg(test)]
mod tests;
