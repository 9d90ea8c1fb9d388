//! A stored object as the columns of its kind see it: without its managed fields, which are half of many objects, and which no column
//! of a built-in kind shows.

use std::fmt;

use knarr_api::Served;
use knarr_registry::cache::entry::Entry;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

/// Parses the state for its cells.
pub fn tree(served: &Served, entry: &Entry) -> Value {
    // Columns of other kinds are paths, to whatever there is.
    if !served.kind.is_built_in() {
        return entry.tree();
    }
    let mut deserializer = serde_json::Deserializer::from_slice(&entry.json);
    let tree = Fields {
        inner: Some("metadata"),
        left_out: "",
    };
    let mut tree = tree.deserialize(&mut deserializer).unwrap_or_default();
    if entry.revision > 0
        && let Some(meta) = tree.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let version = Value::from(entry.revision.to_string());
        meta.insert("resourceVersion".to_owned(), version);
    }
    tree
}

/// The fields of an object.
struct Fields {
    /// The one that has fields that are left out.
    inner: Option<&'static str>,
    left_out: &'static str,
}

impl<'de> DeserializeSeed<'de> for Fields {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Fields {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(name) = access.next_key::<String>()? {
            if name == self.left_out {
                access.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = match self.inner == Some(name.as_str()) {
                true => access.next_value_seed(Fields {
                    inner: None,
                    left_out: "managedFields",
                })?,
                false => access.next_value()?,
            };
            map.insert(name, value);
        }
        Ok(Value::Object(map))
    }
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
