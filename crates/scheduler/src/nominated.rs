//! Pods that hold room on a node that they are not bound to yet: other pods were ended for them (upstream's nominator).
//!
//! What is known here is ahead of `status.nominatedNodeName`, which is written afterwards.

use std::{collections::HashMap, sync::Arc};

use crate::pod_info::PodInfo;

#[derive(Debug, Default)]
pub struct Nominated {
    /// Never empty lists.
    by_node: HashMap<String, Vec<Arc<PodInfo>>>,
    /// By the pod's uid.
    nodes: HashMap<String, String>,
}

impl Nominated {
    /// The pods nominated to a node.
    pub fn to(&self, node: &str) -> &[Arc<PodInfo>] {
        self.by_node.get(node).map_or(&[], Vec::as_slice)
    }

    /// The pods nominated to any node.
    pub fn all(&self) -> impl Iterator<Item = &PodInfo> {
        self.by_node.values().flatten().map(|pod| &**pod)
    }

    /// The node that a pod is nominated to.
    pub fn node_of(&self, uid: &str) -> Option<&str> {
        self.nodes.get(uid).map(String::as_str)
    }

    /// Nominates a pod to a node, and to no other one.
    pub fn set(&mut self, pod: Arc<PodInfo>, node: &str) {
        self.remove(&pod.uid);
        self.nodes.insert(pod.uid.clone(), node.to_owned());
        self.by_node.entry(node.to_owned()).or_default().push(pod);
    }

    /// Takes a nomination back; the pod as it was known, and its node.
    pub fn remove(&mut self, uid: &str) -> Option<(Arc<PodInfo>, String)> {
        let node = self.nodes.remove(uid)?;
        let pods = self.by_node.get_mut(&node)?;
        let at = pods.iter().position(|pod| pod.uid == uid)?;
        let pod = pods.swap_remove(at);
        if pods.is_empty() {
            self.by_node.remove(&node);
        }
        Some((pod, node))
    }

    /// Takes over a pod's new state. Its nomination follows its status; one that the status does not show yet is kept
    /// (upstream `UpdateNominatedPod`). What is nominated no longer where it was is returned.
    pub fn update(
        &mut self,
        old_status: Option<&str>,
        pod: &Arc<PodInfo>,
    ) -> Option<(Arc<PodInfo>, String)> {
        let new_status = pod.nominated_node();
        let before = self.remove(&pod.uid);
        let now = match (old_status, new_status, &before) {
            (None, None, Some((_, node))) => Some(node.clone()),
            _ => new_status.map(str::to_owned),
        };
        if let Some(node) = &now {
            self.set(pod.clone(), node);
        }
        before.filter(|(_, node)| Some(node) != now.as_ref())
    }
}

#[cfg(test)]
mod tests;
