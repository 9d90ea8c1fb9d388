//! The static policy of the memory manager: memory and huge pages of guaranteed pods come from few NUMA nodes, and a node serves either
//! containers that it suffices for, or one group of nodes.

mod machine;

use std::collections::BTreeMap;

pub use machine::{Block, Machine, NodeState, Reserved, Table, empty, reserved};

use crate::{Demand, Hint, Hints, Mask, Pod, Role};

/// The resource whose hints stand for those of all.
pub const RESOURCE: &str = "memory";

/// Blocks by uid and container.
pub type Given = BTreeMap<String, BTreeMap<String, Vec<Block>>>;
/// Bytes by resource.
pub type Amounts = BTreeMap<String, u64>;

/// Why a container does not get its memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("[memorymanager] {0}")]
pub struct Error(&'static str);

/// Who has which memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub machine: Machine,
    pub given: Given,
}

/// The policy and what it has given.
#[derive(Clone, Debug)]
pub struct Static {
    state: State,
    /// What the init containers of the pod that is looked at leave to those after them, by nodes and resource.
    reusable: (String, BTreeMap<(Mask, String), u64>),
}

impl Static {
    /// For a machine of which nothing is given yet. `state` is what another left.
    ///
    /// # Errors
    /// Why it cannot work, as upstream says it.
    pub fn new(machine: Machine, state: Option<State>) -> Result<Self, String> {
        let reserved = machine
            .values()
            .filter_map(|node| node.memory.get(RESOURCE));
        if reserved.map(|table| table.system_reserved).sum::<u64>() == 0 {
            return Err("[memorymanager] you should specify the system reserved memory".to_owned());
        }
        let state = match state {
            Some(state) if !state.machine.is_empty() => adopt(machine, state)?,
            Some(state) if !state.given.is_empty() => {
                return Err(
                    "[memorymanager] machine state can not be empty when it has memory assignments"
                        .to_owned(),
                );
            }
            _ => State {
                machine,
                given: Given::new(),
            },
        };
        Ok(Self {
            state,
            reusable: Default::default(),
        })
    }

    /// What is to be kept across restarts.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The container's memory.
    #[must_use]
    pub fn given(&self, uid: &str, container: &str) -> Option<&[Block]> {
        let blocks = self.state.given.get(uid)?.get(container)?;
        Some(blocks)
    }

    /// What containers may have, by node and resource.
    #[must_use]
    pub fn allocatable(&self) -> Vec<Block> {
        let nodes = self.state.machine.iter().flat_map(|(node, state)| {
            let tables = state
                .memory
                .iter()
                .filter(|(_, table)| table.allocatable > 0);
            tables.map(|(resource, table)| Block {
                nodes: vec![*node],
                resource: resource.clone(),
                size: table.allocatable,
            })
        });
        nodes.collect()
    }

    fn reusable(&self, uid: &str, nodes: Mask, resource: &str) -> u64 {
        let (of, amounts) = &self.reusable;
        let key = (nodes, resource.to_owned());
        amounts
            .get(&key)
            .copied()
            .filter(|_| of == uid)
            .unwrap_or(0)
    }

    /// Where one container's memory could come from.
    #[must_use]
    pub fn hints(&self, pod: &Pod, container: &Demand) -> Option<Hints> {
        if container.memory.is_empty() {
            return None;
        }
        match self.given(&pod.uid, &container.name) {
            Some(blocks) => again(blocks, &container.memory),
            None => Some(self.hints_for(&pod.uid, &container.memory)),
        }
    }

    /// Where the memory of a whole pod could come from.
    #[must_use]
    pub fn pod_hints(&self, pod: &Pod) -> Option<Hints> {
        let wanted = pod.memory();
        if wanted.is_empty() {
            return None;
        }
        let mut given = pod
            .containers
            .iter()
            .filter_map(|c| self.given(&pod.uid, &c.name));
        match given.next() {
            Some(blocks) => again(blocks, &wanted),
            None => Some(self.hints_for(&pod.uid, &wanted)),
        }
    }

