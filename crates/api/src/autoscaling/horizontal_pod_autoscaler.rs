//! HorizontalPodAutoscaler.

mod columns;
mod metrics;
mod rules;
mod v1;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, at, i64_at, list_at, str_at, struct_at},
};
use serde_json::{Value, json};

use crate::{
    apps,
    kind::{Alias, BuiltIn, Column, Part, STATUS, Scope, Strategy, Verb, as_stored},
    now::Now,
    table::{self, AGE, NAME, column},
    tree, validate,
};

pub static KIND: BuiltIn = BuiltIn {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    resource: "horizontalpodautoscalers",
    singular: "horizontalpodautoscaler",
    short_names: &["hpa"],
    categories: &["all"],
    scope: Scope::Namespaced,
    verbs: Verb::ALL,
    subresources: &[STATUS],
    storage: Some("/registry/horizontalpodautoscalers"),
    definition: "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
    strategy: &HorizontalPodAutoscaler,
    aliases: &[Alias {
        group: "autoscaling",
        version: "v1",
        definition: "io.k8s.api.autoscaling.v1.HorizontalPodAutoscaler",
        decode: v1::decode,
        encode: v1::encode,
        field_labels: &[],
        validate: as_stored,
    }],
};

/// Percentage of the requested cpu that is aimed at where nothing else is said.
const CPU_UTILIZATION: i64 = 80;

struct HorizontalPodAutoscaler;

const COLUMNS: &[Column] = &[
    NAME,
    column("Reference", "string", "What is scaled."),
    column(
        "Targets",
        "string",
        "What is measured, and what is aimed at.",
    ),
    column("MinPods", "string", "Lowest number of replicas."),
    column("MaxPods", "string", "Highest number of replicas."),
    column("Replicas", "string", "Replicas when it was last looked at."),
    AGE,
];

impl Strategy for HorizontalPodAutoscaler {
    fn default(&self, object: &mut Value) {
        v1::drop_annotations(object);
        let Some(spec) = object::child_mut(object, "spec") else {
            return;
        };
        tree::default_value(spec, "minReplicas", 1);
        let metrics = spec.get("metrics").and_then(Value::as_array);
        if metrics.is_none_or(Vec::is_empty) {
            spec.insert("metrics".to_owned(), json!([cpu(CPU_UTILIZATION)]));
        }
        rules::default(spec);
    }

    fn prepare_create(&self, object: &mut Value) {
        // The fields that are always shown.
        tree::set(
            object,
            "status",
            json!({"currentMetrics": null, "desiredReplicas": 0}),
        );
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        apps::keep_other_part(new, old, part);
    }

    fn validate_create(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        validate_spec(object, None, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value, part: Part) -> ErrorList {
        let mut errors = ErrorList::new();
        if part == Part::Status {
            validate_status(new, &mut errors);
        } else {
            validate_spec(new, Some(old), &mut errors);
        }
        errors
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn columns(&self) -> &[Column] {
        COLUMNS
    }

    fn cells(&self, object: &Value, now: &Now) -> Vec<Value> {
        let text = |path: &[&str]| str_at(object, path).to_owned();
        let target = ["kind", "name"].map(|field| text(&["spec", "scaleTargetRef", field]));
        let number = |path: &[&str]| i64_at(object, path);
        let least = number(&["spec", "minReplicas"]);
        vec![
            table::name(object),
            target.join("/").into(),
            columns::targets(object).into(),
            least.map_or("<unset>".to_owned(), |n| n.to_string()).into(),
            number(&["spec", "maxReplicas"]).unwrap_or_default().into(),
            number(&["status", "currentReplicas"])
                .unwrap_or_default()
                .into(),
            table::age(object, now),
        ]
    }
}

/// The metric of an average use of the requested cpu, in percent.
fn cpu(utilization: impl Into<Value>) -> Value {
    json!({"type": "Resource", "resource": {"name": "cpu", "target": {
        "type": "Utilization", "averageUtilization": utilization.into()}}})
}

fn validate_spec(object: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let path = Path::new("spec");
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let (least, most) = (
        i64_at(spec, &["minReplicas"]),
        i64_at(spec, &["maxReplicas"]).unwrap_or_default(),
    );
    validate::none_negative(errors, spec, &["minReplicas"], &path);
    let max = path.child("maxReplicas");
    if most == 0 {
        errors.push(Error::required(&max, ""));
    } else if most < 0 {
        errors.push(Error::invalid(
            &max,
            most,
            "must be greater than or equal to 1",
        ));
    }
    if least.is_some_and(|least| most < least) {
        let message = "must be greater than or equal to `minReplicas`";
        errors.push(Error::invalid(&max, most, message));
    }
    let target = spec.get("scaleTargetRef").unwrap_or(&Value::Null);
    let kept = |field| {
        old.is_some_and(|old| {
            str_at(old, &["spec", "scaleTargetRef", field]) == str_at(target, &[field])
        })
    };
    let version = match kept("apiVersion") && kept("kind") {
        true => Version::Any,
        // The one kind of the core group that can be scaled.
        false if str_at(target, &["kind"]) == "ReplicationController" => Version::Core,
        false => Version::Grouped,
    };
    validate_reference(target, version, &path.child("scaleTargetRef"), errors);
    metrics::validate(spec, old, &path.child("metrics"), errors);
    rules::validate(spec, &path.child("behavior"), errors);
}

/// Which versions a reference may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    /// What stood there before.
    Any,
    /// The core group's, or with a group.
    Core,
    Grouped,
}

/// What is wrong with the version of a reference.
fn version_error(version: &str, allowed: Version) -> Option<String> {
    let slashes = version.matches('/').count();
    match allowed {
        Version::Any => None,
        _ if slashes > 1 => Some(format!("unexpected GroupVersion string: {version}")),
        Version::Grouped if slashes == 0 || version.starts_with('/') => {
            Some("apiVersion must specify API group".to_owned())
        }
        Version::Grouped | Version::Core => None,
    }
}

/// A reference to an object of any kind.
fn validate_reference(reference: &Value, version: Version, path: &Path, errors: &mut ErrorList) {
    let segment = |text: &str| names::path_segment(text, false);
    for field in ["kind", "name"] {
        validate::required(errors, reference, field, path, segment);
    }
    let text = str_at(reference, &["apiVersion"]);
    if let Some(message) = version_error(text, version) {
        errors.push(Error::invalid(&path.child("apiVersion"), text, message));
    }
}

fn validate_status(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("status");
    for (index, condition) in list_at(object, &["status", "conditions"])
        .iter()
        .enumerate()
    {
        let path = path.child("conditions").index(index);
        validate::none_negative(errors, condition, &["observedGeneration"], &path);
    }
    let status = struct_at(object, &["status"]).unwrap_or(&Value::Null);
    let counts = ["currentReplicas", "desiredReplicas"];
    validate::none_negative(errors, status, &counts, &path);
}

/// Whether a metric is the average use of the requested cpu.
fn is_cpu(metric: &Value) -> bool {
    str_at(metric, &["type"]) == "Resource"
        && str_at(metric, &["resource", "name"]) == "cpu"
        && at(metric, &["resource", "target", "averageUtilization"]).is_some_and(Value::is_number)
}

#[cfg(test)]
mod tests;
