//! Where the REST core and security meet: who asks, what is asked, and the traits that decide.

use std::{borrow::Cow, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use knarr_api::{Kind, kind::Part};
pub use knarr_auth::{Authenticated, UserInfo};
use knarr_meta::{fields::FieldSelector, labels, status::Status};
use serde_json::Value;

/// The request as authorizers see it, parsed once from method, path and query (upstream's `request.RequestInfo`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestInfo<'a> {
    pub is_resource: bool,
    pub path: &'a str,
    /// `get`, `list`, `watch`, `create`, …; the lower-case HTTP method for non-resource paths.
    pub verb: &'a str,
    pub group: &'a str,
    pub version: &'a str,
    pub namespace: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub name: &'a str,
    /// What a list, watch or deletecollection selects: the very value that its handler filters by.
    pub selectors: Cow<'a, Selectors>,
}

/// The selectors of a request; the default selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selectors {
    pub labels: labels::Selector,
    pub fields: FieldSelector,
}

impl Selectors {
    /// 400, in upstream's words, where one cannot be parsed.
    pub fn parse(labels: &str, fields: &str) -> Result<Selectors, Status> {
        let invalid = |error: &dyn std::fmt::Display| Status::bad_request(error.to_string());
        Ok(Selectors {
            labels: labels::Selector::parse(labels).map_err(|e| invalid(&e))?,
            fields: FieldSelector::parse(fields).map_err(|e| invalid(&e))?,
        })
    }
}

/// An answer of an authorizer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Allow { reason: String },
    Deny { reason: String },
    NoOpinion { reason: String },
}

/// Decides from in-memory indexes; never waits.
pub trait Authorizer: Send + Sync {
    fn authorize(&self, user: &UserInfo, request: &RequestInfo<'_>) -> Decision;
}

/// What a connection or a request carries as proof.
pub struct Credentials<'a> {
    /// DER of the verified client certificate chain's leaf (TLS has checked the chain against the CA).
    pub client_certificate: Option<&'a [u8]>,
    /// The `Authorization` header's bearer token.
    pub bearer: Option<&'a str>,
}

/// Turns credentials into a user. `Ok(None)`: no credentials (anonymous). `Err`: 401.
#[async_trait]
pub trait Authenticator: Send + Sync {
    async fn authenticate(
        &self,
        credentials: Credentials<'_>,
    ) -> Result<Option<Authenticated>, Status>;
}

/// Read access to the watch cache for security and allocators: plaintext bytes of the stored version, without copying.
#[async_trait]
pub trait Objects: Send + Sync {
    /// `namespace` is empty for cluster-scoped kinds.
    fn get(&self, group: &str, resource: &str, namespace: &str, name: &str) -> Option<Object>;
    /// `namespace` empty: all namespaces.
    fn list(&self, group: &str, resource: &str, namespace: &str) -> Vec<Object>;
    /// Objects whose selectable `field` has this value (`spec.nodeName` of pods). `None`: the cache keeps no such index; the
    /// caller then reads [`Objects::list`] and looks itself.
    fn list_by_field(
        &self,
        _group: &str,
        _resource: &str,
        _field: &str,
        _value: &str,
    ) -> Option<Vec<Object>> {
        None
    }
    /// Waits for an object that another component is about to create. `None`: it did not come within `wait`.
    async fn appears(
        &self,
        group: &str,
        resource: &str,
        namespace: &str,
        name: &str,
        wait: Duration,
    ) -> Option<Object>;
    /// Changes with each published event of the resource; holds the revision. Derived indexes rebuild lazily when it moved.
    fn revision_of(&self, group: &str, resource: &str) -> u64;
}

/// A cached object.
#[derive(Clone, Debug)]
pub struct Object {
    pub revision: u64,
    /// JSON of the stored version; metadata.resourceVersion is absent.
    pub json: Bytes,
}

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

/// What a write does, for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

