//! Bringing together what CPUs, memory and devices say: the policies of the topology manager.

use std::collections::BTreeMap;

use crate::{Hint, Hints, Mask};

/// Most NUMA nodes unless an option allows more: what there is to compare doubles with each.
const MOST_NODES: usize = 8;

/// Whether what lies apart is refused (`topologyManagerPolicy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Nobody is asked.
    #[default]
    None,
    BestEffort,
    Restricted,
    SingleNumaNode,
}

/// Whose demands are looked at together (`topologyManagerScope`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    #[default]
    Container,
    Pod,
}

/// `topologyManagerPolicyOptions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub prefer_closest: bool,
    pub most_nodes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prefer_closest: false,
            most_nodes: MOST_NODES,
        }
    }
}

impl Options {
    /// From a configuration.
    ///
    /// # Errors
    /// What upstream says of options that it does not take.
    pub fn parse(options: &BTreeMap<String, String>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for (name, value) in options {
            match name.as_str() {
                "prefer-closest-numa-nodes" => parsed.prefer_closest = switch(name, value)?,
                "max-allowable-numa-nodes" => {
                    let number = value.parse::<usize>();
                    let number = number.map_err(|error| {
                        format!("unable to convert policy option to integer {name:?}: {error}")
                    })?;
                    if number < MOST_NODES {
                        return Err(format!(
                            "the minimum value of {name:?} should not be less than {MOST_NODES}"
                        ));
                    }
                    parsed.most_nodes = number;
                }
                _ => return Err(format!("unknown Topology Manager Policy option: {name:?}")),
            }
        }
        Ok(parsed)
    }
}

/// A switch as Go's `strconv.ParseBool` reads it.
pub(crate) fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!(
            "bad value for option {name:?}: strconv.ParseBool: parsing {value:?}: invalid syntax"
        )),
    }
}

/// NUMA nodes, and how far each is from each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    /// In order.
    pub numbers: Vec<usize>,
    pub distances: BTreeMap<usize, Vec<u64>>,
}

impl Nodes {
    /// The mean distance of these nodes from each other and from themselves.
    fn distance(&self, mask: Mask) -> f64 {
        let of = |from: usize, to: usize| {
            let row = self.distances.get(&from).and_then(|row| row.get(to));
            row.copied().unwrap_or(0) as f64
        };
        let pairs = mask
            .nodes()
            .flat_map(|from| mask.nodes().map(move |to| (from, to)));
        let (count, sum) = pairs.fold((0.0, 0.0), |(count, sum), (from, to)| {
            (count + 1.0, sum + of(from, to))
        });
        if count == 0.0 { 0.0 } else { sum / count }
    }
}

/// The topology manager's choice.
#[derive(Clone, Debug, Default)]
pub struct Merger {
    pub policy: Policy,
    pub options: Options,
    pub nodes: Nodes,
}

impl Merger {
    /// Of this machine.
    ///
    /// # Errors
    /// It has more nodes than may be.
    pub fn new(policy: Policy, options: Options, nodes: Nodes) -> Result<Self, String> {
        let most = options.most_nodes.min(Mask::NODES);
        if policy != Policy::None && nodes.numbers.len() > most {
            return Err(format!(
                "unsupported on machines with more than {most} NUMA Nodes"
            ));
        }
        Ok(Self {
            policy,
            options,
            nodes,
        })
    }

    /// The best way that suits all providers, and whether the policy takes it.
    #[must_use]
    pub fn merge(&self, providers: &[Option<Hints>]) -> (Hint, bool) {
        let mut lists = lists(providers);
        if self.policy == Policy::SingleNumaNode {
            for list in &mut lists {
                list.retain(|h| h.preferred && h.nodes.is_none_or(|nodes| nodes.count() == 1));
            }
        }
        let every = Mask::of(self.nodes.numbers.iter().copied());
        let most = lists.iter().filter_map(|list| narrowest(list));
        let reach = most.map(Mask::count).max().unwrap_or(0);
        let mut best: Option<(Mask, bool)> = None;
        each(&lists, every, true, None, &mut |candidate| {
            best = self.better(best, candidate, reach);
        });
        let (nodes, preferred) = best.unwrap_or((every, false));
        let anywhere = self.policy == Policy::SingleNumaNode && nodes == every;
        let hint = Hint {
            nodes: (!anywhere).then_some(nodes),
            preferred,
        };
        let strict = matches!(self.policy, Policy::Restricted | Policy::SingleNumaNode);
        (hint, preferred || !strict)
    }

