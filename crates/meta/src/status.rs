//! `metav1.Status`: the one form in which the API reports failure, with upstream's reasons, codes and wording.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de,
    ser::{SerializeMap, SerializeStruct},
};
use serde_json::{Value, json};

use crate::{
    GroupKind, GroupResource,
    field::{self, ErrorList},
};

mod reason;

pub use reason::Reason;

/// One thing that is wrong, usually with one field.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    #[serde(rename = "reason", skip_serializing_if = "str::is_empty")]
    pub reason: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub message: String,
    /// The field's path, as `spec.ports[0].name`.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub field: String,
}

/// What the failure is about. `kind` is the resource for most reasons and the kind for `Invalid`, as upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Details {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub group: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds; 0 = none.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_zero(seconds: &u32) -> bool {
    *seconds == 0
}

/// A failure as the API reports it. Serializes to `metav1.Status` with status `Failure`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Status {
    pub message: String,
    pub reason: Reason,
    pub details: Option<Box<Details>>,
    /// The HTTP status code.
    pub code: u16,
}

impl Status {
    /// A failure without details.
    pub fn new(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Status {
            message: message.into(),
            reason,
            details: None,
            code,
        }
    }

    fn about(mut self, group: &str, kind: &str, name: &str) -> Self {
        self.details = Some(Box::new(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            ..Details::default()
        }));
        self
    }

    /// Details that say nothing, where upstream has them (`NewGenericServerResponse`).
    #[must_use]
    pub fn with_no_details(self) -> Self {
        self.about("", "", "")
    }

    /// Adds a cause to the details.
    #[must_use]
    pub fn with_cause(
        mut self,
        reason: impl Into<String>,
        message: impl Into<String>,
        field: impl Into<String>,
    ) -> Self {
        self.details.get_or_insert_default().causes.push(Cause {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        });
        self
    }

    /// Asks the client to retry after `seconds`; the HTTP layer repeats it as `Retry-After`.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.details.get_or_insert_default().retry_after_seconds = seconds;
        self
    }

    /// Names the object's uid in the details.
    #[must_use]
    pub fn with_uid(mut self, uid: impl Into<String>) -> Self {
        self.details.get_or_insert_default().uid = uid.into();
        self
    }

    /// Seconds after which to retry; 0 = not said.
    pub fn retry_after_seconds(&self) -> u32 {
        self.details
            .as_ref()
            .map_or(0, |details| details.retry_after_seconds)
    }

    /// Whether a cause of this machine-readable reason is there.
    pub fn has_cause(&self, reason: &str) -> bool {
        self.details
            .iter()
            .flat_map(|details| &details.causes)
            .any(|cause| cause.reason == reason)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Status::new(400, Reason::BadRequest, message)
    }

    /// 401. An empty message becomes upstream's `not authorized`.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let message = message.into();
        let message = if message.is_empty() {
            "not authorized".to_owned()
        } else {
            message
        };
        Status::new(401, Reason::Unauthorized, message)
    }

    /// 403. An empty resource (non-resource paths) and an empty name are left out of the message.
    pub fn forbidden(
        resource: impl Into<GroupResource>,
        name: &str,
        why: impl fmt::Display,
    ) -> Self {
        let resource = resource.into();
        let message = if resource.resource.is_empty() && resource.group.is_empty() {
            format!("forbidden: {why}")
        } else if name.is_empty() {
            format!("{resource} is forbidden: {why}")
        } else {
            format!("{resource} {} is forbidden: {why}", field::quote(name))
        };
        Status::new(403, Reason::Forbidden, message).about(
            &resource.group,
            &resource.resource,
            name,
        )
    }

    /// 404 for an object.
    pub fn not_found(resource: impl Into<GroupResource>, name: &str) -> Self {
        let resource = resource.into();
        let message = format!("{resource} {} not found", field::quote(name));
        Status::new(404, Reason::NotFound, message).about(&resource.group, &resource.resource, name)
    }

    /// 404 for a path that nothing serves.
    pub fn path_not_found() -> Self {
        Status::new(
            404,
            Reason::NotFound,
            "the server could not find the requested resource",
        )
        .about("", "", "")
    }

    /// 409 on create.
    pub fn already_exists(resource: impl Into<GroupResource>, name: &str) -> Self {
        let resource = resource.into();
        let message = format!("{resource} {} already exists", field::quote(name));
        Status::new(409, Reason::AlreadyExists, message).about(
            &resource.group,
            &resource.resource,
            name,
        )
    }

    /// 409 on create with generateName, when every name tried was taken.
    pub fn generate_name_conflict(
        resource: impl Into<GroupResource>,
        name: &str,
        retry_after_seconds: u32,
    ) -> Self {
        let resource = resource.into();
        let message = format!(
            "{resource} {} already exists, the server was not able to generate a unique name for the object",
            field::quote(name)
        );
        Status::new(409, Reason::AlreadyExists, message)
            .about(&resource.group, &resource.resource, name)
            .with_retry_after(retry_after_seconds)
    }

    /// 409 on update.
    pub fn conflict(
        resource: impl Into<GroupResource>,
        name: &str,
        why: impl fmt::Display,
    ) -> Self {
        let resource = resource.into();
        let message = format!(
            "Operation cannot be fulfilled on {resource} {}: {why}",
            field::quote(name)
        );
        Status::new(409, Reason::Conflict, message).about(&resource.group, &resource.resource, name)
    }

    /// 409 with upstream's words for a resourceVersion that is not the current one.
    pub fn modified(resource: impl Into<GroupResource>, name: &str) -> Self {
        Status::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422.
    pub fn invalid(kind: impl Into<GroupKind>, name: &str, errors: ErrorList) -> Self {
        let kind = kind.into();
        let mut message = format!("{kind} {} is invalid", field::quote(name));
        if !errors.is_empty() {
            message.push_str(": ");
            message.push_str(&field::aggregate(&errors));
        }
        let mut status =
            Status::new(422, Reason::Invalid, message).about(&kind.group, &kind.kind, name);
        for error in errors {
            let body = error.body();
            status = status.with_cause(error.kind.as_str(), body, error.field);
        }
        status
    }

    /// 405: the resource does not have this verb.
    pub fn method_not_supported(resource: impl Into<GroupResource>, verb: &str) -> Self {
        let resource = resource.into();
        let message = format!(
            "{verb} is not supported on resources of kind {}",
            field::quote(&resource.to_string())
        );
        Status::new(405, Reason::MethodNotAllowed, message).about(
            &resource.group,
            &resource.resource,
            "",
        )
    }

    /// 405: the path does not have this HTTP method.
    pub fn method_not_allowed() -> Self {
        Status::new(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )
        .about("", "", "")
    }

    /// 406.
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Status::new(406, Reason::NotAcceptable, message)
    }

    /// 415.
    pub fn unsupported_media_type(message: impl Into<String>) -> Self {
        Status::new(415, Reason::UnsupportedMediaType, message)
    }

    /// 413.
    pub fn request_too_large(message: impl fmt::Display) -> Self {
        Status::new(
            413,
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: {message}"),
        )
    }

    /// 410: the revision asked for is compacted, or a continue token is too old.
    pub fn expired(message: impl Into<String>) -> Self {
        Status::new(410, Reason::Expired, message)
    }

    /// 410 of a watch that starts below what is kept.
    pub fn gone(message: impl Into<String>) -> Self {
        Status::new(410, Reason::Gone, message)
    }

    /// 504.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Status::new(504, Reason::Timeout, format!("Timeout: {message}"))
            .with_retry_after(retry_after_seconds)
    }

    /// 504 for a resourceVersion that the server has not reached within its wait.
    pub fn too_large_resource_version(wanted: u64, current: u64, retry_after_seconds: u32) -> Self {
        Status::timeout(
            format_args!("Too large resource version: {wanted}, current: {current}"),
            retry_after_seconds,
        )
        .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
    }

    /// 500 with reason ServerTimeout: try again.
    pub fn server_timeout(
        resource: impl Into<GroupResource>,
        operation: &str,
        retry_after_seconds: u32,
    ) -> Self {
        let resource = resource.into();
        let message = format!(
            "The {operation} operation against {resource} could not be completed at this time, please try again."
        );
        Status::new(500, Reason::ServerTimeout, message)
            .about(&resource.group, &resource.resource, operation)
            .with_retry_after(retry_after_seconds)
    }

    /// 429.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Status::new(429, Reason::TooManyRequests, message).with_retry_after(retry_after_seconds)
    }

    /// 503.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Status::new(503, Reason::ServiceUnavailable, message)
    }

    /// 500.
    pub fn internal(why: impl fmt::Display) -> Self {
        Status::new(
            500,
            Reason::InternalError,
            format!("Internal error occurred: {why}"),
        )
        .with_cause("", why.to_string(), "")
    }

    /// 500 without a reason: what upstream makes of an error that it does not expect where it is met.
    pub fn unexpected(message: impl Into<String>) -> Self {
        Status::new(500, Reason::Unknown, message)
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// The wire form as a tree, for ERROR events of a watch.
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The wire form as bytes.
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The Status object that answers a successful DELETE.
pub fn success(resource: &GroupResource, name: &str, uid: &str) -> Value {
    let mut details = json!({"name": name, "kind": resource.resource, "uid": uid});
    if !resource.group.is_empty() {
        details["group"] = json!(resource.group);
    }
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    })
}

