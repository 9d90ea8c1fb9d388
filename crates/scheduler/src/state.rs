//! What is decided from and about: nodes with their pods, and the pods that wait. A change of one wakes the other.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;

use crate::{
    framework::{Change, ClusterEvent, Plugins},
    pod_info::PodInfo,
    queue::Queue,
    snapshot::{Freed, Snapshot},
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

    /// Takes over a bound pod. Where it takes less than it did (it was made smaller, or was assumed on another node) pods
    /// that the difference helps are woken. Whether there are any.
    pub fn set_pod(&mut self, plugins: &Plugins, pod: Arc<PodInfo>) -> bool {
        self.queue.remove(&pod.uid);
        let moved = |freed: &Freed| {
            Some(freed.node.as_str()) != pod.node_name()
                || freed.pod.requests != pod.requests
                || freed.pod.host_ports != pod.host_ports
        };
        let freed = self.snapshot.set_pod(pod.clone());
        let freed = freed.filter(moved);
        freed.is_some_and(|freed| self.wake(plugins, &freed))
    }

    /// Forgets a pod that is gone and wakes the pods that its room helps. Whether there are any.
    pub fn remove_pod(&mut self, plugins: &Plugins, uid: &str) -> bool {
        self.queue.remove(uid);
        let freed = self.snapshot.remove_pod(uid);
        freed.is_some_and(|freed| self.wake(plugins, &freed))
    }

    /// Undoes an assumption and has the pod tried again; nothing if an informer has said meanwhile where the pod is, or that
    /// it is gone.
    pub fn forget(&mut self, plugins: &Plugins, pod: &PodInfo, now: Instant) {
        if let Some(freed) = self.snapshot.forget(&pod.uid) {
            self.wake(plugins, &freed);
            self.queue.failed(pod, now);
        }
    }

    fn wake(&mut self, plugins: &Plugins, freed: &Freed) -> bool {
        let node = self.snapshot.node(&freed.node);
        let Some(node) = node.filter(|node| node.node.is_some()) else {
            return false;
        };
        let event = ClusterEvent {
            change: Change::PodRemoved,
            node,
            before: None,
            freed: Some(&freed.pod),
        };
        self.queue.wake(plugins, &event)
    }
}
