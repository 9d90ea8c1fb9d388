//! The strategy of Roles and ClusterRoles.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    names,
    object::{list_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::Value;

use crate::kind::{Part, Scope, Strategy};

pub(super) struct Rules {
    pub(super) scope: Scope,
}

impl Strategy for Rules {
    fn create_on_update(&self) -> bool {
        true
    }

    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        names::path_segment(name, generate_prefix)
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_rules(object, self.scope, &mut errors);
        if self.scope == Scope::Cluster {
            validate_aggregation(object, &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }
}

fn validate_rules(object: &Value, scope: Scope, errors: &mut ErrorList) {
    for (index, rule) in list_at(object, &["rules"]).iter().enumerate() {
        let path = Path::new("rules").index(index);
        let has = |field: &str| !list_at(rule, &[field]).is_empty();
        if !has("verbs") {
            errors.push(Error::required(&path.child("verbs"), ""));
        }
        if has("nonResourceURLs") {
            let urls = list_at(rule, &["nonResourceURLs"]);
            if scope == Scope::Namespaced {
                errors.push(Error::invalid(
                    &path.child("nonResourceURLs"),
                    urls.to_vec(),
                    "namespaced rules cannot apply to non-resource URLs",
                ));
            }
            if has("apiGroups") || has("resources") || has("resourceNames") {
                errors.push(Error::invalid(
                    &path.child("nonResourceURLs"),
                    urls.to_vec(),
                    "rules cannot apply to both regular resources and non-resource URLs",
                ));
            }
            continue;
        }
        if !has("apiGroups") {
            errors.push(Error::required(
                &path.child("apiGroups"),
                "resource rules must supply at least one api group",
            ));
        }
        if !has("resources") {
            errors.push(Error::required(
                &path.child("resources"),
                "resource rules must supply at least one resource",
            ));
        }
    }
}

fn validate_aggregation(object: &Value, errors: &mut ErrorList) {
    let selectors = list_at(object, &["aggregationRule", "clusterRoleSelectors"]);
    let path = Path::new("aggregationRule").child("clusterRoleSelectors");
    if struct_at(object, &["aggregationRule"]).is_some() && selectors.is_empty() {
        errors.push(Error::required(
            &path,
            "at least one clusterRoleSelector required if aggregationRule is non-nil",
        ));
    }
    for (index, selector) in selectors.iter().enumerate() {
        let path = path.index(index);
        validate_label_selector(selector, &path, errors);
        if Selector::from_value(Some(selector)).is_err() {
            errors.push(Error::invalid(
                &path,
                Value::Null,
                "invalid label selector.",
            ));
        }
    }
}
