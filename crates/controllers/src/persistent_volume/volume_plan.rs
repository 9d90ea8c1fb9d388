//! What is to be done about a volume, from what is observed.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_volumes::claim::{self, annotation};
use knarr_volumes::{names, volume};

/// What is known of the claim that a volume names.
#[derive(Clone, Copy)]
pub(crate) enum Holder<'a> {
    /// It names none, or one that does not have it yet.
    Nobody,
    /// The claim that it is bound to.
    Claim(&'a PersistentVolumeClaim),
    /// The claim that it was bound to is gone.
    Gone,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Nothing,
    /// Its phase, in the status.
    Phase(&'static str),
    /// It is free, and nothing becomes of what it holds.
    Release,
    /// It is free, and what its policy asks for cannot be done: reason of the event, message.
    Fail(&'static str, String),
    /// Its claim has another volume: give it back.
    Unbind,
    /// Its claim can never have it.
    Mismatch,
    /// It is its claim's turn.
    WakeClaim,
}

pub(crate) fn plan(of: &PersistentVolume, holder: Holder<'_>) -> Step {
    match holder {
        Holder::Nobody => phase(of, "Available"),
        Holder::Gone => reclaim(of),
        Holder::Claim(holder) => {
            let has = claim::volume_name(holder);
            if has == volume::name(of) {
                return phase(of, "Bound");
            }
            if has.is_empty() {
                return match volume::volume_mode(of) == claim::volume_mode(holder) {
                    true => Step::WakeClaim,
                    false => Step::Mismatch,
                };
            }
            let made_for_it = annotation(&of.metadata, names::PROVISIONED_BY).is_some();
            match made_for_it && volume::reclaim_policy(of) == "Delete" {
                true => reclaim(of),
                false => Step::Unbind,
            }
        }
    }
}

fn phase(of: &PersistentVolume, wanted: &'static str) -> Step {
    match volume::phase(of) == wanted {
        true => Step::Nothing,
        false => Step::Phase(wanted),
    }
}

/// Nobody has it any more. One that was provisioned is removed by whoever made it.
fn reclaim(of: &PersistentVolume) -> Step {
    let phase = volume::phase(of);
    if phase == "Failed" {
        return Step::Nothing;
    }
    let provisioner = volume::provisioned_by(of).filter(|by| !by.is_empty());
    match (volume::reclaim_policy(of), provisioner) {
        ("Recycle", _) => Step::Fail(
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!".to_owned(),
        ),
        ("Delete", Some(by)) if by.starts_with("kubernetes.io/") => Step::Fail(
            "VolumeFailedDelete",
            format!("no volume plugin matched name: {by}"),
        ),
        ("Delete", None) => Step::Fail(
            "VolumeFailedDelete",
            format!(
                "error getting deleter volume plugin for volume \"{}\": no deletable volume plugin matched",
                volume::name(of)
            ),
        ),
        ("Retain" | "Delete", _) if phase == "Released" => Step::Nothing,
        ("Retain" | "Delete", _) => Step::Release,
        _ => Step::Fail(
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests;
