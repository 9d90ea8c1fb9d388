//! Objects for tests, written as JSON.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use serde_json::{Value, json};

pub(crate) fn claim(more: Value) -> PersistentVolumeClaim {
    let mut claim = json!({
        "metadata": {"namespace": "x", "name": "c", "uid": "uid-c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Gi"}}},
    });
    merge(&mut claim, more);
    serde_json::from_value(claim).expect("a claim")
}

pub(crate) fn volume(name: &str, size: &str, more: Value) -> Arc<PersistentVolume> {
    let mut volume = json!({
        "metadata": {"name": name},
        "spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": size}},
        "status": {"phase": "Available"},
    });
    merge(&mut volume, more);
    Arc::new(serde_json::from_value(volume).expect("a volume"))
}

fn merge(target: &mut Value, more: Value) {
    match (target, more) {
        (Value::Object(target), Value::Object(more)) => {
            for (key, value) in more {
                merge(target.entry(key).or_insert(Value::Null), value);
            }
        }
        (target, more) => *target = more,
    }
}
