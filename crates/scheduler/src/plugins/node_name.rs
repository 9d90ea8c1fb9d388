//! NodeName: a pod that names its node goes nowhere else. (Such pods are bound already; the rule is for completeness of
//! assumed state.)

use crate::{
    framework::{Change, CycleState, Filter, Refusal},
    pod_info::PodInfo,
    snapshot::NodeInfo,
};

pub struct NodeName;

impl Filter for NodeName {
    fn name(&self) -> &'static str {
        "NodeName"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        match pod.node_name() {
            Some(name) if name != node.name() => Err(Refusal::unresolvable(
                "node(s) didn't match the requested node name",
            )),
            _ => Ok(()),
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded]
    }
}
