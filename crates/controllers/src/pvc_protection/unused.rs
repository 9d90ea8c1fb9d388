//! The condition `Unused` of claims: whether a pod refers to the claim, and since when (upstream's
//! `PersistentVolumeClaimUnusedSinceTime`).

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_volumes::pod;

use crate::attach_detach::is_over;

const UNUSED: &str = "Unused";

/// What the claim says already.
pub(super) fn says(claim: &PersistentVolumeClaim) -> Option<&PersistentVolumeClaimCondition> {
    let conditions = claim.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|known| known.type_ == UNUSED)
}

/// Whether a pod refers to the claim.
pub(super) fn counts(user: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    let refers = |used: pod::PodClaim| {
        used.name == name && (!used.ephemeral || pod::check_owner(user, claim).is_ok())
    };
    !is_over(user) && pod::claims(user).any(refers)
}

/// The claim with the condition as it is to be; `None` where it is.
pub(super) fn write(
    claim: &PersistentVolumeClaim,
    used: bool,
    now: Timestamp,
) -> Option<PersistentVolumeClaim> {
    let (status, reason, message) = match used {
        true => (
            "False",
            "PodUsingPVC",
            "A pod is currently referencing this PVC",
        ),
        false => (
            "True",
            "NoPodsUsingPVC",
            "No pods are currently referencing this PVC",
        ),
    };
    if says(claim).is_some_and(|known| known.status == status) {
        return None;
    }
    let mut changed = claim.clone();
    let conditions = &mut changed.status.get_or_insert_default().conditions;
    let conditions = conditions.get_or_insert_default();
    conditions.retain(|known| known.type_ != UNUSED);
    conditions.push(PersistentVolumeClaimCondition {
        type_: UNUSED.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(now)),
        ..PersistentVolumeClaimCondition::default()
    });
    Some(changed)
}

#[cfg(test)]
mod tests;
