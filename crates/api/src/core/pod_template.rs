//! PodTemplate: a template that nobody makes pods of by itself.

use knarr_meta::{
    field::{ErrorList, Path},
    labels::Selector,
    object::{i64_at, map_at, struct_at},
};
use serde_json::Value;

use super::pod_spec;
use crate::{
    kind::{BuiltIn, Column, Part, Scope, Strategy, Verb},
    now::Now,
    table::{self, NAME, column},
    tree,
    warnings::Warnings,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "",
    version: "v1",
    kind: "PodTemplate",
    resource: "podtemplates",
    singular: "podtemplate",
    short_names: &[],
    categories: &[],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[],
    storage: Some("/registry/podtemplates"),
    definition: "io.k8s.api.core.v1.PodTemplate",
    strategy: &PodTemplate,
    aliases: &[],
};

struct PodTemplate;

const COLUMNS: &[Column] = &[
    NAME,
    column(
        "Containers",
        "string",
        "Names of the template's containers.",
    ),
    column("Images", "string", "Images of the template's containers."),
    column("Pod Labels", "string", "Labels of the template's pods."),
];

impl Strategy for PodTemplate {
    fn default(&self, object: &mut Value) {
        if let Some(template) = knarr_meta::object::child_mut(object, "template")
            && let Some(pod) = tree::child(template, "spec")
        {
            pod_spec::default_pod_spec(pod);
        }
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let template = object.get("template").unwrap_or(&Value::Null);
        pod_spec::validate_template(template, &Path::new("template"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, _old: &Value, _part: Part) -> ErrorList {
        self.validate_create(new)
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        let generation = |object: &Value| i64_at(object, &["metadata", "generation"]);
        let changed = old.is_none_or(|old| generation(old) != generation(object));
        if let Some(template) = struct_at(object, &["template"]).filter(|_| changed) {
            pod_spec::warnings::of_template(template, &Path::new("template"), &mut out);
        }
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, _now: &Now) -> Vec<Value> {
        let template = object.get("template").unwrap_or(&Value::Null);
        let (names, images) = pod_spec::names_and_images(template);
        let labels = map_at(template, &["metadata", "labels"])
            .into_iter()
            .flatten();
        let labels = labels.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
        let labels = Selector::from_set(labels).to_string();
        vec![
            table::name(object),
            names.into(),
            images.into(),
            table::or(&labels, "<none>"),
        ]
    }
}
