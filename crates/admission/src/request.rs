//! A write on its way through admission, and what judges it.

use async_trait::async_trait;
use knarr_api::{Alias, Kind, Kinds};
use knarr_audit::Annotations;
use knarr_auth::UserInfo;
use knarr_meta::status::Status;
use serde_json::Value;

use crate::{Warnings, reinvocation::Reinvocation};

/// What a write does, for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    Connect,
}

impl Operation {
    /// As rules and reviews name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}

/// What a request says beside its object: CreateOptions, UpdateOptions, DeleteOptions.
pub trait Options: Send + Sync {
    /// As on the wire, with the type that an operation has; null where there are none.
    fn to_value(&self, operation: Operation) -> Value;
}

/// Of the server's own writes.
impl Options for () {
    fn to_value(&self, _operation: Operation) -> Value {
        Value::Null
    }
}

/// Makes an object of one version of its resource one of another.
#[async_trait]
pub trait Converter: Send + Sync {
    /// `object` is of another version of `to`'s resource.
    ///
    /// # Errors
    /// 500 where it cannot be converted.
    async fn convert(&self, object: Value, to: &Kind) -> Result<Value, Status>;
}

/// As far as that is but another name.
#[async_trait]
impl Converter for () {
    async fn convert(&self, mut object: Value, to: &Kind) -> Result<Value, Status> {
        to.from_other(&mut object).map_err(Status::internal)?;
        Ok(object)
    }
}

/// A write on its way through admission.
pub struct AdmissionRequest<'a> {
    pub operation: Operation,
    pub kind: &'a Kind,
    /// The version of the request, where it is not the kind's own: `object` and `old` are of the kind's own all the same.
    pub alias: Option<&'a Alias>,
    /// What is served beside it.
    pub kinds: &'a Kinds,
    pub converter: &'a dyn Converter,
    pub options: &'a dyn Options,
    pub subresource: &'a str,
    pub namespace: &'a str,
    /// Empty for a create with generateName.
    pub name: &'a str,
    pub user: &'a UserInfo,
    /// A write of the server itself. Its user's name would not tell: a certificate, or who may impersonate, can have the same.
    pub own: bool,
    pub dry_run: bool,
    /// Absent on DELETE and CONNECT without body. For subresources with their own kind (Binding, Eviction, TokenRequest), that object.
    pub object: Option<&'a mut Value>,
    pub old: Option<&'a Value>,
    /// For `Warning: 299` headers.
    pub warnings: &'a Warnings,
    /// For the request's audit events.
    pub annotations: &'a Annotations,
    /// Between the rounds of the mutating phase.
    pub reinvocation: &'a mut Reinvocation,
}

/// Phases of admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Mutate,
    Validate,
}

/// One admission plugin; a file each under `admission/`.
#[async_trait]
pub trait AdmissionPlugin: Send + Sync {
    /// Upstream's name (`NamespaceLifecycle`).
    fn name(&self) -> &'static str;
    /// Whether it has something to do in a phase.
    fn runs_in(&self, _phase: Phase) -> bool {
        true
    }
    /// Whether it asks others: their servers, or their expressions. Not twice about the same write, then.
    fn asks_others(&self) -> bool {
        false
    }
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
