//! By what volumes and claims are found.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_client::IndexKey;
use knarr_volumes::{claim, volume};

use crate::runner::Key;

/// Volumes by the claim that they name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Names(pub Key);

impl IndexKey<PersistentVolume> for Names {
    fn keys_of(volume: &PersistentVolume) -> Vec<Self> {
        claim_key(volume).map(Self).into_iter().collect()
    }
}

/// Volumes by class; claims that wait for one by theirs.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct OfClass(pub String);

impl IndexKey<PersistentVolume> for OfClass {
    fn keys_of(of: &PersistentVolume) -> Vec<Self> {
        vec![Self(volume::class(of).to_owned())]
    }
}

impl IndexKey<PersistentVolumeClaim> for OfClass {
    fn keys_of(of: &PersistentVolumeClaim) -> Vec<Self> {
        let waits = !claim::is_bound(of);
        let class = waits.then(|| Self(claim::class(of).to_owned()));
        class.into_iter().collect()
    }
}

/// Claims by the volume that they have, or ask for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Wants(pub String);

impl IndexKey<PersistentVolumeClaim> for Wants {
    fn keys_of(of: &PersistentVolumeClaim) -> Vec<Self> {
        let name = claim::volume_name(of);
        let wanted = (!name.is_empty()).then(|| Self(name.to_owned()));
        wanted.into_iter().collect()
    }
}

/// The claim that a volume names.
pub(super) fn claim_key(of: &PersistentVolume) -> Option<Key> {
    let reference = volume::claim_reference(of)?;
    let namespace = reference.namespace.clone().unwrap_or_default();
    Some(Key::new(namespace, reference.name.clone()?))
}
