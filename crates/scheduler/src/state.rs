//! What is decided from and about: nodes with their pods, and the pods that wait. A change of one wakes the other.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use crate::{
    framework::{Change, ClusterEvent, Plugins},
    pod_info::PodInfo,
    queue::Queue,
    snapshot::Snapshot,
};

#[derive(Default)]
pub struct State {
    pub snapshot: Snapshot,
    pub queue: Queue,
}

impl State {
    /// Takes over a node's state and wakes the pods that its change helps. Whether there are any.
    pub fn set_node(&mut self, plugins: &Plugins, node: &Arc<Node>) -> bool {
        let (before, changes) = self.snapshot.set_node(node);
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let Some(info) = self.snapshot.node(name) else {
            return false;
        };
        let mut woken = false;
        for change in changes {
            let event = ClusterEvent {
                change,
                node: info,
                before: before.as_deref(),
                freed: None,
            };
            woken |= self.queue.wake(plugins, &event);
        }
        woken
    }

    /// Forgets a pod on a node (or assumed there) and wakes the pods that its room helps.
    pub fn remove_pod(&mut self, plugins: &Plugins, pod: &PodInfo) {
        let Some((node, freed)) = self.snapshot.remove_pod(pod) else {
            return;
        };
        let node = self.snapshot.node(&node);
        if let Some(node) = node.filter(|node| node.node.is_some()) {
            let event = ClusterEvent {
                change: Change::PodRemoved,
                node,
                before: None,
                freed: Some(&freed),
            };
            self.queue.wake(plugins, &event);
        }
    }
}
