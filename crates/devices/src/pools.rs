//! The pools that have devices for a node.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;

use crate::{
    inventory::{Device, Inventory, PoolId, Slice},
    nodes,
    usage::Amounts,
};

/// Whether devices of a pool may be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Usable,
    /// Its driver is about to publish it.
    Incomplete,
    /// Its slices contradict each other.
    Invalid,
}

/// A pool as a node sees it.
pub(crate) struct Pool<'i> {
    pub id: &'i PoolId,
    pub state: State,
    /// With devices of the node.
    pub slices: Vec<&'i Slice>,
    /// With devices of other nodes only.
    pub elsewhere: Vec<&'i Slice>,
    pub counters: BTreeMap<&'i str, &'i Amounts>,
}

fn is_of_node(slice: &Slice, node: &Node) -> bool {
    let spec = &slice.object.spec;
    if slice.is_per_device() {
        return slice.devices.iter().any(|device| has(slice, device, node));
    }
    let selector = spec.node_selector.as_ref();
    nodes::are_meant(node, spec.node_name.as_deref(), spec.all_nodes, selector)
}

/// Whether a device of a slice that the node has a part in is the node's.
pub(crate) fn has(slice: &Slice, device: &Device, node: &Node) -> bool {
    let own = |device: &Device| {
        let api = slice.api(device)?;
        let selector = api.node_selector.as_ref();
        Some(nodes::are_meant(
            node,
            api.node_name.as_deref(),
            api.all_nodes,
            selector,
        ))
    };
    !slice.is_per_device() || own(device) == Some(true)
}

/// Pools with devices of a node, in the order in which devices are looked for: by name, those that others have to make ready last.
pub(crate) fn gather<'i>(inventory: &'i Inventory, node: &Node) -> Vec<Pool<'i>> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let mut newest: BTreeMap<&PoolId, Vec<&Slice>> = BTreeMap::new();
    for slice in inventory
        .of_node(name)
        .filter(|slice| is_of_node(slice, node))
    {
        let known = newest.entry(&slice.pool).or_default();
        let generation = known.first().map(|first| first.generation());
        if generation.is_some_and(|generation| generation < slice.generation()) {
            known.clear();
        }
        if generation.is_none_or(|generation| generation <= slice.generation()) {
            known.push(slice);
        }
    }
    let pools = newest.into_iter();
    let pools = pools.filter_map(|(id, slices)| build(inventory, id, slices));
    let (mut ready, late): (Vec<_>, Vec<_>) = pools.partition(|pool| !has_binding_conditions(pool));
    ready.extend(late);
    ready
}

/// `None`: the pool is of a newer generation elsewhere, and has nothing for the node.
fn build<'i>(
    inventory: &'i Inventory,
    id: &'i PoolId,
    mut of_node: Vec<&'i Slice>,
) -> Option<Pool<'i>> {
    of_node.sort_by_key(|slice| slice.name());
    let first = of_node.first()?;
    let (generation, count) = (first.generation(), first.count());
    let is_here = |slice: &Slice| of_node.iter().any(|here| here.place == slice.place);
    let mut elsewhere = Vec::new();
    if i64::try_from(of_node.len()) != Ok(count) {
        for slice in inventory.of_pool(id) {
            if slice.generation() > generation {
                return None;
            }
            if slice.generation() == generation && !is_here(slice) {
                elsewhere.push(slice);
            }
        }
    }
    let all = of_node.len().saturating_add(elsewhere.len());
    let mut pool = Pool {
        id,
        state: State::Usable,
        slices: of_node,
        elsewhere,
        counters: BTreeMap::new(),
    };
    if i64::try_from(all) != Ok(count) {
        pool.state = State::Incomplete;
    } else if !collect_counters(&mut pool) || !is_consistent(&pool) {
        pool.state = State::Invalid;
    }
    Some(pool)
}

/// Whether each set of counters is there once.
fn collect_counters(pool: &mut Pool<'_>) -> bool {
    let slices = pool.slices.iter().chain(&pool.elsewhere);
    for (name, counters) in slices.flat_map(|slice| &slice.counters) {
        if pool.counters.insert(name, counters).is_some() {
            return false;
        }
    }
    true
}

/// Whether names of the node's devices are unique, and devices consume only counters that exist.
fn is_consistent(pool: &Pool<'_>) -> bool {
    let mut names = BTreeSet::new();
    let mut devices = pool.slices.iter().flat_map(|slice| &slice.devices);
    if !devices.all(|device| names.insert(&device.id.device)) {
        return false;
    }
    let slices = pool.slices.iter().chain(&pool.elsewhere);
    let mut consumed = slices
        .flat_map(|slice| &slice.devices)
        .flat_map(|device| &device.consumes);
    consumed.all(|(set, amounts)| {
        let counters = pool.counters.get(set.as_str());
        counters.is_some_and(|counters| amounts.keys().all(|name| counters.contains_key(name)))
    })
}

fn has_binding_conditions(pool: &Pool<'_>) -> bool {
    let slices = pool.slices.iter();
    let mut devices = slices.flat_map(|slice| slice.devices.iter().filter_map(|d| slice.api(d)));
    devices.any(|device| device.binding_conditions.is_some())
}
