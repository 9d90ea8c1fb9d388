//! A stored object as the columns of its kind see it.

use knarr_api::Served;
use knarr_registry::cache::entry::Entry;
use serde::de::DeserializeSeed;
use serde_json::Value;

/// Parses the state for its cells.
pub fn tree(served: &Served, entry: &Entry) -> Value {
    // Columns of other kinds are paths, to whatever there is.
    if !served.kind.is_built_in() {
        return entry.tree();
    }
    let mut deserializer = serde_json::Deserializer::from_slice(&entry.json);
    let shown = served.kind.strategy.shown();
    let mut tree = shown.deserialize(&mut deserializer).unwrap_or_default();
    if entry.revision > 0
        && let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let version = Value::from(entry.revision.to_string());
        meta.insert("resourceVersion".to_owned(), version);
    }
    tree
}

#[cfg(test)]
mod tests {
    use knarr_registry::cache::entry::encode;
    use serde_json::json;

    use super::*;

    #[test]
    fn all_but_managed_fields_is_there() {
        let kind = knarr_api::built_in("", "v1", "configmaps").expect("a core kind");
        let served = Served::stored(kind.clone());
        let mut object = json!({
            "kind": "ConfigMap", "apiVersion": "v1", "immutable": true,
            "metadata": {
                "name": "c", "namespace": "n", "labels": {"managedFields": "x"}, "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [{"manager": "m", "fieldsV1": {"f:data": {"f:metadata": {}}}}],
            },
            "data": {"managedFields": "y", "metadata": "{\"managedFields\":1}"},
        });
        for revision in [0, 7] {
            let entry =
                Entry::new(kind, "n/c".into(), revision, encode(&object)).expect("an object");
            let mut wanted = entry.tree();
            let metadata = wanted["metadata"].as_object_mut().expect("metadata");
            assert!(metadata.remove("managedFields").is_some());
            assert_eq!(tree(&served, &entry), wanted);
        }
        object["metadata"]
            .as_object_mut()
            .expect("metadata")
            .remove("managedFields");
        let entry = Entry::new(kind, "n/c".into(), 7, encode(&object)).expect("an object");
        assert_eq!(tree(&served, &entry), entry.tree());
    }
}