    fn better(
        &self,
        current: Option<(Mask, bool)>,
        candidate: (Mask, bool),
        reach: usize,
    ) -> Option<(Mask, bool)> {
        if candidate.0.count() == 0 {
            return current;
        }
        let Some(held) = current else {
            return Some(candidate);
        };
        let (now, then) = (held.0.count(), candidate.0.count());
        let candidate_wins = match (held.1, candidate.1) {
            (false, true) => true,
            (true, false) => false,
            (true, true) => self.fits_better(held.0, candidate.0),
            // Neither is good: as many nodes as whoever needs the most of them, or as near to that from below as can be.
            (false, false) if now > reach => self.fits_better(held.0, candidate.0),
            (false, false) if now == reach => {
                then == reach && self.fits_better(held.0, candidate.0)
            }
            (false, false) if then > reach => false,
            (false, false) if then == reach || then > now => true,
            (false, false) if then < now => false,
            (false, false) => self.fits_better(held.0, candidate.0),
        };
        Some(if candidate_wins { candidate } else { held })
    }

    /// Whether the second is to be taken rather than the first.
    fn fits_better(&self, held: Mask, candidate: Mask) -> bool {
        if held == candidate {
            return false;
        }
        let closest = self.options.prefer_closest && self.policy != Policy::SingleNumaNode;
        if !closest || held.count() != candidate.count() {
            return candidate.is_narrower_than(held);
        }
        let (near, far) = (self.nodes.distance(candidate), self.nodes.distance(held));
        match near.partial_cmp(&far) {
            Some(std::cmp::Ordering::Equal) => candidate < held,
            Some(order) => order.is_lt(),
            None => false,
        }
    }
}

/// One list of hints a resource. Whoever says nothing does not mind; what cannot be had is one that nobody wants.
fn lists(providers: &[Option<Hints>]) -> Vec<Vec<Hint>> {
    let any = |preferred: bool| {
        vec![Hint {
            nodes: None,
            preferred,
        }]
    };
    let mut lists = Vec::new();
    for hints in providers {
        let Some(hints) = hints.as_ref().filter(|hints| !hints.is_empty()) else {
            lists.push(any(true));
            continue;
        };
        lists.extend(hints.values().map(|list| match list.is_empty() {
            true => any(false),
            false => list.clone(),
        }));
    }
    lists
}

fn narrowest(list: &[Hint]) -> Option<Mask> {
    let masks = list.iter().filter_map(|hint| hint.nodes);
    masks.reduce(|best, mask| {
        if mask.is_narrower_than(best) {
            mask
        } else {
            best
        }
    })
}

/// Every choice of one hint from each list, as the nodes that all of them have and whether all of them are preferred and the same.
fn each(
    lists: &[Vec<Hint>],
    nodes: Mask,
    preferred: bool,
    first: Option<Mask>,
    tell: &mut dyn FnMut((Mask, bool)),
) {
    let Some((list, rest)) = lists.split_first() else {
        tell((nodes, preferred));
        return;
    };
    for hint in list {
        let own = hint.nodes;
        let same = own.is_none_or(|own| first.is_none_or(|first| first == own));
        let nodes = Mask(nodes.0 & own.map_or(u64::MAX, |own| own.0));
        let preferred = preferred && hint.preferred && same;
        each(rest, nodes, preferred, first.or(own), tell);
    }
}

#[cfg(test)]
mod tests;
