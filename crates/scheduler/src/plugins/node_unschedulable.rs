//! NodeUnschedulable: cordoned nodes take only pods that tolerate it.

use crate::{
    framework::{Change, Filter},
    plugins::taint_toleration::tolerates,
    pod_info::PodInfo,
    snapshot::NodeInfo,
};

const TAINT: &str = "node.kubernetes.io/unschedulable";

pub struct NodeUnschedulable;

impl Filter for NodeUnschedulable {
    fn name(&self) -> &'static str {
        "NodeUnschedulable"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>) {
        if node.unschedulable() && !tolerates(pod.tolerations(), TAINT, "", "NoSchedule") {
            reasons.push("node(s) were unschedulable".to_owned());
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeUncordoned]
    }
}
