//! Packing endpoints into slices.
//!
//! Endpoints are grouped by their ports, each group is spread over slices of limited size. Slices are changed as little as
//! possible: an endpoint stays where it is, new ones fill slices that change anyway, then one slice with just enough room,
//! then new slices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use knarr_meta::names;
use kube::Resource;

use crate::owners;

/// Longest name of an object.
const NAME_BYTES: usize = 253;

/// What is to be written.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub create: Vec<EndpointSlice>,
    /// Complete objects that carry the resourceVersion they were planned on.
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
}

impl Changes {
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.create.is_empty() && self.update.is_empty() && self.delete.is_empty()
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.create.extend(other.create);
        self.update.extend(other.update);
        self.delete.extend(other.delete);
    }

    /// Turns pairs of a creation and a deletion into updates; all of one address family, which is immutable.
    pub(crate) fn reuse(&mut self, template: &Template) {
        let (create, update) = (&mut self.create, &mut self.update);
        self.delete.retain(|old| {
            if !template.owns(old) {
                return true;
            }
            let Some(mut slice) = create.pop() else {
                return true;
            };
            slice.metadata.name = old.metadata.name.clone();
            slice.metadata.resource_version = old.metadata.resource_version.clone();
            update.push(slice);
            false
        });
    }
}

/// What all slices of one owner and one address family have in common.
pub(crate) struct Template {
    pub owner: OwnerReference,
    pub namespace: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// `None`: annotations are not looked at.
    pub annotations: Option<BTreeMap<String, String>>,
    pub address_type: &'static str,
    /// Endpoints in one slice at most.
    pub max_endpoints: usize,
}

impl Template {
    /// Slices that belong to `owner`, are named after it and are in its namespace.
    pub(crate) fn new<K: Resource<DynamicType = ()>>(
        owner: &K,
        labels: BTreeMap<String, String>,
        address_type: &'static str,
        max_endpoints: usize,
    ) -> Self {
        Self {
            owner: owners::controller_reference(owner),
            namespace: owner.meta().namespace.clone(),
            labels,
            annotations: None,
            address_type,
            max_endpoints,
        }
    }

    pub(crate) fn owns(&self, slice: &EndpointSlice) -> bool {
        let owner = &self.owner;
        let mut owners = slice.metadata.owner_references.iter().flatten();
        owners.any(|o| {
            o.uid == owner.uid && o.kind == owner.kind && o.api_version == owner.api_version
        })
    }

    /// A new slice without endpoints.
    pub(crate) fn slice(&self, ports: Vec<EndpointPort>) -> EndpointSlice {
        EndpointSlice {
            metadata: ObjectMeta {
                generate_name: Some(name_prefix(&self.owner.name)),
                namespace: self.namespace.clone(),
                labels: Some(self.labels.clone()),
                annotations: self.annotations.clone(),
                owner_references: Some(vec![self.owner.clone()]),
                ..ObjectMeta::default()
            },
            address_type: self.address_type.to_owned(),
            ports: Some(ports),
            endpoints: Vec::new(),
        }
    }

    fn fits(&self, slice: &EndpointSlice) -> bool {
        let found = slice.metadata.annotations.as_ref();
        let annotated = self
            .annotations
            .as_ref()
            .is_none_or(|wanted| found.map_or(wanted.is_empty(), |found| found == wanted));
        slice.metadata.labels.as_ref() == Some(&self.labels) && annotated
    }

    fn stamp(&self, slice: &mut EndpointSlice) {
        slice.metadata.labels = Some(self.labels.clone());
        if self.annotations.is_some() {
            slice.metadata.annotations.clone_from(&self.annotations);
        }
    }
}

fn name_prefix(name: &str) -> String {
    let prefix = format!("{name}-");
    let valid = names::dns1123_subdomain(name).is_empty() && prefix.len() <= NAME_BYTES;
    if valid { prefix } else { name.to_owned() }
}

type Ports = Vec<(Option<String>, Option<String>, Option<i32>, Option<String>)>;
/// What identifies an endpoint; everything else about it changes in place.
type Identity = (Vec<String>, Option<String>);

#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    /// Somebody offers these ports, perhaps without an address of the family.
    wanted: bool,
    desired: BTreeMap<Identity, Endpoint>,
    existing: Vec<Arc<EndpointSlice>>,
}

/// The endpoints that there are to be, by the ports they offer.
#[derive(Default)]
pub(crate) struct Groups {
    by_ports: BTreeMap<Ports, Group>,
}

