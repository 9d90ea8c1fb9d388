//! NodePorts: two pods cannot have the same port of a node.

use crate::{
    framework::{Change, ClusterEvent, Filter},
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
        if conflicts(pod, node.host_ports.keys()) {
            reasons.push("node(s) didn't have free ports for the requested pod ports".to_owned());
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::PodRemoved]
    }

    /// A pod that went must have had one of the ports.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let was_in_the_way = |freed: &PodInfo| conflicts(pod, &freed.host_ports);
        event.freed.is_none_or(was_in_the_way) && !conflicts(pod, event.node.host_ports.keys())
    }
}

fn conflicts<'a>(pod: &PodInfo, used: impl IntoIterator<Item = &'a HostPort> + Clone) -> bool {
    let taken = |wanted: &HostPort| used.clone().into_iter().any(|used| conflict(wanted, used));
    pod.host_ports.iter().any(taken)
}

fn conflict(a: &HostPort, b: &HostPort) -> bool {
    let same_address = a.ip == b.ip || a.ip == ANY || b.ip == ANY;
    a.port == b.port && a.protocol == b.protocol && same_address
}
