//! How much memory each NUMA node has, and what of it is given.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::RESOURCE;
use crate::Mask;

/// Nodes by their numbers.
pub type Machine = BTreeMap<usize, NodeState>;
/// What is kept for the system, bytes by node and resource.
pub type Reserved = BTreeMap<usize, BTreeMap<String, u64>>;

/// One resource of a node, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub total: u64,
    #[serde(rename = "systemReserved")]
    pub system_reserved: u64,
    pub allocatable: u64,
    pub reserved: u64,
    pub free: u64,
}

/// One node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    #[serde(rename = "numberOfAssignments")]
    pub assignments: i64,
    #[serde(rename = "memoryMap")]
    pub memory: BTreeMap<String, Table>,
    /// The group of nodes that serve together.
    #[serde(rename = "cells")]
    pub group: Vec<usize>,
}

/// What a container has of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    #[serde(rename = "numaAffinity")]
    pub nodes: Vec<usize>,
    #[serde(rename = "type")]
    pub resource: String,
    pub size: u64,
}

/// Where what is reserved by node adds up to what the node keeps back as a whole.
///
/// # Errors
/// It does not, as upstream says it.
pub fn reserved(by_node: Reserved, whole: &BTreeMap<String, u64>) -> Result<Reserved, String> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for (resource, bytes) in by_node.values().flatten() {
        *sums.entry(resource).or_default() += bytes;
    }
    let names: std::collections::BTreeSet<&str> = whole
        .keys()
        .map(String::as_str)
        .chain(sums.keys().copied())
        .collect();
    for name in names {
        let (sum, all) = (sums.get(name), whole.get(name));
        if sum.copied().unwrap_or(0) != all.copied().unwrap_or(0) {
            return Err(format!(
                "the total amount {:?} of type {name:?} is not equal to the value {:?} determined by Node Allocatable feature",
                sum.copied().unwrap_or(0).to_string(),
                all.copied().unwrap_or(0).to_string(),
            ));
        }
    }
    Ok(by_node)
}

/// A machine of which nothing is given: bytes of each resource by node, and what of it is kept for the system.
#[must_use]
pub fn empty(totals: &BTreeMap<usize, BTreeMap<String, u64>>, reserved: &Reserved) -> Machine {
    let node = |(number, totals): (&usize, &BTreeMap<String, u64>)| {
        let kept = |resource: &str| {
            let kept = reserved.get(number).and_then(|node| node.get(resource));
            kept.copied().unwrap_or(0)
        };
        let huge = totals.iter().filter(|(resource, _)| *resource != RESOURCE);
        let huge: u64 = huge.map(|(_, bytes)| bytes).sum();
        let table = |(resource, total): (&String, &u64)| {
            // Huge pages are taken out of the memory.
            let apart = if resource == RESOURCE { huge } else { 0 };
            let system_reserved = kept(resource);
            let allocatable = total.saturating_sub(system_reserved).saturating_sub(apart);
            let table = Table {
                total: *total,
                system_reserved,
                allocatable,
                reserved: 0,
                free: allocatable,
            };
            (resource.clone(), table)
        };
        let state = NodeState {
            assignments: 0,
            memory: totals.iter().map(table).collect(),
            group: vec![*number],
        };
        (*number, state)
    };
    totals.iter().map(node).collect()
}

/// Of these nodes together.
pub(super) fn sum(
    machine: &Machine,
    nodes: Mask,
    resource: &str,
    of: impl Fn(&Table) -> u64,
) -> u64 {
    let tables = nodes
        .nodes()
        .filter_map(|node| machine.get(&node)?.memory.get(resource));
    tables.map(of).fold(0, u64::saturating_add)
}

/// Whether what these nodes serve already keeps them from serving together. `alone`: a node of a group does not serve by itself either.
pub(super) fn is_taken(machine: &Machine, nodes: Mask, alone: bool) -> bool {
    let members: Vec<usize> = nodes.nodes().collect();
    if members.len() == 1 {
        let node = machine.get(&members[0]);
        return alone && node.is_some_and(|node| node.group.len() > 1);
    }
    let used = members.iter().filter_map(|node| machine.get(node));
    let mut used = used.filter(|node| node.assignments > 0);
    used.any(|node| node.group.len() == 1 || sorted(&node.group) != members)
}

fn sorted(nodes: &[usize]) -> Vec<usize> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes
}

/// Takes a block out of its nodes, one after the other.
pub(super) fn give(machine: &mut Machine, block: &Block) {
    let mut left = block.size;
    for number in &block.nodes {
        let Some(node) = machine.get_mut(number) else {
            continue;
        };
        node.assignments += 1;
        node.group.clone_from(&block.nodes);
        let Some(table) = node.memory.get_mut(&block.resource) else {
            continue;
        };
        let taken = table.free.min(left);
        table.reserved += taken;
        table.free -= taken;
        left -= taken;
    }
}

/// Gives a block back to its nodes.
pub(super) fn take_back(machine: &mut Machine, block: &Block) {
    let mut left = block.size;
    for number in &block.nodes {
        let Some(node) = machine.get_mut(number) else {
            continue;
        };
        node.assignments -= 1;
        if node.assignments == 0 {
            node.group = vec![*number];
        }
        let Some(table) = node.memory.get_mut(&block.resource) else {
            continue;
        };
        let returned = table.reserved.min(left);
        table.free += returned;
        table.reserved -= returned;
        left -= returned;
    }
}

/// Whether two say the same, where it does not matter from which node of a group memory came.
pub(super) fn is_same(one: &Machine, other: &Machine) -> bool {
    let of_group = |machine: &Machine, group: &[usize], resource: &str| {
        let nodes = Mask::of(group.iter().copied());
        let free = sum(machine, nodes, resource, |table| table.free);
        (free, sum(machine, nodes, resource, |table| table.reserved))
    };
    one.len() == other.len()
        && one.iter().all(|(number, node)| {
            let Some(twin) = other.get(number) else {
                return false;
            };
            let sizes = |table: &Table| (table.total, table.system_reserved, table.allocatable);
            node.assignments == twin.assignments
                && sorted(&node.group) == sorted(&twin.group)
                && node.memory.len() == twin.memory.len()
                && node.memory.iter().all(|(resource, table)| {
                    twin.memory.get(resource).map(sizes) == Some(sizes(table))
                        && of_group(one, &node.group, resource)
                            == of_group(other, &node.group, resource)
                })
        })
}
