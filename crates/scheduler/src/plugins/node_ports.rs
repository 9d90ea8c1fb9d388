//! NodePorts: two pods cannot have the same port of a node.

use knarr_meta::host_ports::HostPort;

use crate::{
    framework::{Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

pub struct NodePorts;

impl Filter for NodePorts {
    fn name(&self) -> &'static str {
        "NodePorts"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        Ok(match pod.host_ports.is_empty() {
            true => PreFilter::Skip,
            false => PreFilter::All,
        })
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        match conflicts(pod, node.host_ports.keys()) {
            true => Err(Refusal::resolvable(
                "node(s) didn't have free ports for the requested pod ports",
            )),
            false => Ok(()),
        }
    }

    fn remedies(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let others = node.pods.values();
        let others = others.filter(|other| conflicts(pod, &other.host_ports));
        let mut names: Vec<_> = others
            .map(|other| format!("{}/{}", other.namespace, other.name))
            .collect();
        names.sort();
        names
            .iter()
            .map(|name| format!("other ports than those of {name}"))
            .collect()
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::PodRemoved]
    }

    /// A pod that went must have had one of the ports.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let was_in_the_way = |freed: &PodInfo| conflicts(pod, &freed.host_ports);
        event.freed().is_none_or(was_in_the_way) && !conflicts(pod, event.node.host_ports.keys())
    }
}

fn conflicts<'a>(pod: &PodInfo, used: impl IntoIterator<Item = &'a HostPort> + Clone) -> bool {
    let taken = |wanted: &HostPort| used.clone().into_iter().any(|used| wanted.conflicts(used));
    pod.host_ports.iter().any(taken)
}
