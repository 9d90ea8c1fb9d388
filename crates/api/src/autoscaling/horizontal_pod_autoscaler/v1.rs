//! autoscaling/v1: one metric has a field, the others and all that is newer stand in annotations.

use knarr_meta::object::{self, at, list_at, str_at};
use serde_json::{Map, Value, json};

use super::{cpu, is_cpu};
use crate::tree;

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
const ANNOTATIONS: [&str; 6] = [
    METRICS,
    CURRENT_METRICS,
    CONDITIONS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
];

/// A path in a source of v2, its field in v1, and whether v1 always has it (an amount of nothing, where there is none).
type Pair = (&'static [&'static str], &'static str, bool);

/// Fields of a metric's source by its field.
const SOURCES: [(&str, &[Pair]); 5] = [
    (
        "object",
        &[
            (&["describedObject"], "target", false),
            (&["metric", "name"], "metricName", false),
            (&["metric", "selector"], "selector", false),
            (&["target", "value"], "targetValue", true),
            (&["target", "averageValue"], "averageValue", false),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName", false),
            (&["metric", "selector"], "selector", false),
            (&["target", "averageValue"], "targetAverageValue", true),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName", false),
            (&["metric", "selector"], "metricSelector", false),
            (&["target", "value"], "targetValue", false),
            (&["target", "averageValue"], "targetAverageValue", false),
        ],
    ),
    ("resource", RESOURCE),
    ("containerResource", RESOURCE),
];
const RESOURCE: &[Pair] = &[
    (&["name"], "name", false),
    (&["container"], "container", false),
    (
        &["target", "averageUtilization"],
        "targetAverageUtilization",
        false,
    ),
    (&["target", "averageValue"], "targetAverageValue", false),
];

/// Fields of a metric's status by its field.
const STATUSES: [(&str, &[Pair]); 5] = [
    (
        "object",
        &[
            (&["describedObject"], "target", false),
            (&["metric", "name"], "metricName", false),
            (&["metric", "selector"], "selector", false),
            (&["current", "value"], "currentValue", true),
            (&["current", "averageValue"], "averageValue", false),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName", false),
            (&["metric", "selector"], "selector", false),
            (&["current", "averageValue"], "currentAverageValue", true),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName", false),
            (&["metric", "selector"], "metricSelector", false),
            (&["current", "value"], "currentValue", true),
            (&["current", "averageValue"], "currentAverageValue", false),
        ],
    ),
    ("resource", RESOURCE_STATUS),
    ("containerResource", RESOURCE_STATUS),
];
const RESOURCE_STATUS: &[Pair] = &[
    (&["name"], "name", false),
    (&["container"], "container", false),
    (
        &["current", "averageUtilization"],
        "currentAverageUtilization",
        false,
    ),
    (&["current", "averageValue"], "currentAverageValue", true),
];

/// Annotations of v1 that a client may have left in an object of v2.
pub(super) fn drop_annotations(object: &mut Value) {
    let annotations = object
        .get_mut("metadata")
        .and_then(|meta| meta.get_mut("annotations"))
        .and_then(Value::as_object_mut);
    if let Some(annotations) = annotations {
        annotations.retain(|key, _| !ANNOTATIONS.contains(&key.as_str()));
    }
}

fn annotate(object: &mut Value, key: &str, value: &Value) {
    if let Some(meta) = object::metadata_mut(object)
        && let Some(annotations) = tree::child(meta, "annotations")
    {
        annotations.insert(key.to_owned(), value.to_string().into());
    }
}

fn annotated(object: &Value, key: &str) -> Option<Value> {
    serde_json::from_str(object::annotation(object, key)?).ok()
}

/// From v2.
pub(super) fn decode(mut object: Value) -> Value {
    drop_annotations(&mut object);
    tree::set(&mut object, "apiVersion", "autoscaling/v1");
    let metrics = list_at(&object, &["spec", "metrics"]).to_vec();
    let current = list_at(&object, &["status", "currentMetrics"]).to_vec();
    let conditions = at(&object, &["status", "conditions"]).cloned();
    let behavior = at(&object, &["spec", "behavior"]).cloned();
    let others: Vec<Value> = metrics
        .iter()
        .filter(|metric| !is_cpu(metric))
        .map(|metric| to_v1(metric, &SOURCES))
        .collect();
    if !others.is_empty() {
        annotate(&mut object, METRICS, &others.into());
    }
    if !current.is_empty() {
        let current: Vec<Value> = current
            .iter()
            .map(|metric| to_v1(metric, &STATUSES))
            .collect();
        annotate(&mut object, CURRENT_METRICS, &current.into());
    }
    if let Some(behavior) = behavior.filter(Value::is_object) {
        annotate(
            &mut object,
            BEHAVIOR,
            &renamed(&behavior, |c| c.to_ascii_uppercase()),
        );
    }
    if let Some(conditions) = conditions.filter(|c| c.as_array().is_some_and(|c| !c.is_empty())) {
        annotate(&mut object, CONDITIONS, &conditions);
    }
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        spec.remove("metrics");
        spec.remove("behavior");
        if let Some(metric) = metrics.iter().find(|metric| is_cpu(metric)) {
            let percent = at(metric, &["resource", "target", "averageUtilization"]);
            spec.insert(
                "targetCPUUtilizationPercentage".to_owned(),
                percent.cloned().unwrap_or_default(),
            );
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("currentMetrics");
        status.remove("conditions");
        tree::default_value(status, "currentReplicas", 0);
        tree::default_value(status, "desiredReplicas", 0);
        let cpu = |metric: &&Value| str_at(metric, &["resource", "name"]) == "cpu";
        let percent = |metric| at(metric, &["resource", "current", "averageUtilization"]);
        if let Some(percent) = current.iter().filter(cpu).filter_map(percent).next_back() {
            status.insert(
                "currentCPUUtilizationPercentage".to_owned(),
                percent.clone(),
            );
        }
    }
    object
}

