//! DaemonSet.

use std::num::IntErrorKind;

use knarr_meta::{
    field::{Error, ErrorList, Path, quote},
    labels::Selector,
    object::{self, at, i64_at, label, list_at, map_at, str_at, struct_at},
    object_meta::validate_label_selector,
};
use serde_json::{Map, Value, json};

use crate::{
    core::pod_spec,
    kind::{BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree, validate,
    warnings::Warnings,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "apps",
    version: "v1",
    kind: "DaemonSet",
    resource: "daemonsets",
    singular: "daemonset",
    short_names: &["ds"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/daemonsets"),
    definition: "io.k8s.api.apps.v1.DaemonSet",
    strategy: &DaemonSet,
    aliases: &[],
};

/// Counts the templates that the object has had. A field of the spec in versions before v1, whose name says the rest.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

struct DaemonSet;

const COLUMNS: &[Column] = &[
    NAME,
    column("Desired", "integer", "Nodes that should run the pod."),
    column("Current", "integer", "Nodes of those that have the pod."),
    column("Ready", "integer", "Pods of those that are ready."),
    column("Up-to-date", "integer", "Pods of the current template."),
    column(
        "Available",
        "integer",
        "Pods that have been ready for long enough.",
    ),
    column(
        "Node Selector",
        "string",
        "Labels of the nodes that should run the pod.",
    ),
    AGE,
    super::CONTAINERS,
    super::IMAGES,
    wide("Selector", "string", "Labels of the set's pods."),
];

impl Strategy for DaemonSet {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        tree::default_value(spec, "revisionHistoryLimit", 10);
        if let Some(strategy) = tree::child(spec, "updateStrategy") {
            tree::default_str(strategy, "type", "RollingUpdate");
            if tree::text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = tree::child(strategy, "rollingUpdate")
            {
                tree::default_value(rolling, "maxUnavailable", 1);
                tree::default_value(rolling, "maxSurge", 0);
            }
        }
        super::default_template(spec);
    }

    /// Where it is there, the annotation is a number.
    fn unconvertible(&self, object: &Value) -> Option<String> {
        let text = object::annotation(object, TEMPLATE_GENERATION)?;
        let why = match text.parse::<i64>().err()?.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        Some(format!("strconv.ParseInt: parsing {}: {why}", quote(text)))
    }

    /// Upstream's conversion writes the annotation from a field of its internal type, whatever that is.
    fn foresee(&self, object: &Value) -> Option<Value> {
        let mut seen = object.clone();
        set_template_generation(&mut seen, template_generation(object));
        (seen != *object).then_some(seen)
    }

    fn prepare_create(&self, object: &mut Value) {
        // The required ones, which no controller has counted yet.
        let status = json!({
            "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
        });
        tree::set(object, "status", status);
        let generation = template_generation(object).max(1);
        set_template_generation(object, generation);
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        super::keep_other_part(new, old, part);
        let template = |object| at(object, &["spec", "template"]);
        let changed = !tree::same(template(new), template(old));
        let generation = template_generation(old).saturating_add(i64::from(changed));
        set_template_generation(new, generation);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_selector(object, &mut errors);
        let path = Path::new("spec");
        let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
        super::validate_template(template, "DaemonSet", &path.child("template"), &mut errors);
        let spec = object.get("spec").unwrap_or(&Value::Null);
        validate::none_negative(&mut errors, spec, &["minReadySeconds"], &path);
        validate_strategy(object, &mut errors);
        validate::none_negative(&mut errors, spec, &["revisionHistoryLimit"], &path);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part == Part::Status {
            let status = new.get("status").unwrap_or(&Value::Null);
            validate::none_negative(&mut errors, status, COUNTS, &Path::new("status"));
            super::validate_collisions(new, old, &mut errors);
            return errors;
        }
        super::validate_selector_kept(new, old, &mut errors);
        errors.extend(self.validate_create(new));
        errors
    }

    fn warnings(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<String> {
        let mut out = Warnings::default();
        pod_spec::warnings::of_workload(object, old, &mut out);
        out.into()
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn hidden_annotations(&self) -> &'static [&'static str] {
        &[TEMPLATE_GENERATION]
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let count = |field| i64_at(object, &["status", field]).unwrap_or_default();
        let [containers, images] = super::template_cells(object);
        let selector = super::selector_text(object);
        vec![
            table::name(object),
            count("desiredNumberScheduled").into(),
            count("currentNumberScheduled").into(),
            count("numberReady").into(),
            count("updatedNumberScheduled").into(),
            count("numberAvailable").into(),
            table::labels(at(object, &["spec", "template", "spec", "nodeSelector"])),
            table::age(object, now),
            containers,
            images,
            table::or(selector.as_deref().unwrap_or("<error>"), "<none>"),
        ]
    }
}

/// The numbers of the status, in upstream's order.
const COUNTS: &[&str] = &[
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
];

fn template_generation(object: &Value) -> i64 {
    object::annotation(object, TEMPLATE_GENERATION)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn set_template_generation(object: &mut Value, generation: i64) {
    if let Some(metadata) = object::metadata_mut(object)
        && let Some(annotations) = tree::child(metadata, "annotations")
    {
        annotations.insert(
            TEMPLATE_GENERATION.to_owned(),
            generation.to_string().into(),
        );
    }
}

fn validate_selector(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("selector");
    let selector = struct_at(object, &["spec", "selector"]);
    if let Some(tree) = selector {
        validate_label_selector(tree, &path, errors);
    }
    let template = at(object, &["spec", "template"]).unwrap_or(&Value::Null);
    if let Ok(read) = Selector::from_value(selector)
        && !read.matches_with(|key| label(template, key))
    {
        let labels = Path::new("spec")
            .child("template")
            .child("metadata")
            .child("labels");
        errors.push(Error::invalid(
            &labels,
            at(template, &["metadata", "labels"])
                .cloned()
                .unwrap_or_default(),
            "`selector` does not match template `labels`",
        ));
    }
    if let Some(tree) = selector
        && map_at(tree, &["matchLabels"]).is_none_or(Map::is_empty)
        && list_at(tree, &["matchExpressions"]).is_empty()
    {
        errors.push(Error::invalid(
            &path,
            tree.clone(),
            "empty selector is invalid for daemonset",
        ));
    }
}

fn validate_strategy(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("updateStrategy");
    let Some(strategy) = at(object, &["spec", "updateStrategy"]) else {
        return;
    };
    match str_at(strategy, &["type"]) {
        "OnDelete" => {}
        "RollingUpdate" => match struct_at(strategy, &["rollingUpdate"]) {
            None => errors.push(Error::required(&path.child("rollingUpdate"), "")),
            Some(rolling) => validate_rolling(rolling, &path.child("rollingUpdate"), errors),
        },
        _ => errors.push(Error::not_supported(
            &path,
            strategy.clone(),
            &["RollingUpdate", "OnDelete"],
        )),
    }
}

/// Either pods may be away, or there may be more of them: exactly one of the two.
fn validate_rolling(rolling: &Value, path: &Path, errors: &mut ErrorList) {
    let field = |name: &str| rolling.get(name).unwrap_or(&Value::Null);
    for name in ["maxUnavailable", "maxSurge"] {
        super::validate_int_or_percent(field(name), &path.child(name), errors);
    }
    for name in ["maxUnavailable", "maxSurge"] {
        super::validate_at_most_all(field(name), &path.child(name), errors);
    }
    let some = |name: &str| super::int_or_percent(field(name)).0 != 0;
    match (some("maxUnavailable"), some("maxSurge")) {
        (true, true) => errors.push(Error::invalid(
            &path.child("maxSurge"),
            field("maxSurge").clone(),
            "may not be set when maxUnavailable is non-zero",
        )),
        (false, false) => errors.push(Error::required(
            &path.child("maxUnavailable"),
            "cannot be 0 when maxSurge is 0",
        )),
        _ => {}
    }
}

#[cfg(test)]
mod tests;
