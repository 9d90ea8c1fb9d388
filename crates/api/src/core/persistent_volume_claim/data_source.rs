//! What a claim's volume is filled from: `dataSource`, and `dataSourceRef`, which came later and takes any kind.

use serde_json::{Map, Value};

use crate::tree;

/// Sources of the older field: kind and group.
const OLD_KINDS: &[(&str, &str)] = &[
    ("PersistentVolumeClaim", ""),
    ("VolumeSnapshot", "snapshot.storage.k8s.io"),
];

/// Drops what the older field never took, and gives both fields the same contents where one is set. Claims that have a source
/// keep it, whatever it is.
pub(super) fn normalize(spec: &mut Map<String, Value>, old: Option<&Value>) {
    let in_use = |field: &str| old.is_some_and(|old| is_set(old.get(field)));
    if has_namespace(spec) && !in_use("dataSourceRef") {
        // Sources of other namespaces are behind a gate that is off.
        spec.remove("dataSourceRef");
    }
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    let known = source.and_then(Value::as_object).is_some_and(|source| {
        let (kind, group) = (tree::text(source, "kind"), tree::text(source, "apiGroup"));
        OLD_KINDS.contains(&(kind, group))
    });
    let kept = in_use("dataSource") || in_use("dataSourceRef");
    if !kept && !is_set(reference) && !known {
        spec.remove("dataSource");
    }
    match (
        spec.get("dataSource").cloned(),
        spec.get("dataSourceRef").cloned(),
    ) {
        (Some(source @ Value::Object(_)), None | Some(Value::Null)) => {
            spec.insert("dataSourceRef".to_owned(), source);
        }
        (None | Some(Value::Null), Some(reference @ Value::Object(_))) if !has_namespace(spec) => {
            let mut source = reference;
            if let Some(source) = source.as_object_mut() {
                source.remove("namespace");
            }
            spec.insert("dataSource".to_owned(), source);
        }
        _ => {}
    }
}

fn is_set(field: Option<&Value>) -> bool {
    field.is_some_and(Value::is_object)
}

fn has_namespace(spec: &Map<String, Value>) -> bool {
    let reference = spec.get("dataSourceRef").and_then(Value::as_object);
    reference.is_some_and(|reference| !tree::text(reference, "namespace").is_empty())
}
