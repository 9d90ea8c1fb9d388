//! NodeDeclaredFeatures: a pod goes where the kubelet can do what it asks for, by what nodes declare (upstream
//! `nodedeclaredfeatures`; what a pod asks for is inferred as in `component-helpers/nodedeclaredfeatures/features`).

use crate::{
    framework::{Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal},
    node_features::declared,
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const UNSATISFIED: &str = "node(s) didn't match Pod's required features";

pub struct NodeDeclaredFeatures;

impl Filter for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        Ok(match pod.node_features.is_empty() {
            true => PreFilter::Skip,
            false => PreFilter::All,
        })
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        match has_all(pod, node) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(UNSATISFIED)),
        }
    }

    fn remedies(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let declared = node.node.as_deref().map(declared).unwrap_or_default();
        let missing = pod.node_features.iter();
        let missing = missing.filter(|feature| !declared.iter().any(|name| name == *feature));
        missing
            .map(|feature| format!("a kubelet that declares {feature}"))
            .collect()
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeFeatures]
    }

    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        has_all(pod, event.node)
    }
}

fn has_all(pod: &PodInfo, node: &NodeInfo) -> bool {
    let declared = node.node.as_deref().map(declared).unwrap_or_default();
    let has = |feature: &&str| declared.iter().any(|name| name == feature);
    pod.node_features.iter().all(has)
}
