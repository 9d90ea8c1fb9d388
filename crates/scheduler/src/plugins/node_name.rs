//! NodeName: a pod that names its node goes nowhere else. (Such pods are bound already; the rule is for completeness of
//! assumed state.)

use crate::{
    framework::{Change, Filter},
    pod_info::PodInfo,
    snapshot::NodeInfo,
};

pub struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>) {
        if pod.node_name().is_some_and(|name| name != node.name()) {
            reasons.push("node(s) didn't match the requested node name".to_owned());
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded]
    }
}
