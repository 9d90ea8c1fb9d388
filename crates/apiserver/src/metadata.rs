//! Objects that are shown by their metadata alone.

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
                "unrecognized includeObject value: {other}"
            ))),
        }
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
