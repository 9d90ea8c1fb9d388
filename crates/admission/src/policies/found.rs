//! Parameters of policies, as bindings keep them.

use std::sync::Arc;

use knarr_api::Kind;
use serde_json::Value;

/// Parameters as they were read.
#[derive(Debug)]
pub struct Found {
    pub of: Of,
    pub params: Vec<Arc<Value>>,
}

/// What parameters were read of: they are the same as long as this is.
#[derive(Debug)]
pub struct Of {
    pub kind: Arc<Kind>,
    pub version: String,
    pub namespace: String,
    /// Of the object that is named, or of all of its kind; none: it is not there.
    pub revision: Option<u64>,
}

impl Of {
    pub fn is_same(&self, other: &Of) -> bool {
        Arc::ptr_eq(&self.kind, &other.kind)
            && (&self.version, &self.namespace) == (&other.version, &other.namespace)
            && self.revision == other.revision
    }
}
