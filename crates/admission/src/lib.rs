//! Admission: plugins that complete or refuse a write after authorization.
//!
//! [`chain`] gives upstream's order. A plugin reads the watch cache and the request, nothing else, and writes nothing but what
//! quotas have used; [`webhooks`] ask servers of others. All mutating phases run before the first validating one. What a plugin refuses is 403 in upstream's words ([`forbidden`]).

use std::{
    cmp::Reverse,
    sync::{Arc, Weak},
};

use knarr_api::core::pod;
use knarr_auth::{
    authz::Authz,
    objects::{Object, Objects},
};
use knarr_meta::{GroupResource, object, status::Status};
use serde_json::{Map, Value};

use crate::{
    request::{AdmissionPlugin, AdmissionRequest, Operation},
    writer::Writer,
};

pub mod audit;
mod certificates;
pub mod configuration;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
pub mod matching;
mod mutating_admission_policy;
mod namespace_lifecycle;
mod node_declared_features;
mod node_restriction;
mod persistent_volume_claim_resize;
mod pod_resize;
mod pod_security;
pub mod pod_topology_labels;
mod policies;
mod policy_params;
mod priority;
mod rbac_escalation;
pub mod reinvocation;
pub mod request;
mod resource_claims;
mod resource_quota;
mod runtime_class;
mod service_account;
mod storage_object_in_use_protection;
mod taint_nodes_by_condition;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod validating_admission_policy;
mod warnings;
mod webhooks;
pub mod writer;

pub use certificates::{
    CertificateApproval, CertificateSigning, CertificateSubjectRestriction,
    ClusterTrustBundleAttest, PodCertificateSigning,
};
pub use configuration::Configuration;
pub use default_ingress_class::DefaultIngressClass;
pub use default_storage_class::DefaultStorageClass;
pub use default_toleration_seconds::DefaultTolerationSeconds;
pub use limit_ranger::LimitRanger;
pub use mutating_admission_policy::MutatingAdmissionPolicy;
pub use namespace_lifecycle::NamespaceLifecycle;
pub use node_declared_features::NodeDeclaredFeatureValidator;
pub use node_restriction::NodeRestriction;
pub use persistent_volume_claim_resize::PersistentVolumeClaimResize;
pub use pod_resize::PodResizeValidator;
pub use pod_security::PodSecurity;
pub use pod_topology_labels::PodTopologyLabels;
pub use policy_params::PolicyParams;
pub use priority::Priority;
pub use rbac_escalation::RbacEscalation;
pub use resource_claims::ResourceClaims;
pub use resource_quota::ResourceQuota;
pub use runtime_class::RuntimeClass;
pub use service_account::ServiceAccount;
pub use storage_object_in_use_protection::StorageObjectInUseProtection;
pub use taint_nodes_by_condition::TaintNodesByCondition;
pub use validating_admission_policy::ValidatingAdmissionPolicy;
pub use warnings::Warnings;
pub use webhooks::{MutatingWebhooks, ValidatingWebhooks};

/// Plugins in their order.
pub type AdmissionChain = Vec<Arc<dyn AdmissionPlugin>>;

/// Annotation of pods that a kubelet mirrors from its own files.
const MIRROR_ANNOTATION: &str = "kubernetes.io/config.mirror";

/// The plugins in upstream's order; the check against privilege escalation comes when nothing changes any more, and quotas are
/// charged last. `writer` is the server whose chain this is, `clients` call its webhooks.
pub fn chain(
    configuration: &Configuration,
    objects: Arc<dyn Objects>,
    authz: Arc<Authz>,
    writer: Weak<dyn Writer>,
    clients: Arc<knarr_webhook::Clients>,
) -> AdmissionChain {
    let calls = webhooks::Calls::new(objects.clone(), authz.clone(), clients);
    vec![
        Arc::new(NamespaceLifecycle::new(objects.clone())),
        Arc::new(LimitRanger::new(objects.clone())),
        Arc::new(ServiceAccount::new(objects.clone())),
        Arc::new(NodeRestriction::new(objects.clone(), authz.clone())),
        Arc::new(TaintNodesByCondition),
        Arc::new(PodSecurity::new(
            objects.clone(),
            configuration.pod_security.clone(),
        )),
        Arc::new(Priority::new(objects.clone())),
        Arc::new(DefaultTolerationSeconds),
        Arc::new(DefaultStorageClass::new(objects.clone())),
        Arc::new(StorageObjectInUseProtection),
        Arc::new(PersistentVolumeClaimResize::new(objects.clone())),
        Arc::new(RuntimeClass::new(objects.clone())),
        Arc::new(CertificateApproval::new(authz.clone())),
        Arc::new(CertificateSigning::new(authz.clone())),
        Arc::new(ClusterTrustBundleAttest::new(authz.clone())),
        Arc::new(CertificateSubjectRestriction),
        Arc::new(DefaultIngressClass::new(objects.clone())),
        Arc::new(PodTopologyLabels::new(objects.clone())),
        Arc::new(NodeDeclaredFeatureValidator::new(objects.clone())),
        Arc::new(PodResizeValidator::new(objects.clone())),
        Arc::new(MutatingAdmissionPolicy::new(objects.clone(), authz.clone())),
        Arc::new(MutatingWebhooks::new(calls.clone())),
        Arc::new(ValidatingAdmissionPolicy::new(
            objects.clone(),
            authz.clone(),
        )),
        Arc::new(PodCertificateSigning::new(authz.clone())),
        Arc::new(ResourceClaims::new(objects.clone(), authz.clone())),
        Arc::new(RbacEscalation::new(authz.rbac().clone(), authz.clone())),
        Arc::new(PolicyParams::new(objects.clone(), authz)),
        Arc::new(ValidatingWebhooks::new(calls)),
        Arc::new(ResourceQuota::new(objects, writer)),
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

/// Upstream's refusal while nobody can say who has to be asked.
fn not_ready(request: &AdmissionRequest<'_>) -> Status {
    forbidden(request, "not yet ready to handle request")
}

fn is(request: &AdmissionRequest<'_>, group: &str, resource: &str) -> bool {
    request.kind.group == group && request.kind.resource == resource
}

/// True when only what the garbage collector writes differs. Upstream's `IsOnlyMutatingGCFields`.
fn only_gc_fields(new: &Value, old: &Value) -> bool {
    let strip = |value: &Value| {
        let mut value = value.clone();
        if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
            for field in [
                "ownerReferences",
                "finalizers",
                "selfLink",
                "managedFields",
                "resourceVersion",
            ] {
                metadata.remove(field);
            }
        }
        value
    };
    strip(new) == strip(old)
}

/// A pod itself, not one of its subresources.
fn is_pod(request: &AdmissionRequest<'_>) -> bool {
    is(request, "", "pods") && request.subresource.is_empty()
}

/// A change of a pod's resources in place.
fn is_resize(request: &AdmissionRequest<'_>) -> bool {
    is(request, "", "pods")
        && request.subresource == pod::RESIZE
        && request.operation == Operation::Update
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

/// The name of the class marked as default: of several the newest, then the first by name.
fn default_class(classes: &[Object], is_default: impl Fn(&Value) -> bool) -> Option<String> {
    let marked = classes.iter().filter_map(parse).filter(is_default);
    let newest = marked.min_by_key(|class| {
        let created = object::creation_timestamp(class).to_owned();
        (Reverse(created), object::name(class).to_owned())
    })?;
    Some(object::name(&newest).to_owned())
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
