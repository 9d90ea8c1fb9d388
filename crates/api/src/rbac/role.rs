//! Role.

use super::{GROUP, rules::Rules};
use crate::kind::{BuiltIn, Scope, Verb};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
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
    strategy: &Rules {
        scope: Scope::Namespaced,
    },
    aliases: &[],
};
