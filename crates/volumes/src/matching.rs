//! Which volumes a claim can have, and which of them it gets.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use knarr_meta::labels::Selector;

use crate::{claim, volume};

/// Where a claim's volume is looked for.
#[derive(Clone, Copy)]
pub enum Place<'n> {
    /// Anywhere.
    Any,
    /// The claim waits for its first pod: only a volume that a user has reserved for it will do.
    Undecided,
    /// On this node.
    On(&'n Node),
}

/// The volume that a claim gets: one that is reserved for it, else the smallest that is large enough, of those with the fewest
/// access modes. On a node only volumes of the claim's class are looked at, whoever they are reserved for, and their access modes
/// do not rank them. `taken` tells which are promised to others.
pub fn find(
    wanting: &PersistentVolumeClaim,
    volumes: &[Arc<PersistentVolume>],
    place: Place<'_>,
    taken: impl Fn(&PersistentVolume) -> bool,
) -> Option<Arc<PersistentVolume>> {
    let selector = wanting
        .spec
        .as_ref()
        .and_then(|spec| spec.selector.as_ref());
    // A selector that cannot be read selects nothing.
    let selector = match selector {
        None => Selector::everything(),
        Some(selector) => Selector::from_label_selector(selector).ok()?,
    };
    let usable = |candidate: &PersistentVolume| match place {
        Place::On(node) => volume::is_usable_on(candidate, node),
        Place::Any | Place::Undecided => true,
    };
    let on_node = matches!(place, Place::On(_));
    let rank = |candidate| rank(candidate, on_node);
    let mut best: Option<&Arc<PersistentVolume>> = None;
    for candidate in volumes {
        if taken(candidate) || !fits(candidate, wanting) {
            continue;
        }
        let of_class = volume::class(candidate) == claim::class(wanting);
        let has_modes = has_modes(candidate, wanting);
        let seen = if on_node { of_class } else { has_modes };
        if !seen {
            continue;
        }
        if volume::is_of_claim(candidate, wanting) {
            // One that the node cannot use is not replaced by another.
            return usable(candidate).then(|| candidate.clone());
        }
        let free =
            volume::claim_reference(candidate).is_none() && volume::phase(candidate) == "Available";
        let undecided = matches!(place, Place::Undecided);
        if undecided || !free || !selector.matches_option(candidate.metadata.labels.as_ref()) {
            continue;
        }
        if !of_class || !has_modes || !usable(candidate) {
            continue;
        }
        if best.is_none_or(|best| rank(candidate) < rank(best)) {
            best = Some(candidate);
        }
    }
    best.cloned()
}

/// What must be right even for a volume that is reserved for the claim.
fn fits(candidate: &PersistentVolume, wanting: &PersistentVolumeClaim) -> bool {
    candidate.metadata.deletion_timestamp.is_none()
        && volume::volume_mode(candidate) == claim::volume_mode(wanting)
        && volume::attributes_class(candidate) == claim::attributes_class(wanting)
        && volume::capacity(candidate) >= claim::requested(wanting)
}

fn has_modes(candidate: &PersistentVolume, wanting: &PersistentVolumeClaim) -> bool {
    let offered = volume::access_modes(candidate);
    claim::access_modes(wanting)
        .iter()
        .all(|mode| offered.contains(mode))
}

/// The least is taken: nothing is given away that a greedier claim may need. Names decide among equals, so that all who look
/// find the same.
fn rank(volume: &PersistentVolume, on_node: bool) -> (usize, knarr_meta::Quantity, &str) {
    let modes = match on_node {
        true => 0,
        false => volume::access_modes(volume).len(),
    };
    (modes, volume::capacity(volume), volume::name(volume))
}

/// Why a claim cannot have the volume it asks for by name, in upstream's words.
pub fn mismatch(candidate: &PersistentVolume, wanting: &PersistentVolumeClaim) -> Option<String> {
    if candidate.metadata.deletion_timestamp.is_some() {
        let name = volume::name(candidate);
        return Some(format!("the volume is marked for deletion \"{name}\""));
    }
    let why = if volume::capacity(candidate) < claim::requested(wanting) {
        "requested PV is too small"
    } else if volume::class(candidate) != claim::class(wanting) {
        "storageClassName does not match"
    } else if volume::attributes_class(candidate) != claim::attributes_class(wanting) {
        "volumeAttributesClassName does not match"
    } else if volume::volume_mode(candidate) != claim::volume_mode(wanting) {
        "incompatible volumeMode"
    } else if !has_modes(candidate, wanting) {
        "incompatible accessMode"
    } else {
        return None;
    };
    Some(why.to_owned())
}

#[cfg(test)]
mod tests;
