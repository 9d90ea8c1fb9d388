//! ReplicaSet.

use knarr_meta::{
    field::ErrorList,
    object::{self, i64_at},
    status::Status,
};
use serde_json::{Value, json};

use crate::{
    core::pod_spec,
    kind::{BuiltIn, Column, Part, SCALE, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "apps",
    version: "v1",
    kind: "ReplicaSet",
    resource: "replicasets",
    singular: "replicaset",
    short_names: &["rs"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[SCALE, STATUS],
    storage: Some("/registry/replicasets"),
    definition: "io.k8s.api.apps.v1.ReplicaSet",
    strategy: &ReplicaSet,
    aliases: &[],
};

struct ReplicaSet;

const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer", "Replicas wanted."),
    column("Current", "integer", "Replicas that exist."),
    column("Ready", "integer", "Replicas that are ready."),
    AGE,
    super::CONTAINERS,
    super::IMAGES,
    wide("Selector", "string", "Labels of the set's pods."),
];

impl Strategy for ReplicaSet {
    fn default(&self, object: &mut Value) {
        if let Some(spec) = object::child_mut(object, "spec") {
            tree::default_value(spec, "replicas", 1);
            super::default_template(spec);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"replicas": 0}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        super::keep_other_part(new, old, part);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        super::validate_workload(object, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            let mut errors = ErrorList::new();
            super::validate_counts(
                new,
                &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
                &mut errors,
            );
            return errors;
        }
        let mut errors = self.validate_create(new);
        super::validate_selector_kept(new, old, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if old.is_none() {
            warnings::workload_name(object, &mut out);
        }
        pod_spec::warnings::of_workload(object, old, &mut out);
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let count = |path: &[&str]| i64_at(object, path).unwrap_or_default();
        let [containers, images] = super::template_cells(object);
        let selector = super::selector_text(object);
        vec![
            table::name(object),
            count(&["spec", "replicas"]).into(),
            count(&["status", "replicas"]).into(),
            count(&["status", "readyReplicas"]).into(),
            table::age(object, now),
            containers,
            images,
            table::or(selector.as_deref().unwrap_or("<error>"), "<none>"),
        ]
    }

    fn scale(&self, object: &Value) -> Option<(i64, i64, String)> {
        super::scale(object)
    }

    fn set_scale(&self, object: &mut Value, replicas: i64) -> Result<(), Status> {
        super::set_scale(object, replicas)
    }
}
