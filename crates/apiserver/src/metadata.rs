//! Objects that are shown by their metadata alone.

use knarr_api::kind::Strategy;
use knarr_meta::status::Status;
use serde_json::{Value, json};

use crate::negotiate::MetaVersion;

/// What a Table's rows carry of their objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

impl IncludeObject {
    pub fn parse(text: &str) -> Result<IncludeObject, Status> {
        match text {
            "" | "Metadata" => Ok(IncludeObject::Metadata),
            "None" => Ok(IncludeObject::None),
            "Object" => Ok(IncludeObject::Object),
            other => Err(Status::bad_request(format!(
                "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', 'None', or empty"
            ))),
        }
    }
}

/// PartialObjectMetadata of an object of a kind.
pub fn partial_of(strategy: &dyn Strategy, tree: &Value, version: MetaVersion) -> Value {
    let mut shown = partial(tree, version);
    hide(strategy, &mut shown["metadata"]);
    shown
}

/// Whether metadata that stands alone is that of whole objects, whose stored bytes serve.
pub fn is_stored(strategy: &dyn Strategy) -> bool {
    strategy.hidden_annotations().is_empty()
}

/// Takes from metadata what is not shown where it stands alone.
pub fn hide(strategy: &dyn Strategy, metadata: &mut Value) {
    let hidden = strategy.hidden_annotations();
    let Some(annotations) = metadata
        .get_mut("annotations")
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    annotations.retain(|name, _| !hidden.contains(&name.as_str()));
    if annotations.is_empty()
        && let Some(metadata) = metadata.as_object_mut()
    {
        metadata.remove("annotations");
    }
}

/// PartialObjectMetadata of an object. Metadata is the same in every version.
pub fn partial(tree: &Value, version: MetaVersion) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": version.api_version(),
        "metadata": tree.get("metadata").cloned().unwrap_or_default(),
    })
}
