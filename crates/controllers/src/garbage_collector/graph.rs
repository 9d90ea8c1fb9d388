//! Who owns whom: a graph of all objects by uid, and what each change of it asks to be looked at.
//!
//! An owner that is referred to but was not seen is in the graph too, *unseen*: its dependents are linked to it already,
//! and a live look decides whether it is late or gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use knarr_client::Object;
use serde::Deserialize;

use crate::resources::ServedResource;

pub(crate) const ORPHAN: &str = "orphan";
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

pub(crate) type Uid = Arc<str>;

/// What garbage collection needs of an object.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Metadata {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    pub resource_version: Box<str>,
    pub deletion_timestamp: Option<Box<str>>,
    pub owner_references: Vec<OwnerReference>,
    pub finalizers: Vec<Box<str>>,
}

impl Metadata {
    fn waits_for(&self, finalizer: &str) -> bool {
        self.deletion_timestamp.is_some() && self.finalizers.iter().any(|f| **f == *finalizer)
    }
}

/// An object of any kind, decoded no further than its metadata.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct AnyObject {
    #[serde(default)]
    pub metadata: Metadata,
}

impl Object for AnyObject {
    fn namespace(&self) -> &str {
        &self.metadata.namespace
    }

    fn name(&self) -> &str {
        &self.metadata.name
    }

    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }

    fn decode(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(json)
    }
}

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Work {
    /// Does it still have an owner? (Or: can an owner that waits for its dependents go?)
    Delete(Uid),
    /// It is being deleted and leaves its dependents behind.
    Orphan(Uid),
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Delete(uid) => write!(f, "delete {uid}"),
            Self::Orphan(uid) => write!(f, "orphan {uid}"),
        }
    }
}

/// One object.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// `None` while unseen: only references tell of it.
    pub resource: Option<Arc<ServedResource>>,
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub owners: Box<[Arc<OwnerReference>]>,
    pub dependents: HashSet<Uid>,
    pub deleting: bool,
    /// It waits for its dependents to be gone (foreground deletion).
    pub deleting_dependents: bool,
    /// As one of the references describes it; most are the same, and then one. They may disagree. While it is unseen it is
    /// looked for there, in `namespace`.
    pub reference: Option<Arc<OwnerReference>>,
}

#[derive(Debug, Default)]
pub(crate) struct Graph {
    /// Boxed: half of a table's places are empty.
    nodes: HashMap<Uid, Box<Node>>,
}

/// A table that has room for so many times what is in it is made smaller.
const SPARSE: usize = 8;

impl Graph {
    pub(crate) fn get(&self, uid: &str) -> Option<&Node> {
        self.nodes.get(uid).map(|node| &**node)
    }

    /// All owners that were never seen.
    pub(crate) fn unseen(&self) -> Vec<Work> {
        let unseen = self
            .nodes
            .iter()
            .filter(|(_, node)| node.resource.is_none());
        unseen.map(|(uid, _)| Work::Delete(uid.clone())).collect()
    }

    /// The reference, as one that others hold already where there is one.
    fn shared(&self, owner: &OwnerReference) -> Arc<OwnerReference> {
        let node = self.nodes.get(owner.uid.as_str());
        let known = node.and_then(|node| node.reference.as_ref());
        match known.filter(|known| ***known == *owner) {
            Some(known) => known.clone(),
            None => Arc::new(owner.clone()),
        }
    }

    fn uid(&self, uid: &str) -> Uid {
        self.nodes
            .get_key_value(uid)
            .map_or_else(|| Uid::from(uid), |(known, _)| known.clone())
    }

    /// Notes an object's state.
    pub(crate) fn upsert(
        &mut self,
        resource: &Arc<ServedResource>,
        metadata: &Metadata,
    ) -> Vec<Work> {
        let uid = self.uid(&metadata.uid);
        let mut work = Vec::new();
        let before = self.nodes.remove(&uid);
        let first = before.as_ref().is_none_or(|node| node.resource.is_none());
        let (old_owners, dependents, was_waiting, reference) = match before {
            Some(node) => (
                node.owners,
                node.dependents,
                node.deleting_dependents,
                node.reference,
            ),
            None => (Box::default(), HashSet::new(), false, None),
        };
        let owners = metadata.owner_references.iter();
        let owners: Box<[_]> = owners.map(|owner| self.shared(owner)).collect();
        let waits_for_dependents = metadata.waits_for(FOREGROUND);
        if metadata.waits_for(ORPHAN) {
            work.push(Work::Orphan(uid.clone()));
        }
        if waits_for_dependents && !was_waiting {
            work.extend(dependents.iter().cloned().map(Work::Delete));
            work.push(Work::Delete(uid.clone()));
        }
        self.relink(&uid, &metadata.namespace, &old_owners, &owners, &mut work);
        if first && !owners.is_empty() {
            // Its owner may have gone while nobody looked.
            work.push(Work::Delete(uid.clone()));
        }
        let node = Node {
            resource: Some(resource.clone()),
            namespace: metadata.namespace.clone(),
            name: metadata.name.clone(),
            owners,
            dependents,
            deleting: metadata.deletion_timestamp.is_some(),
            deleting_dependents: waits_for_dependents,
            reference,
        };
        self.nodes.insert(uid.clone(), Box::new(node));
        if first {
            work.extend(self.misled(&uid));
        }
        work
    }

