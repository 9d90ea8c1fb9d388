//! Binding: what the scheduler posts to put a pod on a node. It is never stored.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::str_at,
};
use serde_json::Value;

use crate::kind::{BuiltIn, CREATE, Scope, Strategy};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "Binding",
    resource: "bindings",
    singular: "binding",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: CREATE,
    subresources: &[],
    storage: None,
    definition: "io.k8s.api.core.v1.Binding",
    strategy: &Binding,
    aliases: &[],
};

struct Binding;

impl Strategy for Binding {
    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let target = Path::new("target");
        let kind = str_at(object, &["target", "kind"]);
        if !matches!(kind, "" | "Node") {
            errors.push(Error::not_supported(
                &target.child("kind"),
                kind,
                &["Node", "<empty>"],
            ));
        }
        if str_at(object, &["target", "name"]).is_empty() {
            errors.push(Error::required(&target.child("name"), ""));
        }
        errors
    }
}
