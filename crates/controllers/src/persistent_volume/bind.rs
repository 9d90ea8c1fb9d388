//! The four writes that bind a volume and a claim, in this order: each leaves a state from which the next attempt goes on.
//! `None` where an object is as it should be.

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use knarr_volumes::claim::{self, annotation};
use knarr_volumes::{names, volume};
use kube::api::ObjectMeta;

const YES: &str = "yes";

/// Notes on an object; whether it is new.
fn annotate(meta: &mut ObjectMeta, key: &str, value: &str) -> bool {
    let annotations = meta.annotations.get_or_insert_default();
    let before = annotations.insert(key.to_owned(), value.to_owned());
    before.as_deref() != Some(value)
}

/// The volume names the claim.
pub(crate) fn volume_to_claim(
    before: &PersistentVolume,
    claim: &PersistentVolumeClaim,
) -> Option<PersistentVolume> {
    let chosen_here = !volume::is_of_claim(before, claim);
    let named = volume::claim_reference(before)
        .is_some_and(|r| !chosen_here && r.uid == claim.metadata.uid);
    if named {
        return None;
    }
    let mut changed = before.clone();
    changed.spec.get_or_insert_default().claim_ref = Some(claim::reference(claim));
    if chosen_here {
        annotate(&mut changed.metadata, names::BOUND_BY_CONTROLLER, YES);
    }
    Some(changed)
}

/// The claim names the volume, and is bound from then on.
pub(crate) fn claim_to_volume(
    before: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let name = volume::name(volume);
    let mut changed = before.clone();
    let mut differs = false;
    if claim::volume_name(before) != name {
        changed.spec.get_or_insert_default().volume_name = Some(name.to_owned());
        annotate(&mut changed.metadata, names::BOUND_BY_CONTROLLER, YES);
        differs = true;
    }
    if annotation(&before.metadata, names::BIND_COMPLETED).is_none() {
        annotate(&mut changed.metadata, names::BIND_COMPLETED, YES);
        differs = true;
    }
    differs.then_some(changed)
}

/// The claim's status says what it got. Its capacity is left alone once it is bound: who resizes writes it.
pub(crate) fn claim_status(
    before: &PersistentVolumeClaim,
    volume: &PersistentVolume,
) -> Option<PersistentVolumeClaim> {
    let mut status = before.status.clone().unwrap_or_default();
    status.access_modes = Some(volume::access_modes(volume).to_vec());
    if claim::phase(before) != "Bound" {
        status.phase = Some("Bound".to_owned());
        status.capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.clone());
        let attributes = volume::attributes_class(volume);
        status.current_volume_attributes_class_name =
            (!attributes.is_empty()).then(|| attributes.to_owned());
    }
    with_status(before, status)
}

/// The claim's status in a phase without a volume.
pub(crate) fn claim_phase(
    before: &PersistentVolumeClaim,
    phase: &str,
) -> Option<PersistentVolumeClaim> {
    let status = PersistentVolumeClaimStatus {
        phase: Some(phase.to_owned()),
        access_modes: None,
        capacity: None,
        ..before.status.clone().unwrap_or_default()
    };
    with_status(before, status)
}

fn with_status(
    before: &PersistentVolumeClaim,
    status: PersistentVolumeClaimStatus,
) -> Option<PersistentVolumeClaim> {
    (before.status.as_ref() != Some(&status)).then(|| PersistentVolumeClaim {
        status: Some(status),
        ..before.clone()
    })
}

/// The volume's status in a phase; `message` says why it has failed.
pub(crate) fn volume_phase(
    before: &PersistentVolume,
    phase: &str,
    message: Option<&str>,
) -> Option<PersistentVolume> {
    let mut status = before.status.clone().unwrap_or_default();
    status.phase = Some(phase.to_owned());
    status.message = message.map(str::to_owned);
    (before.status.as_ref() != Some(&status)).then(|| PersistentVolume {
        status: Some(status),
        ..before.clone()
    })
}

/// The volume is given back: what the binder wrote goes, what a user wrote stays.
pub(crate) fn unbound(before: &PersistentVolume) -> PersistentVolume {
    let mut changed = before.clone();
    let spec = changed.spec.get_or_insert_default();
    if annotation(&before.metadata, names::BOUND_BY_CONTROLLER).is_some() {
        spec.claim_ref = None;
        let annotations = changed.metadata.annotations.get_or_insert_default();
        annotations.remove(names::BOUND_BY_CONTROLLER);
    } else if let Some(reference) = &mut spec.claim_ref {
        reference.uid = None;
    }
    changed
}

/// The claim says who is to make its volume.
pub(crate) fn provisioned(
    before: &PersistentVolumeClaim,
    provisioner: &str,
) -> Option<PersistentVolumeClaim> {
    let mut changed = before.clone();
    let keys = [names::STORAGE_PROVISIONER, names::BETA_STORAGE_PROVISIONER];
    let new = keys.map(|key| annotate(&mut changed.metadata, key, provisioner));
    new.contains(&true).then_some(changed)
}

#[cfg(test)]
mod tests;