    /// The dependents of an observed object that describe it otherwise than it is.
    fn misled(&self, uid: &Uid) -> Vec<Work> {
        let dependents = self.nodes.get(uid).map(|node| &node.dependents);
        let misled = dependents.into_iter().flatten().filter(|dependent| {
            self.nodes.get(*dependent).is_some_and(|node| {
                let mut owners = node.owners.iter().filter(|owner| *owner.uid == **uid);
                owners.any(|owner| self.state_of(&node.namespace, owner).is_none())
            })
        });
        misled.cloned().map(Work::Delete).collect()
    }

    /// The kind of this object is not served any more: that says nothing about the object. It is looked for when its kind is
    /// served again, and holds its dependents until then.
    pub(crate) fn unobserve(&mut self, uid: &str) {
        let Some(node) = self.nodes.get_mut(uid) else {
            return;
        };
        if let Some(resource) = node.resource.take() {
            node.reference = Some(Arc::new(OwnerReference {
                api_version: resource.api.api_version.clone(),
                kind: resource.api.kind.clone(),
                name: node.name.to_string(),
                uid: uid.to_owned(),
                ..OwnerReference::default()
            }));
        }
    }

    /// A live look found no object where an unseen one was looked for, as `reference` describes it from within `namespace`.
    /// Those who describe it so are to be looked at. Where others describe it otherwise it is to be looked for there: true.
    pub(crate) fn absent(
        &mut self,
        uid: &Uid,
        (namespace, reference): (&str, &OwnerReference),
        namespaced: bool,
    ) -> (Vec<Work>, bool) {
        let Some(node) = self.nodes.get(uid).filter(|node| node.resource.is_none()) else {
            // It has come into sight meanwhile.
            return (Vec::new(), false);
        };
        let mut work = Vec::new();
        let mut elsewhere = None;
        for dependent in &node.dependents {
            let Some(described) = self.nodes.get(dependent).and_then(|node| {
                let owner = node.owners.iter().find(|owner| *owner.uid == **uid)?;
                Some((&node.namespace, owner))
            }) else {
                continue;
            };
            let (from, owner) = described;
            let here = !namespaced || **from == *namespace;
            if here && owner.name == reference.name && kind_of(owner) == kind_of(reference) {
                work.push(Work::Delete(dependent.clone()));
            } else {
                elsewhere = Some((from.clone(), owner.clone()));
            }
        }
        let Some((namespace, reference)) = elsewhere else {
            return (self.remove(uid), false);
        };
        if let Some(node) = self.nodes.get_mut(uid) {
            node.namespace = namespace;
            node.name = reference.name.as_str().into();
            node.reference = Some(reference);
        }
        (work, true)
    }

    fn relink(
        &mut self,
        uid: &Uid,
        namespace: &str,
        old: &[Arc<OwnerReference>],
        new: &[Arc<OwnerReference>],
        work: &mut Vec<Work>,
    ) {
        for owner in old {
            let now = new.iter().find(|other| other.uid == owner.uid);
            let blocked = owner.block_owner_deletion == Some(true);
            let blocks = now.is_some_and(|now| now.block_owner_deletion == Some(true));
            let Some(node) = self.nodes.get_mut(owner.uid.as_str()) else {
                continue;
            };
            if blocked && !blocks && node.deleting_dependents {
                work.push(Work::Delete(Uid::from(owner.uid.as_str())));
            }
            if now.is_none() {
                node.dependents.remove(uid);
                self.forget_if_unneeded(&owner.uid);
            }
        }
        for owner in new {
            let owner_uid = self.uid(&owner.uid);
            let node = self.nodes.entry(owner_uid.clone()).or_insert_with(|| {
                work.push(Work::Delete(owner_uid.clone()));
                Box::new(Node {
                    resource: None,
                    namespace: namespace.into(),
                    name: owner.name.as_str().into(),
                    owners: Box::default(),
                    dependents: HashSet::new(),
                    deleting: false,
                    deleting_dependents: false,
                    reference: Some(owner.clone()),
                })
            });
            node.dependents.insert(uid.clone());
            let added = !old.iter().any(|other| other.uid == owner.uid);
            let waits = node.deleting_dependents;
            let observed = node.resource.is_some();
            if observed {
                node.reference = Some(owner.clone());
            }
            let misled = observed && self.state_of(namespace, owner).is_none();
            if added && (waits || misled) {
                work.push(Work::Delete(uid.clone()));
            }
        }
    }

