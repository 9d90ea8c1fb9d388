//! ReplicationController: what ReplicaSets were before they had selectors of sets.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    labels::Selector,
    names,
    object::{self, at, i64_at, label, map_at, struct_at},
    status::Status,
};
use serde_json::{Map, Value, json};

use super::pod_spec;
use crate::{
    apps,
    kind::{BuiltIn, Column, Part, SCALE, STATUS, Scope, Strategy, Text, Verb, text},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "ReplicationController",
    resource: "replicationcontrollers",
    singular: "replicationcontroller",
    short_names: &["rc"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[SCALE, STATUS],
    storage: Some("/registry/controllers"),
    definition: "io.k8s.api.core.v1.ReplicationController",
    strategy: &ReplicationController,
    aliases: &[],
};

struct ReplicationController;

const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer", "Replicas wanted."),
    column("Current", "integer", "Replicas that exist."),
    column("Ready", "integer", "Replicas that are ready."),
    AGE,
    apps::CONTAINERS,
    apps::IMAGES,
    wide("Selector", "string", "Labels of the controller's pods."),
];

impl Strategy for ReplicationController {
    fn default(&self, object: &mut Value) {
        let labels = map_at(object, &["spec", "template", "metadata", "labels"])
            .filter(|labels| !labels.is_empty())
            .cloned();
        if let Some(spec) = object::child_mut(object, "spec") {
            tree::default_value(spec, "replicas", 1);
            if spec.get("template").is_some_and(Value::is_object) {
                apps::default_template(spec);
            }
            if let Some(labels) = &labels {
                default_map(spec, "selector", labels);
            }
        }
        if let Some(labels) = &labels
            && let Some(metadata) = object::child_mut(object, "metadata")
        {
            default_map(metadata, "labels", labels);
        }
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", json!({"replicas": 0}));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate::none_negative(&mut errors, spec, &["replicas", "minReadySeconds"], &path);
        if selector(object).is_empty() {
            errors.push(Error::required(&path.child("selector"), ""));
        }
        validate_template(object, &path.child("template"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, part: Part) -> ErrorList {
        if part != Part::Status {
            return self.validate_create(new);
        }
        let mut errors = ErrorList::new();
        let parts = ["fullyLabeledReplicas", "readyReplicas", "availableReplicas"];
        apps::validate_counts(new, &parts, &mut errors);
        errors
    }

    /// Of a new object's prefix upstream asks nothing, only of the name that comes of it.
    fn validate_name(&self, name: &str, generate_prefix: bool) -> Vec<String> {
        match generate_prefix {
            true => Vec::new(),
            false => names::long_name(name),
        }
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        if old.is_none() {
            warnings::workload_name(object, &mut out);
        }
        let generation = |object| i64_at(object, &["metadata", "generation"]);
        match old {
            None => pod_spec::warnings::of_workload(object, None, &mut out),
            // Of a change upstream looks at the template that was there before.
            Some(old) if generation(old) != generation(object) => {
                pod_spec::warnings::of_workload(old, None, &mut out);
            }
            Some(_) => {}
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn orphans_dependents(&self) -> bool {
        true
    }

    fn selectable_fields(&self) -> &[Text] {
        const FIELDS: &[Text] = &[text("status.replicas")];
        FIELDS
    }

    fn field_values(&self, object: &Value) -> Vec<String> {
        let replicas = i64_at(object, &["status", "replicas"]).unwrap_or_default();
        vec![replicas.to_string()]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let count = |path: &[&str]| i64_at(object, path).unwrap_or_default();
        let [containers, images] = apps::template_cells(object);
        let selector = selector(object).to_string();
        vec![
            table::name(object),
            count(&["spec", "replicas"]).into(),
            count(&["status", "replicas"]).into(),
            count(&["status", "readyReplicas"]).into(),
            table::age(object, now),
            containers,
            images,
            table::or(&selector, "<none>"),
        ]
    }

    fn scale(&self, object: &Value) -> Option<(i64, i64, String)> {
        Some((
            i64_at(object, &["spec", "replicas"]).unwrap_or_default(),
            i64_at(object, &["status", "replicas"]).unwrap_or_default(),
            selector(object).to_string(),
        ))
    }

    fn set_scale(&self, object: &mut Value, replicas: i64) -> Result<(), Status> {
        apps::set_scale(object, replicas)
    }
}

/// Fills a map of labels that is absent or empty.
fn default_map(owner: &mut Map<String, Value>, field: &str, labels: &Map<String, Value>) {
    let given = owner.get(field).and_then(Value::as_object);
    if given.is_none_or(Map::is_empty) {
        owner.insert(field.to_owned(), Value::Object(labels.clone()));
    }
}

/// The labels of its pods; selects everything where there are none.
fn selector(object: &Value) -> Selector {
    let labels = map_at(object, &["spec", "selector"]).into_iter().flatten();
    Selector::from_set(labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?))))
}

fn validate_template(object: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(template) = struct_at(object, &["spec", "template"]) else {
        errors.push(Error::required(path, ""));
        return;
    };
    let selector = selector(object);
    if !selector.is_empty() && !selector.matches_with(|key| label(template, key)) {
        errors.push(Error::invalid(
            &path.child("metadata").child("labels"),
            at(template, &["metadata", "labels"])
                .cloned()
                .unwrap_or_default(),
            "`selector` does not match template `labels`",
        ));
    }
    apps::validate_template(template, "ReplicationController", path, errors);
}
