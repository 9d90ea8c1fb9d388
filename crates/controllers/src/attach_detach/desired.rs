//! Which volumes pods want where, and by what volumes and their attachments are found.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use knarr_client::{IndexKey, Informer};
use knarr_volumes::{claim, csi, pod, volume};

use super::plan::Wanted;
use super::pod_ref::PodRef;
use crate::claim_users::UsesClaim;
use crate::pod_gc::OnNode;
use crate::pods;
use crate::runner::Key;

/// Attachments by the node that they are for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ForNode(pub String);

impl IndexKey<VolumeAttachment> for ForNode {
    fn keys_of(attachment: &VolumeAttachment) -> Vec<Self> {
        vec![Self(attachment.spec.node_name.clone())]
    }
}

/// Attachments by the volume that they name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct OfVolume(pub String);

impl IndexKey<VolumeAttachment> for OfVolume {
    fn keys_of(attachment: &VolumeAttachment) -> Vec<Self> {
        let name = attachment.spec.source.persistent_volume_name.clone();
        name.map(Self).into_iter().collect()
    }
}

/// Volumes by driver and handle: several may stand for one.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct ByHandle(pub String, pub String);

impl IndexKey<PersistentVolume> for ByHandle {
    fn keys_of(volume: &PersistentVolume) -> Vec<Self> {
        let source = csi::source(volume);
        let id = source.map(|source| Self(source.driver.clone(), source.volume_handle.clone()));
        id.into_iter().collect()
    }
}

/// Volumes by driver.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct OfDriver(pub String);

impl IndexKey<PersistentVolume> for OfDriver {
    fn keys_of(volume: &PersistentVolume) -> Vec<Self> {
        let source = csi::source(volume);
        let driver = source.map(|source| Self(source.driver.clone()));
        driver.into_iter().collect()
    }
}

/// The caches that decide what is wanted.
pub(super) struct Sources {
    pub pods: Informer<Pod>,
    pub claims: Informer<PersistentVolumeClaim>,
    pub volumes: Informer<PersistentVolume>,
    pub drivers: Informer<CSIDriver>,
}

/// Whether nothing of the pod runs any more (upstream `IsPodTerminated`).
pub(crate) fn is_over(pod: &Pod) -> bool {
    if pods::is_terminal(pod) {
        return true;
    }
    let status = pod.status.as_ref();
    let stopped = |statuses: Option<&Vec<ContainerStatus>>| {
        let mut states = statuses.into_iter().flatten().map(|one| one.state.as_ref());
        states.all(|state| {
            state.is_some_and(|state| state.terminated.is_some() || state.waiting.is_some())
        })
    };
    pod.metadata.deletion_timestamp.is_some()
        && stopped(status.and_then(|s| s.init_container_statuses.as_ref()))
        && stopped(status.and_then(|s| s.container_statuses.as_ref()))
        && stopped(status.and_then(|s| s.ephemeral_container_statuses.as_ref()))
}

impl Sources {
    /// What the pods of a node want attached to it, by the name of the attachment.
    pub fn wanted(&self, node: &str) -> BTreeMap<String, Wanted> {
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        let mut pods = self.pods.by_index(&OnNode(node.to_owned()));
        pods.retain(|pod| !is_over(pod));
        pods.sort_by_key(|pod| PodRef::of(pod));
        for user in pods {
            for used in pod::claims(&user) {
                let Some(volume) = self.volume_of(&user, &used) else {
                    continue;
                };
                let Some(source) = csi::source(&volume) else {
                    continue;
                };
                let driver = self.drivers.get("", &source.driver);
                if !csi::needs_attachment(driver.as_deref()) {
                    continue;
                }
                let (driver, handle) = (source.driver.clone(), source.volume_handle.clone());
                let id = csi::attachment_name(&driver, &handle, node);
                let entry = wanted.entry(id).or_insert_with(|| Wanted {
                    volume,
                    driver,
                    handle,
                    pods: Vec::new(),
                });
                entry.pods.push(PodRef::of(&user));
            }
        }
        wanted
    }

    /// The volume behind a pod's claim, once both are bound.
    fn volume_of(&self, user: &Pod, used: &pod::PodClaim) -> Option<Arc<PersistentVolume>> {
        let namespace = user.metadata.namespace.as_deref().unwrap_or_default();
        let claim = self.claims.get(namespace, &used.name)?;
        let name = claim::volume_name(&claim);
        if claim::phase(&claim) != "Bound" || name.is_empty() {
            return None;
        }
        if used.ephemeral && pod::check_owner(user, &claim).is_err() {
            return None;
        }
        let volume = self.volumes.get("", name)?;
        let holder = volume::claim_reference(&volume)?;
        (holder.uid == claim.metadata.uid).then_some(volume)
    }

    /// The pods that use a volume, of whatever name, on some nodes.
    pub fn users(&self, driver: &str, handle: &str, nodes: &[String]) -> BTreeSet<PodRef> {
        let id = ByHandle(driver.to_owned(), handle.to_owned());
        let same = self.volumes.by_index(&id);
        let pods = same.iter().flat_map(|volume| self.pods_of(volume));
        let there = pods
            .filter(|pod| !is_over(pod) && nodes.iter().any(|node| node == pods::node_name(pod)));
        there.map(|pod| PodRef::of(&pod)).collect()
    }

    /// The nodes of the pods that use a volume.
    pub fn nodes_of(&self, volume: &PersistentVolume) -> Vec<String> {
        let pods = self.pods_of(volume).into_iter();
        let nodes = pods.map(|pod| pods::node_name(&pod).to_owned());
        nodes.filter(|node| !node.is_empty()).collect()
    }

    fn pods_of(&self, volume: &PersistentVolume) -> Vec<Arc<Pod>> {
        let Some(holder) = volume::claim_reference(volume) else {
            return Vec::new();
        };
        let namespace = holder.namespace.clone().unwrap_or_default();
        let name = holder.name.clone().unwrap_or_default();
        self.pods.by_index(&UsesClaim(Key::new(namespace, name)))
    }
}

#[cfg(test)]
mod tests;
