//! ResourceClaimTemplate.

use knarr_meta::{
    field::{ErrorList, Path},
    object::child_mut,
};
use serde_json::Value;

use super::{GROUP, claim_spec};
use crate::{
    core::persistent_volume_claim::spec::template_metadata,
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ResourceClaimTemplate",
    resource: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/resourceclaimtemplates"),
    definition: "io.k8s.api.resource.v1.ResourceClaimTemplate",
    strategy: &ResourceClaimTemplate,
    aliases: &[],
};

const COLUMNS: &[Column] = &[NAME, AGE];

struct ResourceClaimTemplate;

impl Strategy for ResourceClaimTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = child_mut(object, "spec")
            && let Some(claim) = tree::existing(spec, "spec")
        {
            claim_spec::default(claim);
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        template_metadata(spec, &path.child("metadata"), &mut errors);
        let claim = spec.get("spec").unwrap_or(&Value::Null);
        claim_spec::validate(claim, &path.child("spec"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        let path = Path::new("spec");
        validate::immutable(&mut errors, &path, new.get("spec"), old.get("spec"));
        errors
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![table::name(object), table::age(object, now)]
    }
}
