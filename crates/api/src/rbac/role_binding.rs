//! RoleBinding.

use knarr_meta::{field::ErrorList, names};
use serde_json::Value;

use crate::{
    kind::{Column, Kind, Part, Scope, Strategy, Verb},
    table::{AGE, NAME, column, wide},
};

pub static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
    version: "v1",
    kind: "RoleBinding",
    resource: "rolebindings",
    singular: "rolebinding",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/rolebindings"),
    definition: "io.k8s.api.rbac.v1.RoleBinding",
    strategy: &RoleBinding,
    aliases: &[],
};

struct RoleBinding;

const COLUMNS: &[Column] = &[
    NAME,
    column("Role", "string", "The role that is granted."),
    AGE,
    wide("Users", "string", "Users it is granted to."),
    wide("Groups", "string", "Groups it is granted to."),
    wide(
        "ServiceAccounts",
        "string",
        "Service accounts it is granted to.",
    ),
];

impl Strategy for RoleBinding {
    fn default(&self, object: &mut Value) {
        super::default_binding(object);
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::path_segment(name, generate_prefix)
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        super::validate_binding(object, true, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        super::validate_role_ref_kept(new, old, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: i64) -> Vec<Value> {
        super::binding_cells(object, now)
    }
}
