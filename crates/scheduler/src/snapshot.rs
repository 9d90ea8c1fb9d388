//! Nodes with the pods on them, kept by delta.
//!
//! Assumed pods are in it from the decision until the informer shows the binding, or the binding has failed. Once an informer
//! has spoken of a pod, what was assumed of it can no longer be undone.
//!
//! Nodes are in slots that do not move, so that indexes name them by number. What rules about other pods ask for is indexed
//! too: the rules of pods on nodes, and tallies. A cluster without such rules pays nothing for them.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Taint};
use knarr_meta::host_ports::HostPort;

use parking_lot::Mutex;

use crate::{
    domains::{Domains, Labels},
    framework::Change,
    node_features::declared,
    nominated::Nominated,
    pod_info::PodInfo,
    resources::Resources,
    standing::Standing,
    tally::{Scope, Tallies, Tally},
};

/// A node as plugins see it.
#[derive(Clone, Debug, Default)]
pub struct NodeInfo {
    name: String,
    /// Its place in the snapshot.
    pub slot: usize,
    /// Absent while pods are known on a node that is not (yet, or any more).
    pub node: Option<Arc<Node>>,
    pub allocatable: Resources,
    pub requested: Resources,
    pub score_requested: Resources,
    pub pods: HashMap<String, Arc<PodInfo>>,
    /// By how many pods each is taken: those that name their node themselves are not asked.
    pub host_ports: HashMap<HostPort, usize>,
    /// Sizes of images in bytes, by each of their names.
    pub images: Arc<HashMap<String, i64>>,
}

impl NodeInfo {
    pub fn name(&self) -> &str {
        &self.name
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
        let named = images.flat_map(|image| {
            let size = image.size_bytes.unwrap_or(0);
            image
                .names
                .iter()
                .flatten()
                .map(move |name| (name.clone(), size))
        });
        self.images = Arc::new(named.collect());
        self.node = Some(node.clone());
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        let labels = self.node.as_ref()?.metadata.labels.as_ref()?;
        labels.get(key).map(String::as_str)
    }

    /// Puts a pod on it.
    pub fn add(&mut self, info: Arc<PodInfo>) {
        self.requested.add(&info.requests);
        self.score_requested.add(&info.score_requests);
        for port in &info.host_ports {
            count(&mut self.host_ports, port);
        }
        self.pods.insert(info.uid.clone(), info);
    }

    /// Takes a pod off it.
    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let info = self.pods.remove(uid)?;
        self.requested.sub(&info.requests);
        self.score_requested.sub(&info.score_requests);
        for port in &info.host_ports {
            uncount(&mut self.host_ports, port);
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
        (Change::NodeFeatures, declared(old) != declared(new)),
    ];
    let found = found.into_iter().filter(|(_, differs)| *differs);
    found.map(|(change, _)| change).collect()
}

/// The cluster as the next decision sees it.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// A slot is free once its node does not exist and no pod is known on it.
    slots: Vec<NodeInfo>,
    free: Vec<usize>,
    by_name: HashMap<String, usize>,
    /// Nodes that exist.
    count: usize,
    /// Where each pod counts, by uid.
    placed: HashMap<String, Place>,
    /// Pods that wait, and hold room on a node.
    pub nominated: Nominated,
    /// What pods on nodes say about other pods.
    pub standing: Standing,
    /// How many nodes have each image.
    images: HashMap<String, usize>,
    tallies: Mutex<Tallies>,
    /// The parts of the cluster by the labels that were asked for.
    labels: Mutex<Labels>,
}

#[derive(Debug)]
struct Place {
    slot: usize,
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
    pub fn nodes(&self) -> impl Iterator<Item = &NodeInfo> {
        self.slots.iter().filter(|info| info.node.is_some())
    }

    /// How many nodes exist.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many pods count on a node.
    pub fn pods(&self) -> usize {
        self.placed.len()
    }

    /// Slots are below this.
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The node in a slot, where one exists.
    pub fn at(&self, slot: usize) -> Option<&NodeInfo> {
        self.slots.get(slot).filter(|info| info.node.is_some())
    }

    /// A node that exists, or of which only pods are known.
    pub fn node(&self, name: &str) -> Option<&NodeInfo> {
        self.slots.get(*self.by_name.get(name)?)
    }

    /// How many nodes have an image.
    pub fn nodes_with_image(&self, name: &str) -> usize {
        self.images.get(name).copied().unwrap_or(0)
    }

