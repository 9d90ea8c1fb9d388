//! Pod templates: when two are the same, and the hash that tells a deployment's ReplicaSets apart.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use knarr_meta::names;
use serde_json::Value;

/// The label that distinguishes the pods of a deployment's ReplicaSets.
pub(crate) const HASH_LABEL: &str = "pod-template-hash";

/// Maps in which no entry and no map mean the same.
const MAPS: [&str; 6] = [
    "labels",
    "annotations",
    "nodeSelector",
    "limits",
    "requests",
    "matchLabels",
];

/// Equal but for the hash label (upstream `EqualIgnoreHash`), with absent and empty lists and maps held for the same.
pub(crate) fn equal_ignoring_hash(a: &PodTemplateSpec, b: &PodTemplateSpec) -> bool {
    if a.spec != b.spec && normalised(&a.spec) != normalised(&b.spec) {
        return false;
    }
    let meta = |t: &PodTemplateSpec| {
        let mut meta = t.metadata.clone().unwrap_or_default();
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH_LABEL);
        }
        normalised(&meta)
    };
    meta(a) == meta(b)
}

/// Whether two trees mean the same, with absent and empty lists and maps held for the same.
pub(crate) fn same(a: &Value, b: &Value) -> bool {
    normalised(a) == normalised(b)
}

fn normalised<T: serde::Serialize>(value: &T) -> Value {
    let mut tree = serde_json::to_value(value).unwrap_or_default();
    drop_empty(&mut tree);
    tree
}

fn drop_empty(tree: &mut Value) {
    match tree {
        Value::Object(fields) => {
            fields.values_mut().for_each(drop_empty);
            fields.retain(|name, value| match value {
                Value::Null => false,
                Value::Array(items) => !items.is_empty(),
                Value::Object(entries) => !entries.is_empty() || !MAPS.contains(&name.as_str()),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

/// A hash of the template, in the alphabet and shape of upstream's (the value itself differs: upstream hashes Go's print of
/// its structs). A higher `collision_count` gives another hash for the same template.
pub(crate) fn hash(template: &PodTemplateSpec, collision_count: Option<i32>) -> String {
    let text = normalised(template).to_string();
    let mut hash = Fnv32::default();
    hash.write(text.as_bytes());
    if let Some(count) = collision_count {
        hash.write(&count.to_le_bytes());
    }
    names::safe_encode(&hash.0.to_string())
}

/// FNV-1a, 32 bits: short names, and upstream's choice.
struct Fnv32(u32);

impl Default for Fnv32 {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv32 {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}
