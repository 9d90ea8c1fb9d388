//! The variables that expressions see.

use std::sync::Arc;

use knarr_api::admissionregistration::expressions::{
    AUTHORIZER, NAMESPACE, NAMESPACE_TYPE, OBJECT, OLD_OBJECT, REQUEST, REQUEST_TYPE,
    RESOURCE_CHECK,
};
use knarr_auth::request::Authorizer;
use knarr_cel::{Val, authz};
use knarr_meta::{Gvk, Gvr};
use serde_json::{Map, Value, json};

use super::{Matched, authorizer::OfUser, request_namespace, requested_kind, requested_resource};
use crate::request::AdmissionRequest;

/// A request with its objects in the version that matched.
pub struct Activation<'a> {
    /// Null where there is none.
    pub object: &'a Value,
    pub old: &'a Value,
    /// Of [`request_value`].
    pub request: &'a Value,
    /// Null where there is none, and for match conditions of webhooks, as upstream.
    pub namespace: &'a Value,
    authorizer: Arc<OfUser>,
    resource: authz::Resource,
}

impl<'a> Activation<'a> {
    /// `request` is the [`request_value`] of `of`.
    pub fn new(
        of: &AdmissionRequest<'_>,
        request: &'a Value,
        object: &'a Value,
        old: &'a Value,
        namespace: &'a Value,
        authorizer: &Arc<dyn Authorizer>,
    ) -> Activation<'a> {
        let Gvr {
            group, resource, ..
        } = requested_resource(of);
        Activation {
            object,
            old,
            request,
            namespace,
            authorizer: Arc::new(OfUser {
                authorizer: authorizer.clone(),
                user: of.user.clone(),
            }),
            resource: authz::Resource {
                group: group.into_owned(),
                resource: resource.into_owned(),
                subresource: of.subresource.to_owned(),
                namespace: request_namespace(of).to_owned(),
                name: of.name.to_owned(),
                ..authz::Resource::default()
            },
        }
    }

    /// The variables with their values, for [`knarr_cel::Program::eval`].
    pub fn bindings<'b>(&'b self) -> Vec<(&'b str, Val<'b>)> {
        let asked = || self.authorizer.clone() as Arc<dyn authz::Authorizer>;
        vec![
            (OBJECT, Val::json(self.object)),
            (OLD_OBJECT, Val::json(self.old)),
            (REQUEST, Val::object(self.request, &REQUEST_TYPE)),
            (NAMESPACE, Val::object(self.namespace, &NAMESPACE_TYPE)),
            (AUTHORIZER, authz::authorizer(asked())),
            (
                RESOURCE_CHECK,
                authz::resource_check(asked(), self.resource.clone()),
            ),
        ]
    }
}

/// A request as reviews and expressions tell it: an AdmissionRequest without uid and objects. Empty texts are left out, as in
/// upstream's JSON.
pub fn request_value(request: &AdmissionRequest<'_>, matched: &Matched) -> Value {
    let mut value = Map::new();
    let mut put = |field: &str, of: Value| value.insert(field.to_owned(), of);
    put("kind", kind(&matched.kind(request)));
    put("resource", resource(&matched.resource(request)));
    put("requestKind", kind(&requested_kind(request)));
    put("requestResource", resource(&requested_resource(request)));
    for (field, text) in [
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", request_namespace(request)),
    ] {
        if !text.is_empty() {
            put(field, json!(text));
        }
    }
    put("operation", json!(request.operation.as_str()));
    put("userInfo", user(request));
    put("dryRun", json!(request.dry_run));
    put("options", request.options.to_value(request.operation));
    value.into()
}

fn kind(of: &Gvk) -> Value {
    json!({"group": of.group, "version": of.version, "kind": of.kind})
}

fn resource(of: &Gvr) -> Value {
    json!({"group": of.group, "version": of.version, "resource": of.resource})
}

fn user(request: &AdmissionRequest<'_>) -> Value {
    let user = request.user;
    let mut value = Map::new();
    let mut put = |field: &str, of: Value| value.insert(field.to_owned(), of);
    if !user.name.is_empty() {
        put("username", json!(user.name));
    }
    if !user.uid.is_empty() {
        put("uid", json!(user.uid));
    }
    if !user.groups.is_empty() {
        put("groups", json!(user.groups));
    }
    if !user.extra.is_empty() {
        put("extra", json!(user.extra));
    }
    value.into()
}
