//! RuntimeClass.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, map_at, str_at, struct_at},
    object_meta,
};
use serde_json::Value;

use crate::{
    core::pod_spec::{self, canonicalize_resources, resources},
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "node.k8s.io",
    version: "v1",
    kind: "RuntimeClass",
    resource: "runtimeclasses",
    singular: "runtimeclass",
    short_names: &[],
    categories: &[],
    scope: Scope::Cluster,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/runtimeclasses"),
    definition: "io.k8s.api.node.v1.RuntimeClass",
    strategy: &RuntimeClass,
    aliases: &[],
};

struct RuntimeClass;

const COLUMNS: &[Column] = &[
    NAME,
    column("Handler", "string", "What the node's runtime calls it."),
    AGE,
];

impl Strategy for RuntimeClass {
    fn default(&self, object: &mut Value) {
        let overhead = object.get_mut("overhead").and_then(Value::as_object_mut);
        if let Some(list) = overhead.and_then(|overhead| tree::existing(overhead, "podFixed")) {
            canonicalize_resources(list);
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let root = Path::root();
        validate::required(&mut errors, object, "handler", &root, names::dns1123_label);
        if let Some(overhead) = struct_at(object, &["overhead"]) {
            // Upstream checks them as a container's limits, and says so.
            let fixed = overhead.get("podFixed").unwrap_or(&Value::Null);
            resources::validate_overhead(fixed, &Path::new("overhead"), &mut errors);
        }
        if let Some(scheduling) = struct_at(object, &["scheduling"]) {
            validate_scheduling(scheduling, &Path::new("scheduling"), &mut errors);
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, _part: Part) -> ErrorList {
        let mut errors = self.validate_create(new);
        let path = Path::new("handler");
        validate::declared_immutable(&mut errors, &path, new.get("handler"), old.get("handler"));
        errors
    }

    fn warnings(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        let selector = map_at(object, &["scheduling", "nodeSelector"]);
        for key in selector.into_iter().flat_map(|map| map.keys()) {
            if let Some(text) = warnings::node_label(key) {
                out.at(&Path::new("scheduling").child("nodeSelector"), text);
            }
        }
        out.into()
    }

    fn create_on_update(&self) -> bool {
        true
    }

    fn unconditional_update(&self) -> bool {
        false
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        vec![
            table::name(object),
            str_at(object, &["handler"]).into(),
            table::age(object, now),
        ]
    }
}

fn validate_scheduling(scheduling: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = map_at(scheduling, &["nodeSelector"]) {
        object_meta::validate_labels(labels, &path.child("nodeSelector"), errors);
    }
    let tolerations = list_at(scheduling, &["tolerations"]);
    let path = path.child("tolerations");
    pod_spec::validate_tolerations(tolerations, &path, errors);
    let mut seen = HashSet::new();
    for (index, toleration) in tolerations.iter().enumerate() {
        let key = ["key", "operator", "value", "effect"].map(|field| str_at(toleration, &[field]));
        if !seen.insert(key) {
            errors.push(Error::duplicate(&path.index(index), toleration.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