    /// Sets of nodes that have enough of everything; the smallest that an empty machine would have served from are preferred.
    fn hints_for(&self, uid: &str, wanted: &Amounts) -> Hints {
        let machine = &self.state.machine;
        let nodes: Vec<usize> = machine.keys().copied().collect();
        let mut least = nodes.len();
        let mut masks = Vec::new();
        for mask in Mask::all_of(&nodes) {
            let enough = |of: fn(&Table) -> u64, more: &dyn Fn(&str) -> u64| {
                wanted.iter().all(|(resource, wanted)| {
                    machine::sum(machine, mask, resource, of).saturating_add(more(resource))
                        >= *wanted
                })
            };
            if !enough(|table| table.allocatable, &|_| 0) {
                continue;
            }
            least = least.min(mask.count());
            let free = enough(|table| table.free, &|resource| {
                self.reusable(uid, mask, resource)
            });
            if !machine::is_taken(machine, mask, true) && free {
                masks.push(mask);
            }
        }
        let hint = |mask: &Mask| Hint {
            nodes: Some(*mask),
            preferred: mask.count() == least,
        };
        let list: Vec<Hint> = masks.iter().map(hint).collect();
        // Where none has enough nothing is said of any.
        let resources = wanted.keys().filter(|_| !list.is_empty());
        resources
            .map(|resource| (resource.clone(), list.clone()))
            .collect()
    }

    /// Gives a container its memory from these nodes, and from more where they do not suffice.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn allocate(&mut self, pod: &Pod, container: &Demand, hint: Hint) -> Result<(), Error> {
        let wanted = &container.memory;
        if wanted.is_empty() {
            return Ok(());
        }
        if let Some(blocks) = self.given(&pod.uid, &container.name).map(<[_]>::to_vec) {
            self.note_reusable(pod, container, &blocks);
            return Ok(());
        }
        let nodes = self.choose(&pod.uid, wanted, hint)?;
        let members: Vec<usize> = nodes.nodes().collect();
        let block = |(resource, size): (&String, &u64)| Block {
            nodes: members.clone(),
            resource: resource.clone(),
            size: *size,
        };
        let blocks: Vec<Block> = wanted.iter().map(block).collect();
        for block in &blocks {
            let reused = self.reusable(&pod.uid, nodes, &block.resource);
            let size = block.size.saturating_sub(reused);
            machine::give(
                &mut self.state.machine,
                &Block {
                    size,
                    ..block.clone()
                },
            );
        }
        self.note_reusable(pod, container, &blocks);
        let containers = self.state.given.entry(pod.uid.clone()).or_default();
        containers.insert(container.name.clone(), blocks.clone());
        for block in &blocks {
            take_from_init(containers, pod, container, block);
        }
        Ok(())
    }

    /// The nodes to take from.
    fn choose(&self, uid: &str, wanted: &Amounts, hint: Hint) -> Result<Mask, Error> {
        let machine = &self.state.machine;
        let found = || {
            let list = self.hints_for(uid, wanted).remove(RESOURCE);
            list.unwrap_or_default()
        };
        let mut nodes = match hint.nodes {
            Some(nodes) => nodes,
            None => {
                let best = best(found().into_iter()).ok_or(Error(
                    "failed to get the default NUMA affinity, no NUMA nodes with enough memory is available",
                ))?;
                if !best.1 && hint.preferred {
                    return Err(Error("failed to find the default preferred hint"));
                }
                best.0
            }
        };
        let satisfied = wanted.iter().all(|(resource, wanted)| {
            machine::sum(machine, nodes, resource, |table| table.free) >= *wanted
        });
        if !satisfied {
            // Merging leaves the nodes that all can do with: the rest is added again.
            let wider = found().into_iter();
            let wider = wider.filter(|h| h.nodes.is_some_and(|mask| mask.0 & nodes.0 == nodes.0));
            let best = best(wider).ok_or(Error(
                "failed to find NUMA nodes to extend the current topology hint",
            ))?;
            if !best.1 && hint.preferred {
                return Err(Error("failed to find the extended preferred hint"));
            }
            nodes = best.0;
        }
        match machine::is_taken(machine, nodes, false) {
            true => Err(Error("preferred hint violates NUMA node allocation")),
            false => Ok(nodes),
        }
    }

    /// Containers that run later may have the memory of init containers that end before.
    fn note_reusable(&mut self, pod: &Pod, container: &Demand, blocks: &[Block]) {
        if self.reusable.0 != pod.uid {
            self.reusable = (pod.uid.clone(), BTreeMap::new());
        }
        let amounts = &mut self.reusable.1;
        for block in blocks {
            let key = (
                Mask::of(block.nodes.iter().copied()),
                block.resource.clone(),
            );
            let amount = amounts.entry(key).or_default();
            *amount = match container.role {
                Role::Init => block.size.max(*amount),
                Role::Sidecar | Role::Main => amount.saturating_sub(block.size),
            };
        }
    }

    /// Takes a container's memory back.
    pub fn remove(&mut self, uid: &str, container: &str) {
        let Some(containers) = self.state.given.get_mut(uid) else {
            return;
        };
        let blocks = containers.remove(container);
        if containers.is_empty() {
            self.state.given.remove(uid);
        }
        for block in blocks.into_iter().flatten() {
            machine::take_back(&mut self.state.machine, &block);
        }
    }
}

