//! Objects for tests, written as JSON.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The time in all tests.
pub(crate) fn now() -> Timestamp {
    "2030-01-01T12:00:00Z".parse().expect("a time")
}

pub(crate) fn object<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("an object of this type")
}

/// A pod that runs on `node` and is ready since an hour, changed by `more` (merged into it).
pub(crate) fn pod(name: &str, node: &str, more: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {
            "namespace": "x", "name": name, "uid": format!("uid-{name}"), "labels": {"app": "web"},
            "creationTimestamp": "2030-01-01T11:00:00Z",
        },
        "spec": {"nodeName": node, "containers": [
            {"name": "c", "ports": [{"name": "http", "containerPort": 8080}]},
        ]},
        "status": {
            "phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}],
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2030-01-01T11:00:00Z"}],
        },
    });
    merge(&mut pod, more);
    Arc::new(object(pod))
}

pub(crate) fn not_ready() -> Value {
    json!({"status": {"conditions": [
        {"type": "Ready", "status": "False", "lastTransitionTime": "2030-01-01T11:30:00Z"},
    ]}})
}

pub(crate) fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, more) => *target = more,
    }
}
