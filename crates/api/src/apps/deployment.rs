//! Deployment.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{self, at, i64_at, str_at, struct_at},
    status::Status,
};
use serde_json::{Map, Value};

use crate::{
    core::pod_spec,
    kind::{self, BuiltIn, Column, Part, SCALE, STATUS, Scope, Strategy, Verb},
    now::Now,
    table::{self, AGE, NAME, column, wide},
    tree, validate,
    warnings::{self, Warnings},
};

pub static KIND: BuiltIn = BuiltIn {
    group: "apps",
    version: "v1",
    kind: "Deployment",
    resource: "deployments",
    singular: "deployment",
    short_names: &["deploy"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[SCALE, STATUS],
    storage: Some("/registry/deployments"),
    definition: "io.k8s.api.apps.v1.Deployment",
    strategy: &Deployment,
    aliases: &[],
};

struct Deployment;

const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Ready replicas of desired ones."),
    column("Up-to-date", "string", "Replicas of the current template."),
    column(
        "Available",
        "string",
        "Replicas that have been ready for long enough.",
    ),
    AGE,
    super::CONTAINERS,
    super::IMAGES,
    wide("Selector", "string", "Labels of the deployment's pods."),
];

impl Strategy for Deployment {
    fn default(&self, object: &mut Value) {
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        tree::default_value(spec, "replicas", 1);
        tree::default_value(spec, "revisionHistoryLimit", 10);
        tree::default_value(spec, "progressDeadlineSeconds", 600);
        if let Some(strategy) = tree::child(spec, "strategy") {
            tree::default_str(strategy, "type", "RollingUpdate");
            if tree::text(strategy, "type") == "RollingUpdate"
                && let Some(rolling) = tree::child(strategy, "rollingUpdate")
            {
                tree::default_value(rolling, "maxUnavailable", "25%");
                tree::default_value(rolling, "maxSurge", "25%");
            }
        }
        super::default_template(spec);
    }

    fn prepare_create(&self, object: &mut Value) {
        tree::set(object, "status", Map::new());
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        super::keep_other_part(new, old, part);
        if part == Part::Status {
            tree::keep_metadata(new, old, "labels");
        }
    }

    /// Annotations count too: they are copied to ReplicaSets.
    fn changes_generation(&self, new: &Value, old: &Value) -> bool {
        kind::fields_differ(new, old) || kind::metadata_differs(new, old, "annotations")
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        super::validate_workload(object, &mut errors);
        validate_strategy(object, &mut errors);
        let path = Path::new("spec");
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let limits = &["revisionHistoryLimit", "progressDeadlineSeconds"];
        validate::none_negative(&mut errors, spec, limits, &path);
        let min_ready = i64_at(object, &["spec", "minReadySeconds"]).unwrap_or_default();
        if let Some(deadline) = i64_at(object, &["spec", "progressDeadlineSeconds"])
            && deadline <= min_ready
        {
            errors.push(Error::invalid(
                &path.child("progressDeadlineSeconds"),
                deadline,
                "must be greater than minReadySeconds",
            ));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        if part == Part::Status {
            let mut errors = ErrorList::new();
            super::validate_counts(
                new,
                &["updatedReplicas", "readyReplicas", "availableReplicas"],
                &mut errors,
            );
            let path = Path::new("status");
            let status = new.get("status").unwrap_or(&Value::Null);
            validate::none_negative(&mut errors, status, &["unavailableReplicas"], &path);
            super::validate_collisions(new, old, &mut errors);
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
        let status = |field| i64_at(object, &["status", field]).unwrap_or_default();
        let desired = i64_at(object, &["spec", "replicas"]).unwrap_or_default();
        let [containers, images] = super::template_cells(object);
        vec![
            table::name(object),
            format!("{}/{desired}", status("readyReplicas")).into(),
            status("updatedReplicas").into(),
            status("availableReplicas").into(),
            table::age(object, now),
            containers,
            images,
            super::selector_text(object)
                .unwrap_or_else(|| "<invalid>".to_owned())
                .into(),
        ]
    }

    fn scale(&self, object: &Value) -> Option<(i64, i64, String)> {
        super::scale(object)
    }

    fn set_scale(&self, object: &mut Value, replicas: i64) -> Result<(), Status> {
        super::set_scale(object, replicas)
    }
}

fn validate_strategy(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("strategy");
    let Some(strategy) = at(object, &["spec", "strategy"]) else {
        return;
    };
    let rolling = struct_at(strategy, &["rollingUpdate"]);
    let rolling_path = path.child("rollingUpdate");
    match (str_at(strategy, &["type"]), rolling) {
        ("Recreate", Some(_)) => errors.push(Error::forbidden(
            &rolling_path,
            "may not be specified when strategy `type` is 'Recreate'",
        )),
        ("Recreate", None) => {}
        ("RollingUpdate", Some(rolling)) => validate_rolling(rolling, &rolling_path, errors),
        ("RollingUpdate", None) => errors.push(Error::required(
            &rolling_path,
            "this should be defaulted and never be nil",
        )),
        _ => errors.push(Error::not_supported(
            &path,
            strategy.clone(),
            &["Recreate", "RollingUpdate"],
        )),
    }
}

fn validate_rolling(rolling: &Value, path: &Path, errors: &mut ErrorList) {
    let field = |name: &str| rolling.get(name).unwrap_or(&Value::Null);
    for name in ["maxUnavailable", "maxSurge"] {
        super::validate_int_or_percent(field(name), &path.child(name), errors);
    }
    let unavailable = field("maxUnavailable");
    let path = path.child("maxUnavailable");
    let none = |name: &str| super::int_or_percent(field(name)).0 == 0;
    if none("maxUnavailable") && none("maxSurge") {
        errors.push(Error::invalid(
            &path,
            unavailable.clone(),
            "may not be 0 when `maxSurge` is 0",
        ));
    }
    super::validate_at_most_all(unavailable, &path, errors);
}
