//! Versions that serve what another one stores.

use knarr_meta::field::ErrorList;
use serde_json::Value;

/// Another group-version that serves the same stored objects (events.k8s.io/v1 beside v1 Event).
#[derive(Clone)]
pub struct Alias {
    pub group: &'static str,
    pub version: &'static str,
    /// Definition of the served schema, as `io.k8s.api.events.v1.Event`.
    pub definition: &'static str,
    /// From the stored version to this one.
    pub decode: fn(Value) -> Value,
    /// From this version to the stored one.
    pub encode: fn(Value) -> Value,
    /// Field labels of this version beside `metadata.name` and `metadata.namespace`, with those of the stored one. It has no
    /// others.
    pub field_labels: &'static [(&'static str, &'static str)],
    /// What else has to be so where a write comes by this version: of the new and the old object in the stored one.
    pub validate: fn(&Value, Option<&Value>) -> ErrorList,
}

/// Of a version that allows what the stored one allows.
pub fn as_stored(_new: &Value, _old: Option<&Value>) -> ErrorList {
    ErrorList::new()
}

impl Alias {
    /// What the stored version calls a field label of this one.
    pub fn stored_label<'l>(&self, label: &'l str) -> Option<&'l str> {
        if matches!(label, "metadata.name" | "metadata.namespace") {
            return Some(label);
        }
        let mut labels = self.field_labels.iter();
        labels
            .find(|(ours, _)| *ours == label)
            .map(|(_, stored)| *stored)
    }
}
