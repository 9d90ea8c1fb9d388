//! One plugin a file, under upstream's names.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

pub mod csi;
pub mod default_preemption;
pub mod dynamic_resources;
pub mod image_locality;
pub mod inter_pod_affinity;
pub mod node_affinity;
mod node_declared_features;
mod node_name;
mod node_ports;
mod node_resources_balanced;
mod node_resources_fit;
mod node_unschedulable;
mod node_volume_limits;
pub mod pod_topology_spread;
mod scoring;
mod taint_toleration;
pub mod volume_binding;
pub mod volume_restrictions;
mod volume_zone;

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{Namespace, PersistentVolume, PersistentVolumeClaim},
    policy::v1::PodDisruptionBudget,
    storage::v1::StorageClass,
};
use knarr_client::{Informer, Informers};

use crate::{
    config::{Config, args::Args},
    framework::{Parts, Plugins, Profiles},
};
use csi::Csi;
use default_preemption::DefaultPreemption;
use dynamic_resources::DynamicResources;
use inter_pod_affinity::InterPodAffinity;
use node_affinity::NodeAffinity;
use node_resources_balanced::NodeResourcesBalancedAllocation;
use node_resources_fit::NodeResourcesFit;
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

/// The plugins of each profile.
pub fn profiles(config: &Config, sources: &Sources) -> Profiles {
    let volumes = Arc::new(VolumeBinding::new(
        sources.claims.clone(),
        sources.volumes.clone(),
        sources.classes.clone(),
        sources.csi.clone(),
    ));
    let all = config.profiles.iter();
    let asked = !config.extenders.is_empty();
    let all = all.map(|profile| {
        let parts = parts(&profile.args, sources, &volumes);
        Plugins::new(profile, parts, asked)
    });
    Profiles::new(all.collect())
}

/// All plugins, with their arguments. The profile says which of them run, in which order and with which weights.
fn parts(args: &Args, sources: &Sources, volumes: &Arc<VolumeBinding>) -> Parts {
    let spread = PodTopologySpread::new(sources.owners.clone(), &args.spread);
    let affinity = InterPodAffinity::new(sources.namespaces.clone(), &args.affinity);
    let nodes = NodeAffinity::new(&args.nodes);
    let fit = NodeResourcesFit::new(&args.fit);
    let limits = NodeVolumeLimits::new(
        sources.claims.clone(),
        sources.volumes.clone(),
        sources.classes.clone(),
        sources.csi.clone(),
    );
    let zones = VolumeZone::new(
        sources.claims.clone(),
        sources.volumes.clone(),
        sources.classes.clone(),
    );
    let devices = DynamicResources::new(sources.devices.clone());
    Parts {
        filters: vec![
            Box::new(node_name::NodeName),
            Box::new(node_unschedulable::NodeUnschedulable),
            Box::new(taint_toleration::TaintToleration),
            Box::new(nodes.clone()),
            Box::new(node_ports::NodePorts),
            Box::new(fit.clone()),
            Box::new(VolumeRestrictions::new(sources.claims.clone())),
            Box::new(limits),
            Box::new(volumes.clone()),
            Box::new(zones),
            Box::new(spread.clone()),
            Box::new(affinity.clone()),
            Box::new(devices.clone()),
            Box::new(node_declared_features::NodeDeclaredFeatures),
        ],
        scores: vec![
            Box::new(taint_toleration::TaintToleration),
            Box::new(nodes),
            Box::new(fit),
            Box::new(volumes.clone()),
            Box::new(spread),
            Box::new(affinity),
            Box::new(devices.clone()),
            Box::new(NodeResourcesBalancedAllocation::new(&args.balanced)),
            Box::new(image_locality::ImageLocality),
        ],
        preemption: DefaultPreemption::new(sources.budgets.clone(), &args.preemption),
        reserves: vec![
            Box::new(volume_binding::Binds {
                plugin: volumes.clone(),
                limit: args.volumes.bind_timeout(),
            }),
            Box::new(devices),
        ],
    }
}

/// The default profile where there is nothing besides nodes and pods.
#[cfg(test)]
pub fn profile() -> Plugins {
    profiles(&Config::default(), &Sources::unfed()).into_only()
}

#[cfg(test)]
mod tests;
