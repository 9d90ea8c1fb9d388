//! Role.

use knarr_meta::{field::ErrorList, names};
use serde_json::Value;

use crate::kind::{Kind, Part, Scope, Strategy, Verb};

pub static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "Role",
    resource: "roles",
    singular: "role",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/roles"),
    definition: "io.k8s.api.rbac.v1.Role",
    strategy: &Role,
    aliases: &[],
};

struct Role;

impl Strategy for Role {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::path_segment(name, generate_prefix)
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        super::validate_rules(object, true, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }
}
