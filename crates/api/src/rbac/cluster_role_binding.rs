//! ClusterRoleBinding.

use super::{GROUP, binding::Binding};
use crate::kind::{BuiltIn, Scope, Verb};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ClusterRoleBinding",
    resource: "clusterrolebindings",
    singular: "clusterrolebinding",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/clusterrolebindings"),
    definition: "io.k8s.api.rbac.v1.ClusterRoleBinding",
    strategy: &Binding {
        scope: Scope::Cluster,
    },
    aliases: &[],
};
