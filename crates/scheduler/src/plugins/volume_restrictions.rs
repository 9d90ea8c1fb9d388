//! VolumeRestrictions: a claim of which one pod may have the volume (`ReadWriteOncePod`) is not given to a second one.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use knarr_client::Informer;
use knarr_volumes::claim;

use crate::{
    framework::{Change, CycleState, Filter, PreFilter, Reason, Refusal},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const CONFLICT: &str = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";
const SINGLE_POD: &str = "ReadWriteOncePod";

/// The plugin. It looks at the node's own pods: what such a claim is bound to is on one node.
pub struct VolumeRestrictions {
    claims: Informer<PersistentVolumeClaim>,
}

impl VolumeRestrictions {
    pub fn new(claims: Informer<PersistentVolumeClaim>) -> Self {
        Self { claims }
    }

    fn is_for_one_pod(&self, namespace: &str, name: &str) -> bool {
        let claim = self.claims.get(namespace, name);
        claim.is_some_and(|claim| claim::access_modes(&claim).iter().any(|m| m == SINGLE_POD))
    }
}

impl Filter for VolumeRestrictions {
    fn name(&self) -> &'static str {
        "VolumeRestrictions"
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
        for used in &pod.claims {
            let same = |other: &&std::sync::Arc<PodInfo>| {
                other.uid != pod.uid
                    && other.namespace == pod.namespace
                    && other.claims.iter().any(|claim| claim.name == used.name)
            };
            if self.is_for_one_pod(&pod.namespace, &used.name)
                && node.pods.values().any(|other| same(&other))
            {
                return Err(Refusal::resolvable(CONFLICT));
            }
        }
        Ok(())
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::PodRemoved]
    }
}