    /// How many pods of a scope are on each node.
    pub fn tally(&self, scope: &Scope) -> Arc<Tally> {
        let all = || {
            let slots = self.slots.iter();
            slots.flat_map(|info| info.pods.values().map(|pod| (info.slot, pod)))
        };
        self.tallies.lock().get(scope, all)
    }

    /// The parts of the cluster by a label.
    pub fn domains(&self, key: &str) -> Arc<Domains> {
        let all = || self.nodes().map(|info| (info.slot, info.label(key)));
        self.labels.lock().get(key, all)
    }

    /// Notes which parts the node of a slot is in.
    fn index_labels(&mut self, slot: usize) {
        let info = &self.slots[slot];
        self.labels.get_mut().set(slot, |key| info.label(key));
    }

    fn slot_of(&mut self, name: &str) -> usize {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(NodeInfo::default());
            self.slots.len().saturating_sub(1)
        });
        self.slots[slot].slot = slot;
        name.clone_into(&mut self.slots[slot].name);
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    /// Frees a slot of which nothing is known any more.
    fn release(&mut self, slot: usize) {
        let info = &mut self.slots[slot];
        if info.node.is_none() && info.pods.is_empty() {
            let was = std::mem::take(info);
            self.by_name.remove(&was.name);
            self.free.push(slot);
        }
    }

    /// Takes over a node's state; its state before, and what of the difference may let a pod fit that did not.
    pub fn set_node(&mut self, node: &Arc<Node>) -> (Option<Arc<Node>>, Vec<Change>) {
        let Some(name) = &node.metadata.name else {
            return (None, Vec::new());
        };
        let slot = self.slot_of(name);
        let info = &mut self.slots[slot];
        let before = info.node.clone();
        let images = info.images.clone();
        info.set_node(node);
        let now = info.images.clone();
        self.count_images(&images, &now);
        self.index_labels(slot);
        let changes = match &before {
            Some(before) => changes(before, node),
            None => {
                self.count = self.count.saturating_add(1);
                vec![Change::NodeAdded]
            }
        };
        (before, changes)
    }

    fn count_images(&mut self, before: &HashMap<String, i64>, now: &HashMap<String, i64>) {
        for name in before.keys().filter(|name| !now.contains_key(*name)) {
            uncount(&mut self.images, name);
        }
        for name in now.keys().filter(|name| !before.contains_key(*name)) {
            count(&mut self.images, name);
        }
    }

    /// Forgets a node; as it was, where it existed.
    pub fn remove_node(&mut self, node: &Node) -> Option<NodeInfo> {
        let name = node.metadata.name.as_ref()?;
        let slot = *self.by_name.get(name)?;
        let was = self.slots[slot].clone();
        was.node.as_ref()?;
        let info = &mut self.slots[slot];
        info.node = None;
        info.images = Arc::default();
        self.count = self.count.saturating_sub(1);
        self.count_images(&was.images, &HashMap::new());
        self.index_labels(slot);
        self.release(slot);
        Some(was)
    }

    /// Counts a bound pod where it is; what was assumed of it, or known before, goes and is returned.
    pub fn set_pod(&mut self, info: Arc<PodInfo>) -> Option<Freed> {
        let node = info.node_name().map(str::to_owned)?;
        self.place(info, &node, false)
    }

    /// Counts a pod on the node chosen for it. Its nomination is over, and returned.
    pub fn assume(&mut self, info: Arc<PodInfo>, node: &str) -> Option<Freed> {
        let nominated = self.nominated.remove(&info.uid);
        self.place(info, node, true);
        nominated.map(|(pod, node)| Freed { node, pod })
    }

    fn place(&mut self, info: Arc<PodInfo>, node: &str, assumed: bool) -> Option<Freed> {
        let before = self.remove_pod(&info.uid);
        let slot = self.slot_of(node);
        let place = Place { slot, assumed };
        self.placed.insert(info.uid.clone(), place);
        self.tallies.get_mut().add(slot, &info);
        self.standing.add(slot, &info);
        self.slots[slot].add(info);
        before
    }

    /// Whether a pod counts on the node chosen for it, and no informer has spoken of it since.
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.placed.get(uid).is_some_and(|place| place.assumed)
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
        let Place { slot, .. } = self.placed.remove(uid)?;
        let removed = self.slots[slot].remove(uid);
        if let Some(pod) = &removed {
            self.tallies.get_mut().remove(slot, pod);
            self.standing.remove(slot, pod);
        }
        let name = self.slots[slot].name.clone();
        self.release(slot);
        removed.map(|pod| Freed { node: name, pod })
    }
}

#[cfg(test)]
mod tests;
