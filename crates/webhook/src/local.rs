//! API servers that are parts of this process: group-versions that are neither kinds of the registry nor behind a Service.

use std::fmt::Debug;

use async_trait::async_trait;
use knarr_auth::route::ApiRequest;
use knarr_meta::status::Status;
use serde_json::Value;

/// A group-version whose requests are answered in this process. They have been authenticated, authorized and counted before, and
/// end after the time that any request has.
#[async_trait]
pub trait LocalApi: Debug + Send + Sync {
    fn group(&self) -> &'static str;

    fn version(&self) -> &'static str;

    /// `groupPriorityMinimum` and `versionPriority` of its APIService.
    fn priority(&self) -> (i32, i32);

    /// APIResourceDiscovery objects, all of it that is served.
    fn resources(&self) -> Vec<Value>;

    /// The OpenAPI v3 document.
    fn schema(&self) -> Value;

    /// The same as OpenAPI v2.
    fn schema_v2(&self) -> Value;

    /// The object or list that is asked for; the server encodes it as the client accepts it.
    ///
    /// # Errors
    /// The Status for the client: 404 for resources that are not served, 405 for verbs.
    async fn answer(&self, request: &ApiRequest<'_>) -> Result<Value, Status>;

    /// `columnDefinitions` and `rows` of a Table of what was answered, each row with its whole object.
    fn table(&self, object: &Value) -> Value;
}
