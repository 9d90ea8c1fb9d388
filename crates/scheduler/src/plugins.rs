//! One plugin a file, under upstream's names.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod csi;
pub mod default_preemption;
pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
mod node_name;
mod node_ports;
mod node_resources_balanced;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
pub mod pod_topology_spread;
mod taint_toleration;
pub mod volume_binding;
mod volume_restrictions;
mod volume_zone;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim},
    policy::v1::PodDisruptionBudget,
    storage::v1::StorageClass,
};
use knarr_client::{Informer, Informers};

use crate::framework::Plugins;
use csi::Csi;
use default_preemption::DefaultPreemption;
use dynamic_resources::DynamicResources;
use inter_pod_affinity::InterPodAffinity;
use node_volume_limits::NodeVolumeLimits;
use pod_topology_spread::{Owners, PodTopologySpread};
use volume_binding::VolumeBinding;
use volume_restrictions::VolumeRestrictions;
use volume_zone::VolumeZone;

/// What plugins read besides nodes and pods.
#[derive(Clone)]
pub struct Sources {
    pub claims: Informer<PersistentVolumeClaim>,
    pub volumes: Informer<PersistentVolume>,
    pub classes: Informer<StorageClass>,
    pub csi: Csi,
    pub namespaces: Informer<Namespace>,
    pub budgets: Informer<PodDisruptionBudget>,
    pub owners: Owners,
    pub devices: dynamic_resources::Sources,
}

impl Sources {
    pub fn new(informers: &Informers) -> Self {
        Self {
            claims: informers.informer(),
            volumes: informers.informer(),
            classes: informers.informer(),
            csi: Csi::new(informers),
            namespaces: informers.informer(),
            budgets: informers.informer(),
            owners: Owners {
                services: informers.informer(),
                replication_controllers: informers.informer(),
                replica_sets: informers.informer(),
                stateful_sets: informers.informer(),
            },
            devices: dynamic_resources::Sources::new(informers),
        }
    }

    /// Sources that nothing feeds but by hand.
    pub fn unfed() -> Self {
        Self {
            claims: Informer::new(),
            volumes: Informer::new(),
            classes: Informer::new(),
            csi: Csi::unfed(),
            namespaces: Informer::new(),
            budgets: Informer::new(),
            owners: Owners {
                services: Informer::new(),
                replication_controllers: Informer::new(),
                replica_sets: Informer::new(),
                stateful_sets: Informer::new(),
            },
            devices: dynamic_resources::Sources::unfed(),
        }
    }

    /// Waits until all have been listed once.
    pub async fn synced(&self) {
        self.claims.synced().await;
        self.volumes.synced().await;
        self.classes.synced().await;
        self.csi.synced().await;
        self.namespaces.synced().await;
        self.budgets.synced().await;
        self.owners.services.synced().await;
        self.owners.replication_controllers.synced().await;
        self.owners.replica_sets.synced().await;
        self.owners.stateful_sets.synced().await;
        self.devices.synced().await;
    }
}

/// The plugins of upstream's default profile, in its order (cheap ones first) and with its weights.
pub fn default_profile(sources: &Sources) -> Plugins {
    let (claims, volumes) = (sources.claims.clone(), sources.volumes.clone());
    let (classes, csi) = (sources.classes.clone(), sources.csi.clone());
    let limits = NodeVolumeLimits::new(
        claims.clone(),
        volumes.clone(),
        classes.clone(),
        csi.clone(),
    );
    let zones = VolumeZone::new(claims.clone(), volumes.clone());
    let volumes = Arc::new(VolumeBinding::new(claims.clone(), volumes, classes, csi));
    let devices = DynamicResources::new(sources.devices.clone());
    let spread = PodTopologySpread::new(sources.owners.clone());
    let affinity = InterPodAffinity::new(sources.namespaces.clone());
    Plugins {
        filters: vec![
            Box::new(node_name::NodeName),
            Box::new(node_unschedulable::NodeUnschedulable),
            Box::new(taint_toleration::TaintToleration),
            Box::new(node_affinity::NodeAffinity),
            Box::new(node_ports::NodePorts),
            Box::new(node_resources_fit::NodeResourcesFit),
            Box::new(VolumeRestrictions::new(claims)),
            Box::new(limits),
            Box::new(volumes.clone()),
            Box::new(zones),
            Box::new(spread.clone()),
            Box::new(affinity.clone()),
            Box::new(devices.clone()),
        ],
        scores: vec![
            Box::new(taint_toleration::TaintToleration),
            Box::new(node_affinity::NodeAffinity),
            Box::new(node_resources_fit::NodeResourcesFit),
            Box::new(volumes.clone()),
            Box::new(spread),
            Box::new(affinity),
            Box::new(devices.clone()),
            Box::new(node_resources_balanced::NodeResourcesBalancedAllocation),
            Box::new(image_locality::ImageLocality),
        ],
        preemption: DefaultPreemption::new(sources.budgets.clone()),
        volumes: Some(volumes),
        devices: Some(devices),
    }
}

/// The default profile where there is nothing besides nodes and pods.
#[cfg(test)]
pub fn profile() -> Plugins {
    default_profile(&Sources::unfed())
}

#[cfg(test)]
mod tests;
