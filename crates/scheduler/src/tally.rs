//! How many pods on each node some labels and namespaces select, kept up as pods come and go.
//!
//! Rules about other pods (spreading, affinity) ask this for each pod of a Deployment with the same selector. Counting all
//! pods of a cluster each time would make the cost of a decision grow with the cluster; a tally is counted once, and then
//! costs one comparison for each pod that is bound or ends. The tallies asked for least recently are dropped.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{collections::BTreeSet, sync::Arc};

use knarr_meta::labels::Selector;

use crate::pod_info::PodInfo;

/// Tallies that are kept: every pod that is bound or ends is compared with each.
const TALLIES_MAX: usize = 128;

/// Where pods are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    All,
    These(BTreeSet<String>),
}

impl Namespaces {
    pub fn contains(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::These(names) => names.contains(namespace),
        }
    }

    /// Those in both.
    pub fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, other) => other.clone(),
            (these, Self::All) => these,
            (Self::These(mine), Self::These(theirs)) => Self::These(&mine & theirs),
        }
    }
}

/// Which pods are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    pub namespaces: Namespaces,
    pub selector: Selector,
}

impl Scope {
    /// The pods of one namespace.
    pub fn within(namespace: &str, selector: Selector) -> Self {
        Self {
            namespaces: Namespaces::These(BTreeSet::from([namespace.to_owned()])),
            selector,
        }
    }

    pub fn contains(&self, pod: &PodInfo) -> bool {
        self.namespaces.contains(&pod.namespace)
            && self.selector.matches_with(|key| pod.labels.get(key))
    }
}

/// Pods on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub all: i64,
    /// Those of them that are on their way out.
    pub ending: i64,
}

impl Count {
    /// Those that will stay.
    pub fn staying(self) -> i64 {
        self.all.saturating_sub(self.ending)
    }
}

/// The pods of a scope, by the slot of their node in the snapshot.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    counts: Vec<Count>,
}

impl Tally {
    /// The nodes that have any.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Count)> {
        let counts = self.counts.iter().copied().enumerate();
        counts.filter(|(_, count)| count.all != 0)
    }

    /// How many are on each of these nodes, those that are on their way out too.
    pub fn all(&self) -> impl Iterator<Item = (usize, i64)> {
        self.iter().map(|(slot, count)| (slot, count.all))
    }

    pub fn on(&self, slot: usize) -> Count {
        self.counts.get(slot).copied().unwrap_or_default()
    }

    fn add(&mut self, slot: usize, pod: &PodInfo, by: i64) {
        if self.counts.len() <= slot {
            self.counts.resize(slot.saturating_add(1), Count::default());
        }
        let count = &mut self.counts[slot];
        count.all = count.all.saturating_add(by);
        if pod.is_ending() {
            count.ending = count.ending.saturating_add(by);
        }
    }
}

#[derive(Debug)]
struct Kept {
    scope: Scope,
    tally: Arc<Tally>,
    /// When it was asked for last, by [`Tallies::asked`].
    asked: u64,
}

/// The tallies that are kept.
#[derive(Debug, Default)]
pub struct Tallies {
    kept: Vec<Kept>,
    asked: u64,
}

impl Tallies {
    /// The tally of a scope; counted from `pods`, all pods with their nodes' slots, where it is not kept.
    pub fn get<'a, I>(&mut self, scope: &Scope, pods: impl FnOnce() -> I) -> Arc<Tally>
    where
        I: Iterator<Item = (usize, &'a Arc<PodInfo>)>,
    {
        self.asked = self.asked.saturating_add(1);
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.scope == *scope) {
            kept.asked = self.asked;
            return kept.tally.clone();
        }
        let mut tally = Tally::default();
        for (slot, pod) in pods().filter(|(_, pod)| scope.contains(pod)) {
            tally.add(slot, pod, 1);
        }
        let tally = Arc::new(tally);
        let kept = Kept {
            scope: scope.clone(),
            tally: tally.clone(),
            asked: self.asked,
        };
        let full = self.kept.len() >= TALLIES_MAX;
        let oldest = self.kept.iter_mut().min_by_key(|kept| kept.asked);
        match oldest.filter(|_| full) {
            Some(oldest) => *oldest = kept,
            None => self.kept.push(kept),
        }
        tally
    }

    /// A pod came to the node of a slot.
    pub fn add(&mut self, slot: usize, pod: &PodInfo) {
        self.change(slot, pod, 1);
    }

    /// A pod left it.
    pub fn remove(&mut self, slot: usize, pod: &PodInfo) {
        self.change(slot, pod, -1);
    }

    fn change(&mut self, slot: usize, pod: &PodInfo, by: i64) {
        for kept in self.kept.iter_mut().filter(|kept| kept.scope.contains(pod)) {
            Arc::make_mut(&mut kept.tally).add(slot, pod, by);
        }
    }
}

#[cfg(test)]
mod tests;