/// A write on its way through admission.
pub struct AdmissionRequest<'a> {
    pub operation: Operation,
    pub kind: &'a Kind,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty for a create with generateName.
    pub name: &'a str,
    pub user: &'a UserInfo,
    pub dry_run: bool,
    /// Absent on DELETE and CONNECT without body. For subresources with their own kind (Binding, Eviction, TokenRequest), that object.
    pub object: Option<&'a mut Value>,
    pub old: Option<&'a Value>,
    /// For `Warning: 299` headers.
    pub warnings: &'a mut Vec<Cow<'static, str>>,
}

/// One admission plugin; a file each under `admission/`.
#[async_trait]
pub trait AdmissionPlugin: Send + Sync {
    /// Upstream's name (`NamespaceLifecycle`).
    fn name(&self) -> &'static str;
    /// Cheap test before the boxed future is made.
    fn handles(&self, request: &AdmissionRequest<'_>) -> bool;
    /// Mutating phase.
    async fn admit(&self, _request: &mut AdmissionRequest<'_>) -> Result<(), Status> {
        Ok(())
    }
    /// Validating phase, after every mutation.
    async fn validate(&self, _request: &AdmissionRequest<'_>) -> Result<(), Status> {
        Ok(())
    }
}

/// Plugins in their order.
pub type AdmissionChain = Vec<Arc<dyn AdmissionPlugin>>;

/// What one write has taken. Dropped without a word (the write was cut off, its outcome is not known) it stays taken until the
/// taker has looked into the store.
pub trait Taken: Send + Sync {
    /// The write is durable: this is the object that has it now.
    fn keep(self: Box<Self>, object: &Value);
    /// The write did not happen.
    fn undo(self: Box<Self>);
}

/// What must be taken or given back around a write of certain kinds: service addresses, node ports. Called by the write path
/// in this order: `before_create`, strategy, validation, commit; then the guard is kept or undone. All calls take part in each
/// retry of an update. With `dry_run` nothing stays taken.
#[async_trait]
pub trait WriteHook: Send + Sync {
    /// Cheap test by kind; the other methods are only called where it holds.
    fn handles(&self, kind: &Kind) -> bool;
    /// Fills in what the object needs. An error refuses the create and leaves nothing taken.
    async fn before_create(&self, object: &mut Value) -> Result<Box<dyn Taken>, Status>;
    /// Takes what `new` needs beyond `old`; gives nothing back yet.
    async fn before_update(&self, new: &mut Value, old: &Value) -> Result<Box<dyn Taken>, Status>;
    /// The update is durable: gives back what `old` had and `new` has no more.
    async fn after_update(&self, new: &Value, old: &Value);
    /// The delete is durable: gives everything back.
    async fn after_delete(&self, object: &Value);
}

/// Who creates a virtual object, and where.
pub struct Creation<'a> {
    pub kind: &'a Kind,
    pub user: &'a UserInfo,
    /// Empty for cluster-scoped kinds.
    pub namespace: &'a str,
    /// Name of the parent for subresources (`serviceaccounts/NAME/token`), else empty.
    pub name: &'a str,
    pub dry_run: bool,
}

/// Answers POST where nothing is stored: the review kinds and `serviceaccounts/token`. The object came through decoding (its
/// apiVersion and kind are checked) and admission; the answer is written as it is with code 201.
#[async_trait]
pub trait CreateHandler: Send + Sync {
    async fn create(&self, creation: Creation<'_>, object: Value) -> Result<Value, Status>;
}

/// (group, resource) or (group, "resource/subresource") to its handler.
pub type CreateHandlers =
    std::collections::HashMap<(&'static str, &'static str), Arc<dyn CreateHandler>>;

/// A page outside the API: `/.well-known/openid-configuration`, `/openid/v1/jwks`. Content type and body.
pub type Page = Arc<dyn Fn() -> (&'static str, Bytes) + Send + Sync>;

/// Path to page.
pub type Pages = std::collections::HashMap<&'static str, Page>;
