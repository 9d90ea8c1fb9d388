//! Nodes with the pods on them, kept by delta.
//!
//! Assumed pods are in it from the decision until the informer shows the binding, or the binding has failed. Once an informer
//! has spoken of a pod, what was assumed of it can no longer be undone.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use k8s_openapi::api::core::v1::{Node, Taint};

use crate::{
    framework::Change,
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
    /// By how many pods each is taken: those that name their node themselves are not asked.
    pub host_ports: HashMap<HostPort, usize>,
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
        self.node.as_deref().map(taints_of).unwrap_or_default()
    }

    pub fn unschedulable(&self) -> bool {
        self.node.as_deref().is_some_and(is_cordoned)
    }

    fn set_node(&mut self, node: &Arc<Node>) {
        let status = node.status.as_ref();
        self.allocatable = allocatable_of(node);
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
        for port in &info.host_ports {
            count(&mut self.host_ports, port);
        }
        if let Some(uid) = &info.controller_uid {
            count(&mut self.by_controller, uid);
        }
        self.pods.insert(info.uid.clone(), info);
    }

    fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let info = self.pods.remove(uid)?;
        self.requested.sub(&info.requests);
        self.score_requested.sub(&info.score_requests);
        for port in &info.host_ports {
            uncount(&mut self.host_ports, port);
        }
        if let Some(uid) = &info.controller_uid {
            uncount(&mut self.by_controller, uid);
        }
        Some(info)
    }
}

fn count<K: std::hash::Hash + Eq + Clone>(counts: &mut HashMap<K, usize>, key: &K) {
    let count = counts.entry(key.clone()).or_default();
    *count = count.saturating_add(1);
}

fn uncount<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(key);
        }
    }
}

pub fn taints_of(node: &Node) -> &[Taint] {
    let spec = node.spec.as_ref();
    spec.and_then(|s| s.taints.as_deref()).unwrap_or_default()
}

pub fn allocatable_of(node: &Node) -> Resources {
    let list = node.status.as_ref().and_then(|s| s.allocatable.as_ref());
    list.map(Resources::from_list).unwrap_or_default()
}

fn is_cordoned(node: &Node) -> bool {
    let spec = node.spec.as_ref();
    spec.and_then(|s| s.unschedulable) == Some(true)
}

/// What differs between two states of a node that may let a pod fit. Heartbeats change conditions only: no pod waits for
/// that.
fn changes(old: &Node, new: &Node) -> Vec<Change> {
    let allocatable = |n: &Node| n.status.as_ref().and_then(|s| s.allocatable.clone());
    let found = [
        (
            Change::NodeLabels,
            old.metadata.labels != new.metadata.labels,
        ),
        (Change::NodeTaints, taints_of(old) != taints_of(new)),
        (
            Change::NodeUncordoned,
            is_cordoned(old) && !is_cordoned(new),
        ),
        (
            Change::NodeAllocatable,
            allocatable(old) != allocatable(new),
        ),
    ];
    let found = found.into_iter().filter(|(_, differs)| *differs);
    found.map(|(change, _)| change).collect()
}

/// The cluster as the next decision sees it.
#[derive(Debug, Default)]
pub struct Snapshot {
    nodes: HashMap<String, NodeInfo>,
    /// Names of the nodes that exist, in the order they are looked at.
    order: Vec<String>,
    /// Where each pod counts, by uid.
    placed: HashMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    node: String,
    /// Chosen here, and not yet seen there.
    assumed: bool,
}

/// A pod that counts no longer as it did.
#[derive(Debug)]
pub struct Freed {
    pub node: String,
    /// What it took.
    pub pod: Arc<PodInfo>,
}

impl Snapshot {
    /// The nodes that exist, in a stable order.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &NodeInfo> {
        self.order.iter().map(|name| &self.nodes[name])
    }

    /// A node that exists, or of which only pods are known.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.nodes.get(name)
    }

    /// Takes over a node's state; its state before, and what of the difference may let a pod fit that did not.
    pub fn set_node(&mut self, node: &Arc<Node>) -> (Option<Arc<Node>>, Vec<Change>) {
        let Some(name) = &node.metadata.name else {
            return (None, Vec::new());
        };
        let info = self.nodes.entry(name.clone()).or_default();
        let before = info.node.clone();
        info.set_node(node);
        let changes = match &before {
            Some(before) => changes(before, node),
            None => {
                self.order.push(name.clone());
                vec![Change::NodeAdded]
            }
        };
        (before, changes)
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

    /// Counts a bound pod where it is; what was assumed of it, or known before, goes and is returned.
    pub fn set_pod(&mut self, info: Arc<PodInfo>) -> Option<Freed> {
        let node = info.node_name().map(str::to_owned)?;
        self.place(info, node, false)
    }

    /// Counts a pod on the node chosen for it.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) {
        self.place(info, node.to_owned(), true);
    }

    fn place(&mut self, info: Arc<PodInfo>, node: String, assumed: bool) -> Option<Freed> {
        let before = self.remove_pod(&info.uid);
        let place = Place {
            node: node.clone(),
            assumed,
        };
        self.placed.insert(info.uid.clone(), place);
        self.nodes.entry(node).or_default().add(info);
        before
    }

    /// Undoes [`Snapshot::assume`]; `None` for a pod that an informer has spoken of since.
    pub fn forget(&mut self, uid: &str) -> Option<Freed> {
        match self.placed.get(uid)?.assumed {
            true => self.remove_pod(uid),
            false => None,
        }
    }

    /// Forgets a pod that is gone.
    pub fn remove_pod(&mut self, uid: &str) -> Option<Freed> {
        let Place { node, .. } = self.placed.remove(uid)?;
        let entry = self.nodes.get_mut(&node)?;
        let removed = entry.remove(uid);
        if entry.node.is_none() && entry.pods.is_empty() {
            self.nodes.remove(&node);
        }
        removed.map(|pod| Freed { node, pod })
    }
}

#[cfg(test)]
mod tests;
