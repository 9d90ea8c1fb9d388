//! NodePorts: two pods cannot have the same port of a node.

use crate::{
    framework::Filter,
    pod_info::{HostPort, PodInfo},
    snapshot::NodeInfo,
};

const ANY: &str = "0.0.0.0";

pub struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>) {
        let taken = |wanted: &HostPort| node.host_ports.iter().any(|used| conflict(wanted, used));
        if pod.host_ports.iter().any(taken) {
            reasons.push("node(s) didn't have free ports for the requested pod ports".to_owned());
        }
    }
}

fn conflict(a: &HostPort, b: &HostPort) -> bool {
    let same_address = a.ip == b.ip || a.ip == ANY || b.ip == ANY;
    a.port == b.port && a.protocol == b.protocol && same_address
}
