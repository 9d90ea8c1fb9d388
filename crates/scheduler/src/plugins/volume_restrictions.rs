//! VolumeRestrictions: a claim of which one pod may have the volume (`ReadWriteOncePod`) is not given to a second one, wherever that
//! is; and disks that pods name themselves are shared on a node by readers only.

pub mod disks;

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use knarr_client::Informer;
use knarr_volumes::claim;

use crate::{
    framework::{Change, CycleState, Filter, PreFilter, Reason, Refusal, VolumeEvent},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const CONFLICT: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
const NO_DISK: &str = "node(s) had no available disk";
const SINGLE_POD: &str = "ReadWriteOncePod";

/// Claims that the pod alone may use, and how often others do.
#[derive(Clone)]
pub struct State {
    claims: Arc<BTreeSet<String>>,
    uses: usize,
}

impl State {
    fn uses_of(&self, of: &PodInfo, other: &PodInfo) -> usize {
        if other.namespace != of.namespace || other.uid == of.uid {
            return 0;
        }
        let claims = other.claims.iter().filter(|claim| !claim.ephemeral);
        claims.filter(|c| self.claims.contains(&c.name)).count()
    }
}

/// The plugin.
pub struct VolumeRestrictions {
    claims: Informer<PersistentVolumeClaim>,
}

impl VolumeRestrictions {
    pub fn new(claims: Informer<PersistentVolumeClaim>) -> Self {
        Self { claims }
    }

    /// Those that one pod may use. Claims of ephemeral volumes are the pod's own.
    fn exclusive(&self, pod: &PodInfo) -> Result<BTreeSet<String>, Reason> {
        let mut exclusive = BTreeSet::new();
        for used in pod.claims.iter().filter(|claim| !claim.ephemeral) {
            let name = &used.name;
            let claim = self.claims.get(&pod.namespace, name);
            let claim =
                claim.ok_or_else(|| format!("persistentvolumeclaim \"{name}\" not found"))?;
            if claim::access_modes(&claim).iter().any(|m| m == SINGLE_POD) {
                exclusive.insert(name.clone());
            }
        }
        Ok(exclusive)
    }
}

impl Filter for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        state: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        let claims = self.exclusive(pod)?;
        let mut found = State {
            claims: Arc::new(claims),
            uses: 0,
        };
        if !found.claims.is_empty() {
            let others = cluster.nodes().flat_map(|node| node.pods.values());
            found.uses = others.map(|other| found.uses_of(pod, other)).sum();
        }
        if pod.disks.is_empty() && found.uses == 0 {
            return Ok(PreFilter::Skip);
        }
        state.exclusive_claims = Some(found);
        Ok(PreFilter::All)
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal> {
        if !pod.disks.is_empty() {
            let there = || node.pods.values().flat_map(|other| &other.disks);
            let mut mine = pod.disks.iter();
            if mine.any(|disk| there().any(|other| disk.collides(other))) {
                return Err(Refusal::resolvable(NO_DISK));
            }
        }
        match &state.exclusive_claims {
            Some(exclusive) if exclusive.uses > 0 => Err(Refusal::resolvable(CONFLICT)),
            _ => Ok(()),
        }
    }

    fn add_pod(&self, pod: &PodInfo, added: &PodInfo, _: &NodeInfo, state: &mut CycleState) {
        if let Some(exclusive) = &mut state.exclusive_claims {
            let more = exclusive.uses_of(pod, added);
            exclusive.uses = exclusive.uses.saturating_add(more);
        }
    }

    fn remove_pod(&self, pod: &PodInfo, removed: &PodInfo, _: &NodeInfo, state: &mut CycleState) {
        if let Some(exclusive) = &mut state.exclusive_claims {
            let less = exclusive.uses_of(pod, removed);
            exclusive.uses = exclusive.uses.saturating_sub(less);
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::PodRemoved]
    }

    fn volumes_help(&self, pod: &PodInfo, event: &VolumeEvent<'_>) -> bool {
        match event {
            VolumeEvent::Claim { namespace, name } => {
                pod.namespace == *namespace && pod.claims.iter().any(|used| used.name == *name)
            }
            VolumeEvent::Volume | VolumeEvent::Class | VolumeEvent::Csi => false,
        }
    }
}