    /// An owner that was never seen and that nobody refers to any more.
    fn forget_if_unneeded(&mut self, uid: &str) {
        let unneeded = |node: &Node| {
            node.resource.is_none() && node.owners.is_empty() && node.dependents.is_empty()
        };
        if self.get(uid).is_some_and(unneeded) {
            self.nodes.remove(uid);
        }
    }

    /// Notes that an object is gone: its dependents may have to go, an owner that waited for it may.
    pub(crate) fn remove(&mut self, uid: &str) -> Vec<Work> {
        let Some((uid, node)) = self.nodes.remove_entry(uid) else {
            return Vec::new();
        };
        if self.nodes.capacity() / SPARSE > self.nodes.len() {
            self.nodes.shrink_to(self.nodes.len() * 2);
        }
        let mut work: Vec<Work> = Vec::new();
        for owner in &node.owners {
            if let Some(owner_node) = self.nodes.get_mut(owner.uid.as_str()) {
                owner_node.dependents.remove(&uid);
                if owner_node.deleting_dependents {
                    work.push(Work::Delete(Uid::from(owner.uid.as_str())));
                }
                self.forget_if_unneeded(&owner.uid);
            }
        }
        for dependent in node.dependents {
            // Their references stay: each is checked by a live look at its own owners.
            work.push(Work::Delete(dependent));
        }
        work
    }

    /// The dependents that `uid` has to wait for, and whether each waits for its own.
    pub(crate) fn blocking_dependents(&self, uid: &str) -> Vec<(Uid, bool)> {
        let Some(node) = self.nodes.get(uid) else {
            return Vec::new();
        };
        let blocks = |dependent: &Uid| {
            let dependent_node = self.nodes.get(dependent)?;
            let mut owners = dependent_node.owners.iter();
            owners
                .any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
                .then(|| (dependent.clone(), dependent_node.deleting_dependents))
        };
        node.dependents.iter().filter_map(blocks).collect()
    }

    /// Every owner of an observed object is there, where the object says it is, and does not wait for its dependents.
    pub(crate) fn is_held(&self, node: &Node) -> bool {
        node.owners
            .iter()
            .all(|owner| self.state_of(&node.namespace, owner) == Some(OwnerState::Solid))
    }

    /// The owner is an object of another namespace than its dependent's: no owner at all.
    pub(crate) fn is_foreign(&self, namespace: &str, owner: &OwnerReference) -> bool {
        let node = self.nodes.get(owner.uid.as_str());
        node.is_some_and(|node| {
            let namespaced = node.resource.as_ref().is_some_and(|known| known.namespaced);
            namespaced && *node.namespace != *namespace
        })
    }

    /// What the graph knows about the owner of an object in `namespace`; `None` when only a live look can tell.
    pub(crate) fn state_of(&self, namespace: &str, owner: &OwnerReference) -> Option<OwnerState> {
        let node = self.nodes.get(owner.uid.as_str())?;
        let resource = node.resource.as_ref()?;
        let here = !resource.namespaced || *node.namespace == *namespace;
        let kind = (resource.api.group.as_str(), resource.api.kind.as_str());
        if *node.name != *owner.name || kind != kind_of(owner) || !here {
            return None;
        }
        Some(if node.deleting_dependents {
            OwnerState::Waiting
        } else {
            OwnerState::Solid
        })
    }
}

/// Group and kind: an owner is the same in all versions.
fn kind_of(owner: &OwnerReference) -> (&str, &str) {
    let group = owner.api_version.split_once('/');
    (group.map_or("", |(group, _)| group), &owner.kind)
}

/// What an owner means to its dependent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerState {
    /// It is there: the dependent stays.
    Solid,
    /// It is gone (or another object has its name).
    Absent,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// Its kind is not served, perhaps not yet or not for now: never delete on a guess.
    Unserved,
    /// A cluster-scoped object cannot be owned by a namespaced one: the reference means nothing, the object stays.
    Invalid,
}

#[cfg(test)]
mod tests;