/// What was given before, if the machine is still as it was.
fn adopt(mut expected: Machine, state: State) -> Result<State, String> {
    for (uid, containers) in &state.given {
        for (name, blocks) in containers {
            for block in blocks {
                let of = |why: &str| {
                    format!(
                        "[memorymanager] (pod: {uid}, container: {name}) the memory assignment uses {why}"
                    )
                };
                let mut nodes = block.nodes.iter().map(|node| expected.get(node));
                if nodes.any(|node| node.is_none()) {
                    return Err(of("the NUMA that does not exist"));
                }
                let mut nodes = block.nodes.iter().filter_map(|node| expected.get(node));
                if nodes.any(|node| !node.memory.contains_key(&block.resource)) {
                    return Err(of("memory resource that does not exist"));
                }
                machine::give(&mut expected, block);
            }
        }
    }
    match machine::is_same(&state.machine, &expected) {
        true => Ok(state),
        false => Err(
            "[memorymanager] the expected machine state is different from the real one".to_owned(),
        ),
    }
}

/// The nodes that the container has already; nothing if that is not what it asks for.
fn again(blocks: &[Block], wanted: &Amounts) -> Option<Hints> {
    let same = blocks.len() == wanted.len()
        && blocks
            .iter()
            .all(|block| wanted.get(&block.resource) == Some(&block.size));
    let hint = |block: &Block| Hint {
        nodes: Some(Mask::of(block.nodes.iter().copied())),
        preferred: true,
    };
    let hints = blocks
        .iter()
        .map(|block| (block.resource.clone(), vec![hint(block)]));
    same.then(|| hints.collect())
}

/// A preferred one rather than another, then the one of the fewest nodes.
fn best(hints: impl Iterator<Item = Hint>) -> Option<(Mask, bool)> {
    let known = hints.filter_map(|hint| Some((hint.nodes?, hint.preferred)));
    known.reduce(|best, next| {
        let better = match best.1 == next.1 {
            true => next.0.is_narrower_than(best.0),
            false => next.1,
        };
        if better { next } else { best }
    })
}

/// What a container has from init containers before it is theirs no more, so that all together have what the pod has.
fn take_from_init(
    containers: &mut BTreeMap<String, Vec<Block>>,
    pod: &Pod,
    container: &Demand,
    block: &Block,
) {
    let mut left = block.size;
    let before = pod
        .containers
        .iter()
        .take_while(|c| c.name != container.name);
    for init in before.filter(|c| c.role == Role::Init) {
        let blocks = containers.get_mut(&init.name).into_iter().flatten();
        for own in blocks.filter(|b| b.resource == block.resource && b.nodes == block.nodes) {
            let taken = own.size.min(left);
            own.size -= taken;
            left -= taken;
        }
    }
}

#[cfg(test)]
mod tests;
