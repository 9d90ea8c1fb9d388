//! What a volume is, and who has it.

use k8s_openapi::api::core::v1::{
    Node, ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec,
};
use knarr_meta::{Quantity, node_selector::Term};

use crate::{claim, claim::annotation, names};

fn spec(volume: &PersistentVolume) -> Option<&PersistentVolumeSpec> {
    volume.spec.as_ref()
}

/// The volume's name.
pub fn name(volume: &PersistentVolume) -> &str {
    volume.metadata.name.as_deref().unwrap_or_default()
}

/// The volume's class; empty for none.
pub fn class(volume: &PersistentVolume) -> &str {
    let field = || spec(volume)?.storage_class_name.as_deref();
    annotation(&volume.metadata, names::CLASS)
        .or_else(field)
        .unwrap_or_default()
}

/// The class of the volume's attributes; empty for none.
pub fn attributes_class(volume: &PersistentVolume) -> &str {
    let class = spec(volume).and_then(|spec| spec.volume_attributes_class_name.as_deref());
    class.unwrap_or_default()
}

/// How much the volume holds.
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    let capacity = spec(volume).and_then(|spec| spec.capacity.as_ref());
    let storage = capacity.and_then(|capacity| capacity.get("storage"));
    storage
        .and_then(|quantity| Quantity::parse(&quantity.0).ok())
        .unwrap_or_default()
}

/// How the volume can be mounted.
pub fn access_modes(volume: &PersistentVolume) -> &[String] {
    let modes = spec(volume).and_then(|spec| spec.access_modes.as_deref());
    modes.unwrap_or_default()
}

/// A file system or a device.
pub fn volume_mode(volume: &PersistentVolume) -> &str {
    let mode = spec(volume).and_then(|spec| spec.volume_mode.as_deref());
    mode.filter(|mode| !mode.is_empty())
        .unwrap_or(claim::FILESYSTEM)
}

/// What becomes of the volume once its claim is gone.
pub fn reclaim_policy(volume: &PersistentVolume) -> &str {
    let policy = spec(volume).and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref());
    policy.unwrap_or("Retain")
}

/// The phase in the volume's status.
pub fn phase(volume: &PersistentVolume) -> &str {
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase.unwrap_or_default()
}

/// Who made the volume, where it was made for a claim.
pub fn provisioned_by(volume: &PersistentVolume) -> Option<&str> {
    annotation(&volume.metadata, names::PROVISIONED_BY)
}

/// The claim that has the volume, or is to have it.
pub fn claim_reference(volume: &PersistentVolume) -> Option<&ObjectReference> {
    spec(volume)?.claim_ref.as_ref()
}

/// Whether the volume is this claim's, by a reference that may lack the uid: then a user wrote it.
pub fn is_of_claim(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = claim_reference(volume) else {
        return false;
    };
    let uid = reference.uid.as_deref().unwrap_or_default();
    reference.name == claim.metadata.name
        && reference.namespace == claim.metadata.namespace
        && (uid.is_empty() || Some(uid) == claim.metadata.uid.as_deref())
}

/// Whether the volume can be used on a node.
pub fn is_usable_on(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = spec(volume).and_then(|spec| spec.node_affinity.as_ref());
    match affinity.and_then(|affinity| affinity.required.as_ref()) {
        None => true,
        Some(required) => {
            let mut terms = required.node_selector_terms.iter().map(Term::new);
            terms.any(|term| term.matches(node))
        }
    }
}
