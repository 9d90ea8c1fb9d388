//! NodeVolumeLimits: a node takes no more volumes of a driver than its CSINode says, and where a driver asks for it, none where it
//! does not run.
//!
//! Counted are the volumes of the pods there and those that are still attached. A claim without a volume counts as one of its class'
//! provisioner.

use std::collections::{BTreeMap, HashSet};

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim},
    storage::v1::{CSINode, StorageClass},
};
use knarr_client::Informer;
use knarr_volumes::{claim, csi as volumes};

use super::csi::{self, Csi, ForNode};
use crate::{
    framework::{Change, CycleState, Filter, PreFilter, Reason, Refusal, VolumeEvent},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const TOO_MANY: &str = "node(s) exceed max volume count";

/// The plugin.
pub struct NodeVolumeLimits {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    classes: Informer<StorageClass>,
    csi: Csi,
}

/// What counts as one volume.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Counted {
    driver: String,
    volume: Volume,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Volume {
    Handle(String),
    /// The one that a claim gets.
    Of(String, String),
}

impl NodeVolumeLimits {
    pub fn new(
        claims: Informer<PersistentVolumeClaim>,
        volumes: Informer<PersistentVolume>,
        classes: Informer<StorageClass>,
        csi: Csi,
    ) -> Self {
        Self {
            claims,
            volumes,
            classes,
            csi,
        }
    }

    fn of_pod(&self, pod: &PodInfo) -> HashSet<Counted> {
        let claims = pod.claims.iter();
        let claims = claims.filter_map(|used| self.claims.get(&pod.namespace, &used.name));
        claims.filter_map(|claim| self.counted(&claim)).collect()
    }

    /// The volume of a claim; `None` for one of no driver's.
    fn counted(&self, of: &PersistentVolumeClaim) -> Option<Counted> {
        let name = claim::volume_name(of);
        if let Some(volume) = self.volumes.get("", name).filter(|_| !name.is_empty()) {
            let source = volumes::source(&volume)?;
            return Some(Counted {
                driver: source.driver.clone(),
                volume: Volume::Handle(source.volume_handle.clone()),
            });
        }
        let class = self.classes.get("", claim::class(of))?;
        let meta = &of.metadata;
        Some(Counted {
            driver: class.provisioner.clone(),
            volume: Volume::Of(meta.namespace.clone()?, meta.name.clone()?),
        })
    }

    /// What is on the node: its pods' volumes, and those that are attached to it.
    fn on_node(&self, node: &NodeInfo) -> HashSet<Counted> {
        let mut there = HashSet::new();
        for pod in node.pods.values().filter(|pod| !pod.claims.is_empty()) {
            there.extend(self.of_pod(pod));
        }
        for attachment in (self.csi.attachments).by_index(&ForNode(node.name().to_owned())) {
            let source = attachment.spec.source.persistent_volume_name.as_deref();
            let volume = source.and_then(|name| self.volumes.get("", name));
            if let Some(source) = volume.as_ref().and_then(|volume| volumes::source(volume)) {
                there.insert(Counted {
                    driver: attachment.spec.attacher.clone(),
                    volume: Volume::Handle(source.volume_handle.clone()),
                });
            }
        }
        there
    }

    /// Whether a driver wants no pods where it does not run, and does not run there.
    fn is_missing(&self, driver: &str, node: Option<&CSINode>) -> bool {
        let known = self.csi.drivers.get("", driver);
        let wants = known.is_some_and(|d| d.spec.prevent_pod_scheduling_if_missing == Some(true));
        wants && !node.is_some_and(|node| csi::runs_on(node, driver))
    }
}

impl Filter for NodeVolumeLimits {
    fn name(&self) -> &'static str {
        "NodeVolumeLimits"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        Ok(match pod.claims.is_empty() {
            true => PreFilter::Skip,
            false => PreFilter::All,
        })
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        let new = self.of_pod(pod);
        if new.is_empty() {
            return Ok(());
        }
        let drivers = self.csi.nodes.get("", node.name());
        let mut named: Vec<&str> = new.iter().map(|one| one.driver.as_str()).collect();
        named.sort_unstable();
        let mut missing = named
            .iter()
            .filter(|name| self.is_missing(name, drivers.as_deref()));
        if let Some(driver) = missing.next() {
            let why = format!("{driver} CSI driver is not installed on the node");
            return Err(Refusal::resolvable(why));
        }
        let mut limits = BTreeMap::new();
        for driver in named {
            let limit = drivers.as_ref().and_then(|node| csi::limit(node, driver));
            limits.extend(limit.map(|limit| (driver, limit)));
        }
        if limits.is_empty() {
            return Ok(());
        }
        let there = self.on_node(node);
        for (driver, limit) in limits {
            let all = there.union(&new);
            let count = all.filter(|one| one.driver == driver).count();
            let adds = new.difference(&there).any(|one| one.driver == driver);
            if adds && i64::try_from(count).is_ok_and(|count| count > limit) {
                return Err(Refusal::resolvable(TOO_MANY));
            }
        }
        Ok(())
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::PodRemoved]
    }

    fn volumes_help(&self, pod: &PodInfo, event: &VolumeEvent<'_>) -> bool {
        match event {
            VolumeEvent::Claim { namespace, name } => {
                pod.namespace == *namespace && pod.claims.iter().any(|used| used.name == *name)
            }
            VolumeEvent::Csi => !pod.claims.is_empty(),
            VolumeEvent::Volume | VolumeEvent::Class => false,
        }
    }
}
