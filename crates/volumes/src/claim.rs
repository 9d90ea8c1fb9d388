//! What a claim asks for.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    core::v1::{ObjectReference, PersistentVolumeClaim, PersistentVolumeClaimSpec},
    storage::v1::StorageClass,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_meta::Quantity;

use crate::names;

/// The mode of volumes that are mounted, and of those that say nothing.
pub const FILESYSTEM: &str = "Filesystem";
/// The mode of volumes that containers get as a device.
pub const BLOCK: &str = "Block";
/// What makes volumes of classes that nobody provisions.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

const WAITS: &str = "WaitForFirstConsumer";

/// An annotation's value.
pub fn annotation<'m>(meta: &'m ObjectMeta, key: &str) -> Option<&'m str> {
    let annotations: &BTreeMap<String, String> = meta.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn spec(claim: &PersistentVolumeClaim) -> Option<&PersistentVolumeClaimSpec> {
    claim.spec.as_ref()
}

/// The claim's class; empty where it is to have none, or has none yet ([`has_class`]).
pub fn class(claim: &PersistentVolumeClaim) -> &str {
    let field = || spec(claim)?.storage_class_name.as_deref();
    annotation(&claim.metadata, names::CLASS)
        .or_else(field)
        .unwrap_or_default()
}

/// Whether the claim says a class, if only that it is to have none.
pub fn has_class(claim: &PersistentVolumeClaim) -> bool {
    let field = spec(claim).and_then(|spec| spec.storage_class_name.as_ref());
    annotation(&claim.metadata, names::CLASS).is_some() || field.is_some()
}

/// The class of attributes that the claim wants; empty for none.
pub fn attributes_class(claim: &PersistentVolumeClaim) -> &str {
    let class = spec(claim).and_then(|spec| spec.volume_attributes_class_name.as_deref());
    class.unwrap_or_default()
}

/// The volume that the claim has, or asks for; empty for none.
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    let name = spec(claim).and_then(|spec| spec.volume_name.as_deref());
    name.unwrap_or_default()
}

/// How much the claim asks for.
pub fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let requests = spec(claim).and_then(|spec| spec.resources.as_ref()?.requests.as_ref());
    let storage = requests.and_then(|requests| requests.get("storage"));
    storage
        .and_then(|quantity| Quantity::parse(&quantity.0).ok())
        .unwrap_or_default()
}

/// How the claim wants to mount its volume.
pub fn access_modes(claim: &PersistentVolumeClaim) -> &[String] {
    let modes = spec(claim).and_then(|spec| spec.access_modes.as_deref());
    modes.unwrap_or_default()
}

/// A file system or a device.
pub fn volume_mode(claim: &PersistentVolumeClaim) -> &str {
    let mode = spec(claim).and_then(|spec| spec.volume_mode.as_deref());
    mode.filter(|mode| !mode.is_empty()).unwrap_or(FILESYSTEM)
}

/// The node chosen for the claim's first pod.
pub fn selected_node(claim: &PersistentVolumeClaim) -> Option<&str> {
    annotation(&claim.metadata, names::SELECTED_NODE).filter(|node| !node.is_empty())
}

/// The claim has its volume, and the binder has said so.
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(&claim.metadata, names::BIND_COMPLETED).is_some()
}

/// Whether claims of the class wait for a pod that uses them.
pub fn waits_for_consumer(class: &StorageClass) -> bool {
    class.volume_binding_mode.as_deref() == Some(WAITS)
}

/// Whether claims without a class get this one.
pub fn is_default_class(class: &StorageClass) -> bool {
    let mut keys = names::DEFAULT_CLASS.iter();
    keys.any(|key| annotation(&class.metadata, key) == Some("true"))
}

/// The phase in the claim's status.
pub fn phase(claim: &PersistentVolumeClaim) -> &str {
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// What a volume says of the claim that has it.
pub fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("PersistentVolumeClaim".to_owned()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}