impl Groups {
    /// These ports stay, with or without endpoints.
    pub(crate) fn want(&mut self, ports: Vec<EndpointPort>) {
        let group = self.by_ports.entry(ports_key(&ports)).or_default();
        group.wanted = true;
        group.ports = ports;
    }

    /// Of endpoints with the same addresses and hostname the last one counts.
    pub(crate) fn insert(&mut self, ports: Vec<EndpointPort>, endpoint: Endpoint) {
        let group = self.by_ports.entry(ports_key(&ports)).or_default();
        group.wanted = true;
        group.ports = ports;
        group.desired.insert(identity(&endpoint), endpoint);
    }

    /// What to change of `existing`, the slices there are of the template's family.
    pub(crate) fn pack(mut self, template: &Template, existing: &[Arc<EndpointSlice>]) -> Changes {
        let mut changes = Changes::default();
        for slice in existing {
            if template.owns(slice) {
                let key = ports_key(slice.ports.as_deref().unwrap_or_default());
                let group = self.by_ports.entry(key).or_default();
                group.existing.push(slice.clone());
            } else {
                changes.delete.push(slice.clone());
            }
        }
        for group in self.by_ports.into_values() {
            if group.wanted {
                changes.extend(fill(template, group));
            } else {
                changes.delete.extend(group.existing);
            }
        }
        changes
    }
}

fn ports_key(ports: &[EndpointPort]) -> Ports {
    let key = |p: &EndpointPort| {
        (
            p.name.clone(),
            p.protocol.clone(),
            p.port,
            p.app_protocol.clone(),
        )
    };
    let keys: BTreeSet<_> = ports.iter().map(key).collect();
    keys.into_iter().collect()
}

fn identity(endpoint: &Endpoint) -> Identity {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    (addresses, endpoint.hostname.clone())
}

/// Distributes one group's endpoints over its slices.
fn fill(template: &Template, group: Group) -> Changes {
    let mut changes = Changes::default();
    let mut desired = group.desired;
    let mut changed: Vec<EndpointSlice> = Vec::new();
    let mut unchanged: Vec<Arc<EndpointSlice>> = Vec::new();
    for slice in group.existing {
        let mut differs = false;
        let mut kept = Vec::with_capacity(slice.endpoints.len());
        for endpoint in &slice.endpoints {
            match desired.remove(&identity(endpoint)) {
                Some(wanted) => {
                    differs |= !is_same_state(endpoint, &wanted);
                    kept.push(wanted);
                }
                None => differs = true,
            }
        }
        if kept.is_empty() && differs {
            changes.delete.push(slice);
        } else if differs || !template.fits(&slice) {
            let mut slice = EndpointSlice::clone(&slice);
            slice.endpoints = kept;
            template.stamp(&mut slice);
            changed.push(slice);
        } else {
            unchanged.push(slice);
        }
    }
    let max = template.max_endpoints;
    let mut left: Vec<Endpoint> = desired.into_values().collect();
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut changed {
        top_up(slice, &mut left, max);
    }
    while !left.is_empty() {
        let fullest_with_room = (unchanged.iter().enumerate())
            .filter(|(_, slice)| slice.endpoints.len().saturating_add(left.len()) <= max)
            .max_by_key(|(_, slice)| slice.endpoints.len())
            .map(|(index, _)| index);
        match fullest_with_room {
            Some(index) => {
                let mut slice = EndpointSlice::clone(&unchanged.remove(index));
                top_up(&mut slice, &mut left, max);
                changed.push(slice);
            }
            None => {
                let mut slice = template.slice(group.ports.clone());
                top_up(&mut slice, &mut left, max);
                changes.create.push(slice);
            }
        }
    }
    changes.update = changed;
    changes
}

fn top_up(slice: &mut EndpointSlice, left: &mut Vec<Endpoint>, max: usize) {
    let room = max.saturating_sub(slice.endpoints.len()).min(left.len());
    slice.endpoints.extend(left.drain(..room));
}

/// Equal but for the pod's resourceVersion, which nobody needs here.
fn is_same_state(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |e: &Endpoint| {
        e.target_ref.as_ref().map(|t| {
            (
                t.kind.clone(),
                t.namespace.clone(),
                t.name.clone(),
                t.uid.clone(),
            )
        })
    };
    a.node_name == b.node_name
        && a.zone == b.zone
        && a.hints == b.hints
        && a.conditions == b.conditions
        && target(a) == target(b)
}
