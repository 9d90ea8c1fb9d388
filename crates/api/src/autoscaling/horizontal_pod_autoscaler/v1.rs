//! autoscaling/v1: one metric has a field, the others and all that is newer stand in annotations.

use knarr_meta::object::{self, at, list_at, str_at};
use serde_json::{Map, Value, json};

use super::{cpu, is_cpu};
use crate::tree;

mod text;

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

/// What a field of v1 holds where v2 has nothing for it.
#[derive(Clone, Copy)]
enum Zero {
    /// It is left out.
    Absent,
    Text,
    Amount,
    Reference,
}

use Zero::{Absent, Amount, Reference, Text};

/// A path in a source of v2, and its field in v1.
type Pair = (&'static [&'static str], &'static str, Zero);

/// Fields of a metric's source by its field.
const SOURCES: [(&str, &[Pair]); 5] = [
    (
        "object",
        &[
            (&["describedObject"], "target", Reference),
            (&["metric", "name"], "metricName", Text),
            (&["metric", "selector"], "selector", Absent),
            (&["target", "value"], "targetValue", Amount),
            (&["target", "averageValue"], "averageValue", Absent),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName", Text),
            (&["metric", "selector"], "selector", Absent),
            (&["target", "averageValue"], "targetAverageValue", Amount),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName", Text),
            (&["metric", "selector"], "metricSelector", Absent),
            (&["target", "value"], "targetValue", Absent),
            (&["target", "averageValue"], "targetAverageValue", Absent),
        ],
    ),
    ("resource", &[NAME, UTILIZATION, AVERAGE]),
    (
        "containerResource",
        &[NAME, CONTAINER, UTILIZATION, AVERAGE],
    ),
];
const NAME: Pair = (&["name"], "name", Text);
const CONTAINER: Pair = (&["container"], "container", Text);
const UTILIZATION: Pair = (
    &["target", "averageUtilization"],
    "targetAverageUtilization",
    Absent,
);
const AVERAGE: Pair = (&["target", "averageValue"], "targetAverageValue", Absent);

/// Fields of a metric's status by its field.
const STATUSES: [(&str, &[Pair]); 5] = [
    (
        "object",
        &[
            (&["describedObject"], "target", Reference),
            (&["metric", "name"], "metricName", Text),
            (&["metric", "selector"], "selector", Absent),
            (&["current", "value"], "currentValue", Amount),
            (&["current", "averageValue"], "averageValue", Absent),
        ],
    ),
    (
        "pods",
        &[
            (&["metric", "name"], "metricName", Text),
            (&["metric", "selector"], "selector", Absent),
            (&["current", "averageValue"], "currentAverageValue", Amount),
        ],
    ),
    (
        "external",
        &[
            (&["metric", "name"], "metricName", Text),
            (&["metric", "selector"], "metricSelector", Absent),
            (&["current", "value"], "currentValue", Amount),
            (&["current", "averageValue"], "currentAverageValue", Absent),
        ],
    ),
    ("resource", &[NAME, CURRENT_UTILIZATION, CURRENT_AVERAGE]),
    (
        "containerResource",
        &[NAME, CONTAINER, CURRENT_UTILIZATION, CURRENT_AVERAGE],
    ),
];
const CURRENT_UTILIZATION: Pair = (
    &["current", "averageUtilization"],
    "currentAverageUtilization",
    Absent,
);
const CURRENT_AVERAGE: Pair = (&["current", "averageValue"], "currentAverageValue", Amount);

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
        annotations.insert(key.to_owned(), text::of(value).into());
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
        annotate(&mut object, BEHAVIOR, &internal(&behavior));
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
        for (path, name, zero) in *pairs {
            let given = at(source, path).filter(|value| !value.is_null());
            let value = given.cloned().or(match zero {
                Absent => None,
                Text => Some(json!("")),
                Amount => Some(json!("0")),
                Reference => Some(json!({"kind": "", "name": ""})),
            });
            own.extend(value.map(|value| ((*name).to_owned(), value)));
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

/// Fields of the internal type that have no value of their own for nothing.
const RULES: [&str; 4] = [
    "Policies",
    "SelectPolicy",
    "StabilizationWindowSeconds",
    "Tolerance",
];

/// The behaviour as Go writes its internal type: a field that nobody has set is null.
fn internal(behavior: &Value) -> Value {
    let mut whole = renamed(behavior, |c| c.to_ascii_uppercase());
    let Some(map) = whole.as_object_mut() else {
        return whole;
    };
    for direction in ["ScaleUp", "ScaleDown"] {
        let rules = map.entry(direction).or_insert(Value::Null);
        for field in RULES {
            if let Some(rules) = rules.as_object_mut() {
                rules.entry(field).or_insert(Value::Null);
            }
        }
    }
    whole
}

/// A tree whose fields begin with another letter: the annotation has the names that Go's structs have.
fn renamed(value: &Value, first: fn(&char) -> char) -> Value {
    match value {
        Value::Object(map) => {
            let set = map.iter().filter(|(_, value)| !value.is_null());
            let fields = set.map(|(name, value)| {
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
