//! ResourceClaim.

use knarr_meta::{
    field::{ErrorList, Path},
    object::{self, child_mut, list_at, struct_at},
};
use serde_json::{Map, Value};

use super::{GROUP, claim_spec};
use crate::{
    apps,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

mod status;

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ResourceClaim",
    resource: "resourceclaims",
    singular: "resourceclaim",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/resourceclaims"),
    definition: "io.k8s.api.resource.v1.ResourceClaim",
    strategy: &ResourceClaim,
    aliases: &[],
};

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "State",
        "string",
        "What became of the claim: pending, allocated, reserved, deleted.",
    ),
    AGE,
];

struct ResourceClaim;

impl Strategy for ResourceClaim {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = child_mut(object, "spec") {
            claim_spec::default(spec);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
        if part == Part::Status {
            for field in ["labels", "annotations", "finalizers", "ownerReferences"] {
                tree::keep_metadata(new, old, field);
            }
            status::prepare(new, old);
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let spec = object.get("spec").unwrap_or(&Value::Null);
        claim_spec::validate(spec, &Path::new("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            return status::validate(new, old);
        }
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        validate::declared_immutable(&mut errors, &path, new.get("spec"), old.get("spec"));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            state(object).into(),
            table::age(object, now),
        ]
    }
}

fn state(object: &Value) -> String {
    let deleted = object::deletion_timestamp(object).is_some();
    let allocated = struct_at(object, &["status", "allocation"]).is_some();
    let reserved = !list_at(object, &["status", "reservedFor"]).is_empty();
    let states = [
        (deleted, "deleted"),
        (!deleted && !allocated, "pending"),
        (allocated, "allocated"),
        (allocated && reserved, "reserved"),
    ];
    let states: Vec<&str> = states
        .into_iter()
        .filter_map(|(is, name)| is.then_some(name))
        .collect();
    states.join(",")
}
