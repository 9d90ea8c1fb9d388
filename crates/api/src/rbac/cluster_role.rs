//! ClusterRole.

use super::{GROUP, rules::Rules};
use crate::kind::{BuiltIn, Scope, Verb};

pub static KIND: BuiltIn = BuiltIn {
    group: GROUP,
    version: "v1",
    kind: "ClusterRole",
    resource: "clusterroles",
    singular: "clusterrole",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/clusterroles"),
    definition: "io.k8s.api.rbac.v1.ClusterRole",
    strategy: &Rules {
        scope: Scope::Cluster,
    },
    aliases: &[],
};
