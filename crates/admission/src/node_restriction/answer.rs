//! How a node is answered.

use knarr_auth::objects::Objects;
use knarr_meta::{GroupResource, object, status::Status};
use serde_json::Value;

use crate::{read, request::Operation};

/// Why not: a message for a 403, or a whole answer.
pub(super) enum Refusal {
    Forbidden(String),
    Status(Status),
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Refusal::Forbidden(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Refusal::Forbidden(why.to_owned())
    }
}

pub(super) type Answer = Result<(), Refusal>;

pub(super) fn need<R: Into<Refusal>>(condition: bool, why: impl FnOnce() -> R) -> Answer {
    if condition { Ok(()) } else { Err(why().into()) }
}

/// As upstream's errors print an operation.
pub(super) fn shown(operation: Operation) -> &'static str {
    match operation {
        Operation::Create => "\"CREATE\"",
        Operation::Update => "\"UPDATE\"",
        Operation::Delete => "\"DELETE\"",
        Operation::Connect => "\"CONNECT\"",
    }
}

/// The node that a pod, or what is made for one, is of.
pub(super) fn node_of(pod: &Value) -> &str {
    object::str_at(pod, &["spec", "nodeName"])
}

/// An object of the core group; 404 where there is none.
pub(super) fn find(
    objects: &dyn Objects,
    resource: &'static str,
    namespace: &str,
    name: &str,
) -> Result<Value, Refusal> {
    read(objects, "", resource, namespace, name)
        .ok_or_else(|| Refusal::Status(Status::not_found(GroupResource::new("", resource), name)))
}
