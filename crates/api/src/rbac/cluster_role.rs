//! ClusterRole.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::list_at,
    object_meta::validate_label_selector,
};
use serde_json::Value;

use crate::kind::{Kind, Part, Scope, Strategy, Verb};

pub static KIND: Kind = Kind {
    group: "rbac.authorization.k8s.io",
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
    strategy: &ClusterRole,
    aliases: &[],
};

struct ClusterRole;

impl Strategy for ClusterRole {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::path_segment(name, generate_prefix)
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        super::validate_rules(object, false, &mut errors);
        let selectors = list_at(object, &["aggregationRule", "clusterRoleSelectors"]);
        let path = Path::new("aggregationRule").child("clusterRoleSelectors");
        if object.get("aggregationRule").is_some_and(Value::is_object) && selectors.is_empty() {
            errors.push(Error::required(
                &path,
                "at least one clusterRoleSelector required if aggregationRule is non-nil",
            ));
        }
        for (index, selector) in selectors.iter().enumerate() {
            validate_label_selector(selector, &path.index(index), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }
}