impl From<&GroupResource> for GroupResource {
    fn from(resource: &GroupResource) -> Self {
        resource.clone()
    }
}

impl From<&GroupKind> for GroupKind {
    fn from(kind: &GroupKind) -> Self {
        kind.clone()
    }
}

struct Empty;

impl Serialize for Empty {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(Some(0))?.end()
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Status", 8)?;
        out.serialize_field("kind", "Status")?;
        out.serialize_field("apiVersion", "v1")?;
        out.serialize_field("metadata", &Empty)?;
        out.serialize_field("status", "Failure")?;
        if !self.message.is_empty() {
            out.serialize_field("message", &self.message)?;
        }
        if self.reason != Reason::Unknown {
            out.serialize_field("reason", &self.reason)?;
        }
        if let Some(details) = &self.details {
            out.serialize_field("details", details)?;
        }
        out.serialize_field("code", &self.code)?;
        out.end()
    }
}

impl<'de> Deserialize<'de> for Status {
    /// Reads a failure; a Status of success is an error here.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(default)]
        struct Wire {
            kind: String,
            status: String,
            message: String,
            reason: Reason,
            details: Option<Box<Details>>,
            code: u16,
        }
        impl Default for Wire {
            fn default() -> Self {
                Wire {
                    kind: String::new(),
                    status: String::new(),
                    message: String::new(),
                    reason: Reason::Unknown,
                    details: None,
                    code: 500,
                }
            }
        }
        let wire = Wire::deserialize(deserializer)?;
        if !wire.kind.is_empty() && wire.kind != "Status" {
            return Err(de::Error::custom(format_args!(
                "unexpected object: kind {:?}",
                wire.kind
            )));
        }
        if wire.status == "Success" {
            return Err(de::Error::custom("the status is a success"));
        }
        Ok(Status {
            message: wire.message,
            reason: wire.reason,
            details: wire.details,
            code: wire.code,
        })
    }
}

#[cfg(test)]
mod tests;
