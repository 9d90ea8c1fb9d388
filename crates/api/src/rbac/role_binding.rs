//! RoleBinding.

use super::{GROUP, binding::Binding};
use crate::kind::{BuiltIn, Scope, Verb};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
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
    strategy: &Binding {
        scope: Scope::Namespaced,
    },
    aliases: &[],
};