/// To v2.
pub(super) fn encode(mut object: Value) -> Value {
    tree::set(&mut object, "apiVersion", "autoscaling/v2");
    let list = |value: Option<Value>| value.and_then(|value| value.as_array().cloned());
    let others = list(annotated(&object, METRICS));
    let current = list(annotated(&object, CURRENT_METRICS));
    let conditions = list(annotated(&object, CONDITIONS));
    let behavior =
        annotated(&object, BEHAVIOR).filter(|b| b.as_object().is_some_and(|b| !b.is_empty()));
    if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) {
        let mut metrics: Vec<Value> = others
            .unwrap_or_default()
            .iter()
            .map(|metric| from_v1(metric, &SOURCES))
            .collect();
        let percent = spec.remove("targetCPUUtilizationPercentage");
        metrics.extend(percent.filter(|percent| !percent.is_null()).map(cpu));
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), metrics.into());
        }
        if let Some(behavior) = behavior {
            let behavior = renamed(&behavior, |c| c.to_ascii_lowercase());
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if let Some(status) = object.get_mut("status").and_then(Value::as_object_mut) {
        let percent = status.remove("currentCPUUtilizationPercentage");
        let known = percent.filter(|percent| !percent.is_null()).map(|percent| {
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}}})
        });
        let current = match current {
            Some(current) => current
                .iter()
                .map(|metric| from_v1(metric, &STATUSES))
                .collect(),
            None => known.into_iter().collect::<Vec<_>>(),
        };
        if !current.is_empty() {
            status.insert("currentMetrics".to_owned(), current.into());
        }
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions.into());
        }
    }
    drop_annotations(&mut object);
    object
}

type Table = [(&'static str, &'static [Pair]); 5];

fn to_v1(metric: &Value, table: &Table) -> Value {
    let mut converted = Map::from_iter([("type".to_owned(), json!(str_at(metric, &["type"])))]);
    for (field, pairs) in table {
        let Some(source) = metric.get(*field).filter(|source| source.is_object()) else {
            continue;
        };
        let mut own = Map::new();
        for (path, name, always) in *pairs {
            match at(source, path).filter(|value| !value.is_null()) {
                Some(value) => drop(own.insert((*name).to_owned(), value.clone())),
                None if *always => drop(own.insert((*name).to_owned(), json!("0"))),
                None => {}
            }
        }
        converted.insert((*field).to_owned(), own.into());
    }
    converted.into()
}

fn from_v1(metric: &Value, table: &Table) -> Value {
    let mut converted = Map::from_iter([("type".to_owned(), json!(str_at(metric, &["type"])))]);
    for (field, pairs) in table {
        let Some(source) = metric.get(*field).filter(|source| source.is_object()) else {
            continue;
        };
        let mut own = Value::Object(Map::new());
        for (path, name, _) in *pairs {
            if let Some(value) = source.get(*name).filter(|value| !value.is_null()) {
                put(&mut own, path, value.clone());
            }
        }
        if own.get("target").is_some() && pairs.iter().any(|(path, ..)| path[0] == "target") {
            let type_ = target_type(field, &own["target"]);
            put(&mut own, &["target", "type"], json!(type_));
        }
        converted.insert((*field).to_owned(), own);
    }
    converted.into()
}

/// v1 does not say what its amounts mean: it follows from which are there.
fn target_type(field: &str, target: &Value) -> &'static str {
    let has = |name: &str| target.get(name).is_some();
    match field {
        "resource" | "containerResource" if has("averageUtilization") => "Utilization",
        "object" | "external" if !has("averageValue") => "Value",
        _ => "AverageValue",
    }
}

fn put(tree: &mut Value, path: &[&str], value: Value) {
    let Some((last, parents)) = path.split_last() else {
        return;
    };
    let mut place = tree;
    for parent in parents {
        place = &mut place[*parent];
    }
    place[*last] = value;
}

/// A tree whose fields begin with another letter: the annotation has the names that Go's structs have.
fn renamed(value: &Value, first: fn(&char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let fields = map.iter().map(|(name, value)| {
                let mut letters = name.chars();
                let start: String = letters.next().iter().map(first).collect();
                (
                    format!("{start}{}", letters.as_str()),
                    renamed(value, first),
                )
            });
            Value::Object(fields.collect())
        }
        Value::Array(list) => list.iter().map(|value| renamed(value, first)).collect(),
        other => other.clone(),
    }
}
