//! Nodes with the pods on them, kept by delta.
//!
//! Assumed pods are in it from the decision until the informer shows the binding, or the binding has failed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::{
    pod_info::{HostPort, PodInfo},
    resources::Resources,
};

/// A node as plugins see it.
#[derive(Debug, Default)]
pub struct NodeInfo {
    /// Absent while pods are known on a node that is not (yet, or any more).
    pub node: Option<Arc<Node>>,
    pub allocatable: Resources,
    pub requested: Resources,
    pub score_requested: Resources,
    pub pods: HashMap<String, Arc<PodInfo>>,
    pub host_ports: HashSet<HostPort>,
    /// Pods by the controller that made them.
    pub by_controller: HashMap<String, usize>,
    pub images: HashSet<String>,
}

impl NodeInfo {
    pub fn name(&self) -> &str {
        let node = self.node.as_ref();
        node.and_then(|n| n.metadata.name.as_deref())
            .unwrap_or_default()
    }

    pub fn taints(&self) -> &[Taint] {
        let spec = self.node.as_ref().and_then(|n| n.spec.as_ref());
        spec.and_then(|s| s.taints.as_deref()).unwrap_or_default()
    }

    pub fn unschedulable(&self) -> bool {
        let spec = self.node.as_ref().and_then(|n| n.spec.as_ref());
        spec.and_then(|s| s.unschedulable) == Some(true)
    }

    fn set_node(&mut self, node: &Arc<Node>) {
        let status = node.status.as_ref();
        self.allocatable = status
            .and_then(|s| s.allocatable.as_ref())
            .map(Resources::from_list)
            .unwrap_or_default();
        let images = status.and_then(|s| s.images.as_ref()).into_iter().flatten();
        self.images = images
            .flat_map(|i| i.names.iter().flatten())
            .cloned()
            .collect();
        self.node = Some(node.clone());
    }

    fn add(&mut self, info: Arc<PodInfo>) {
        self.requested.add(&info.requests);
        self.score_requested.add(&info.score_requests);
        self.host_ports.extend(info.host_ports.iter().cloned());
        if let Some(uid) = &info.controller_uid {
            *self.by_controller.entry(uid.clone()).or_default() += 1;
        }
        self.pods.insert(info.uid.clone(), info);
    }

    fn remove(&mut self, uid: &str) -> bool {
        let Some(info) = self.pods.remove(uid) else {
            return false;
        };
        self.requested.sub(&info.requests);
        self.score_requested.sub(&info.score_requests);
        for port in &info.host_ports {
            self.host_ports.remove(port);
        }
        if let Some(uid) = &info.controller_uid
            && let Some(count) = self.by_controller.get_mut(uid)
        {
            *count -= 1;
            if *count == 0 {
                self.by_controller.remove(uid);
            }
        }
        true
    }
}

/// The cluster as the next decision sees it.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: HashMap<String, NodeInfo>,
    /// Names of the nodes that exist, in the order they are looked at.
    order: Vec<String>,
    /// Where each pod counts, bound or assumed.
    placed: HashMap<String, String>,
}

impl Snapshot {
    /// The nodes that exist, in a stable order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> {
        self.order.iter().map(|name| &self.nodes[name])
    }

    #[cfg(test)]
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    /// Takes over a node's state. True when the change may let a pod fit that did not before.
    pub fn set_node(&mut self, node: &Arc<Node>) -> bool {
        let Some(name) = &node.metadata.name else {
            return false;
        };
        let info = self.nodes.entry(name.clone()).or_default();
        let Some(old) = info.node.clone() else {
            info.set_node(node);
            self.order.push(name.clone());
            return true;
        };
        info.set_node(node);
        // Heartbeats change conditions only: no pod was waiting for that.
        let status = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
        old.metadata.labels != node.metadata.labels
            || old.spec != node.spec
            || status(&old) != status(node)
    }

    pub fn remove_node(&mut self, node: &Node) {
        let Some(name) = &node.metadata.name else {
            return;
        };
        self.order.retain(|n| n != name);
        if let Some(info) = self.nodes.get_mut(name) {
            info.node = None;
            if info.pods.is_empty() {
                self.nodes.remove(name);
            }
        }
    }

    /// Counts a bound pod where it is; the assumption it confirms (or corrects) goes.
    pub fn set_pod(&mut self, info: Arc<PodInfo>) {
        let Some(node) = info.node_name().map(str::to_owned) else {
            return;
        };
        self.place(info, node);
    }

    /// Counts a pod on the node chosen for it.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
        self.place(info, node.to_owned());
    }

    fn place(&mut self, info: Arc<PodInfo>, node: String) {
        self.remove_pod(&info);
        self.placed.insert(info.uid.clone(), node.clone());
        self.nodes.entry(node).or_default().add(info);
    }

    /// Forgets a pod. True when it had taken room.
    pub fn remove_pod(&mut self, info: &PodInfo) -> bool {
        let Some(node) = self.placed.remove(&info.uid) else {
            return false;
        };
        let Some(entry) = self.nodes.get_mut(&node) else {
            return false;
        };
        let removed = entry.remove(&info.uid);
        if entry.node.is_none() && entry.pods.is_empty() {
            self.nodes.remove(&node);
        }
        removed
    }
}

#[cfg(test)]
mod tests;
