//! The same number of CPUs from each of the fewest NUMA nodes that have them (`distribute-cpus-across-numa`).

use std::collections::BTreeMap;

use super::{Error, Taker, packed};
use crate::{CpuSet, Topology, topology::Level::Node};

/// Nodes to take from, and those of them that give what remains of an even division.
struct Choice {
    nodes: Vec<usize>,
    rest: Vec<usize>,
    balance: f64,
}

/// So many of the `free` CPUs in groups of `group`, evenly from NUMA nodes.
pub(crate) fn spread(
    machine: &Topology,
    free: &CpuSet,
    wanted: usize,
    group: usize,
) -> Result<CpuSet, Error> {
    let group = group.max(1);
    if !wanted.is_multiple_of(group) {
        return packed(machine, free, wanted, false);
    }
    let mut taker = Taker::new(machine, free, wanted)?;
    if wanted == 0 {
        return Ok(taker.taken);
    }
    let nodes = taker.groups(Node);
    let (least, most) = range(&taker, group);
    for size in least..=most {
        let mut best: Option<Choice> = None;
        for nodes_taken in combinations(&nodes, size) {
            if best.as_ref().is_some_and(|best| best.balance == 0.0) {
                break;
            }
            let Some(choice) = weigh(&taker, &nodes, nodes_taken, (wanted, group)) else {
                continue;
            };
            if best
                .as_ref()
                .is_none_or(|best| choice.balance < best.balance)
            {
                best = Some(choice);
            }
        }
        if let Some(choice) = best {
            take(&mut taker, &choice, (wanted, group))?;
            return Ok(taker.taken);
        }
    }
    packed(machine, free, wanted, false)
}

/// The fewest and the most nodes that there is a point in looking at.
fn range(taker: &Taker<'_>, group: usize) -> (usize, usize) {
    let nodes = taker.machine.groups(Node).len().max(1);
    let groups = taker.machine.all().len().div_ceil(group);
    let per_node = groups.div_ceil(nodes).max(1);
    let needed = taker.needed.div_ceil(group);
    let there = taker.free.groups(Node).len();
    (needed.div_ceil(per_node), needed.min(there))
}

/// What each of so many nodes gives.
fn share(wanted: usize, nodes: usize, group: usize) -> usize {
    wanted / nodes / group * group
}

/// How even it would be to take from these nodes; none if they cannot give it.
fn weigh(
    taker: &Taker<'_>,
    all: &[usize],
    nodes: Vec<usize>,
    (wanted, group): (usize, usize),
) -> Option<Choice> {
    let free = |node: usize| taker.free.in_group(Node, node).len();
    let groups: usize = nodes.iter().map(|node| free(*node) / group).sum();
    let share = share(wanted, nodes.len(), group);
    if groups * group < wanted || nodes.iter().any(|node| free(*node) < share) {
        return None;
    }
    let mut left: BTreeMap<usize, usize> = all.iter().map(|node| (*node, free(*node))).collect();
    for node in &nodes {
        left.entry(*node).and_modify(|free| *free -= share);
    }
    let rest = wanted - share * nodes.len();
    if rest == 0 {
        let balance = deviation(&left);
        let rest = Vec::new();
        return (balance < f64::MAX).then_some(Choice {
            nodes,
            rest,
            balance,
        });
    }
    let able: Vec<usize> = nodes
        .iter()
        .copied()
        .filter(|node| left[node] >= group)
        .collect();
    let mut best: Option<(Vec<usize>, f64)> = None;
    for size in (1..=able.len()).rev() {
        for some in combinations(&able, size) {
            let Some(balance) = rest_from(left.clone(), &some, (rest, group)) else {
                continue;
            };
            if best.as_ref().is_none_or(|(_, before)| balance < *before) {
                best = Some((some, balance));
            }
        }
    }
    let (rest, balance) = best?;
    Some(Choice {
        nodes,
        rest,
        balance,
    })
}

/// How even it is when the rest is taken from these nodes in turn.
fn rest_from(
    mut left: BTreeMap<usize, usize>,
    nodes: &[usize],
    (mut rest, group): (usize, usize),
) -> Option<f64> {
    let there: usize = nodes.iter().map(|node| left[node]).sum();
    if there < rest {
        return None;
    }
    while rest > 0 {
        let before = rest;
        for node in nodes {
            let free = left.get_mut(node)?;
            if rest == 0 || *free < group {
                continue;
            }
            *free -= group;
            rest = rest.saturating_sub(group);
        }
        // What is there is in pieces that are too small.
        if rest == before {
            return None;
        }
    }
    Some(deviation(&left))
}

fn take(
    taker: &mut Taker<'_>,
    choice: &Choice,
    (wanted, group): (usize, usize),
) -> Result<(), Error> {
    let share = share(wanted, choice.nodes.len(), group);
    let mut from = |node: usize, count: usize| -> Result<(), Error> {
        let free = taker.free.in_group(Node, node);
        let cpus = packed(taker.machine, &free, count, false)?;
        taker.take(&cpus);
        Ok(())
    };
    for node in &choice.nodes {
        from(*node, share)?;
    }
    let mut rest = wanted - share * choice.nodes.len();
    while rest > 0 {
        let before = rest;
        for node in &choice.rest {
            if rest == 0 || taker.free.in_group(Node, *node).len() < group {
                continue;
            }
            let free = taker.free.in_group(Node, *node);
            let cpus = packed(taker.machine, &free, group, false)?;
            taker.take(&cpus);
            rest = rest.saturating_sub(group);
        }
        if rest == before {
            break;
        }
    }
    match taker.needed {
        0 => Ok(()),
        left => Err(Error::TooFewTaken(left)),
    }
}

/// The standard deviation, to the thousandth.
fn deviation(values: &BTreeMap<usize, usize>) -> f64 {
    let thousandth = |value: f64| (value * 1000.0).round() / 1000.0;
    let count = values.len() as f64;
    let mean = thousandth(values.values().map(|value| *value as f64).sum::<f64>() / count);
    let squares = values.values().map(|value| (*value as f64 - mean).powi(2));
    thousandth((squares.sum::<f64>() / count).sqrt())
}

/// All choices of so many, in the order of what they are chosen from.
fn combinations(from: &[usize], size: usize) -> Vec<Vec<usize>> {
    fn add(from: &[usize], chosen: &mut Vec<usize>, left: usize, all: &mut Vec<Vec<usize>>) {
        if left == 0 {
            all.push(chosen.clone());
            return;
        }
        for (index, one) in from.iter().enumerate() {
            chosen.push(*one);
            add(&from[index + 1..], chosen, left - 1, all);
            chosen.pop();
        }
    }
    let mut all = Vec::new();
    if size > 0 && size <= from.len() {
        add(from, &mut Vec::new(), size, &mut all);
    }
    all
}
