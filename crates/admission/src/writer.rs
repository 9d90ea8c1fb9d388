//! How the server itself writes: bootstrap, allocators, expiry.

use async_trait::async_trait;
use knarr_api::{Kind, kind::Part};
use knarr_meta::status::Status;
use serde_json::Value;

/// What the writes of the server itself (bootstrap, allocators, token requests) go through: the same path as a client's
/// request but without authorization.
#[async_trait]
pub trait Writer: Send + Sync {
    async fn create(&self, kind: &Kind, namespace: &str, object: Value) -> Result<Value, Status>;
    /// Reads, applies, compares and swaps, retries. `change` returns false to leave the object alone.
    async fn update(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
        part: Part,
        change: &(dyn for<'v> Fn(&'v mut Value) -> Result<bool, Status> + Send + Sync),
    ) -> Result<Value, Status>;
    /// Unconditional delete; deleting what does not exist is an error (404).
    async fn delete(&self, kind: &Kind, namespace: &str, name: &str) -> Result<(), Status>;
}
