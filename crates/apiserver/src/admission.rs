//! Admission: plugins that complete or refuse a write after authorization.
//!
//! [`chain`] gives upstream's order. A plugin reads the watch cache and the request, nothing else; all mutating phases run
//! before the first validating one. What a plugin refuses is 403 in upstream's words ([`forbidden`]).

use std::sync::Arc;

use knarr_meta::{GroupResource, object, status::Status};
use serde_json::{Map, Value};

use crate::{
    authz::{Authz, escalation::RbacEscalation},
    request::{AdmissionChain, AdmissionRequest, Object, Objects},
};

mod default_ingress_class;
mod default_toleration_seconds;
mod namespace_lifecycle;
mod node_restriction;
mod priority;
mod service_account;
mod taint_nodes_by_condition;
#[cfg(test)]
mod tests;

pub use default_ingress_class::DefaultIngressClass;
pub use default_toleration_seconds::DefaultTolerationSeconds;
pub use namespace_lifecycle::NamespaceLifecycle;
pub use node_restriction::NodeRestriction;
pub use priority::Priority;
pub use service_account::ServiceAccount;
pub use taint_nodes_by_condition::TaintNodesByCondition;

/// Annotation of pods that a kubelet mirrors from its own files.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The plugins in upstream's order; the check against privilege escalation comes last, when nothing changes any more.
pub fn chain(objects: Arc<dyn Objects>, authz: Arc<Authz>) -> AdmissionChain {
    vec![
        Arc::new(NamespaceLifecycle::new(objects.clone())),
        Arc::new(ServiceAccount::new(objects.clone())),
        Arc::new(NodeRestriction::new(objects.clone())),
        Arc::new(TaintNodesByCondition),
        Arc::new(Priority::new(objects.clone())),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(DefaultIngressClass::new(objects)),
        Arc::new(RbacEscalation::new(authz.rbac().clone(), authz)),
    ]
}

/// Upstream's 403 of a plugin, naming the object as far as its name is known.
fn forbidden(request: &AdmissionRequest<'_>, why: impl std::fmt::Display) -> Status {
    let object = request.object.as_deref();
    let candidates = [
        request.name,
        object.map_or("", object::name),
        object.map_or("", object::generate_name),
    ];
    let name = candidates
        .into_iter()
        .find(|name| !name.is_empty())
        .unwrap_or("Unknown");
    Status::forbidden(
        GroupResource::new(request.kind.group.clone(), request.kind.resource.clone()),
        name,
        why,
    )
}

fn is(request: &AdmissionRequest<'_>, group: &str, resource: &str) -> bool {
    request.kind.group == group && request.kind.resource == resource
}

/// A pod itself, not one of its subresources.
fn is_pod(request: &AdmissionRequest<'_>) -> bool {
    is(request, "", "pods") && request.subresource.is_empty()
}

/// A cached object as a tree.
fn read(
    objects: &dyn Objects,
    group: &str,
    resource: &str,
    namespace: &str,
    name: &str,
) -> Option<Value> {
    parse(&objects.get(group, resource, namespace, name)?)
}

fn parse(object: &Object) -> Option<Value> {
    serde_json::from_slice(&object.json).ok()
}

/// The object's spec, made where it is missing.
fn spec(object: &mut Value) -> Result<&mut Map<String, Value>, Status> {
    object::child_mut(object, "spec").ok_or_else(|| Status::bad_request("spec is not an object"))
}

/// The list in a field, made where it is missing; `None` where something else stands there.
fn list<'m>(map: &'m mut Map<String, Value>, field: &str) -> Option<&'m mut Vec<Value>> {
    let entry = map.entry(field).or_insert(Value::Null);
    if entry.is_null() {
        *entry = Value::Array(Vec::new());
    }
    entry.as_array_mut()
}
