//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use std::sync::LazyLock;

use k8s_openapi::api::core::v1::Taint;
use knarr_meta::taints;

use crate::{
    framework::{Change, CycleState, Filter, Refusal},
    pod_info::PodInfo,
    snapshot::NodeInfo,
};

/// What a cordoned node has by the time it is seen, or soon.
static TAINT: LazyLock<Taint> = LazyLock::new(|| Taint {
    key: "node.kubernetes.io/unschedulable".to_owned(),
    effect: "NoSchedule".to_owned(),
    ..Taint::default()
});

pub struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        if node.unschedulable() && !taints::tolerates(pod.tolerations(), &TAINT) {
            return Err(Refusal::unresolvable("node(s) were unschedulable"));
        }
        Ok(())
    }

    fn remedies(&self, _: &PodInfo, node: &NodeInfo) -> Vec<String> {
        vec![format!("kubectl uncordon {}", node.name())]
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeUncordoned]
    }
}
