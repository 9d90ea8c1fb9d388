//! Rules that pods on nodes have about other pods, kept up as pods come and go. Rules that are the same are one: those of all pods of
//! a Deployment.
//!
//! Each pod that wants a node is asked about by all of them. Going through the pods would make the cost of a decision grow with the
//! pods that have rules; so it grows with the rules that differ.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::HashMap;

use crate::{
    plugins::inter_pod_affinity::{Labels, Term},
    pod_info::PodInfo,
};

/// The rules of the pods on nodes.
#[derive(Debug, Default)]
pub struct Standing {
    /// Pods that are required not to be near.
    pub apart: Rules,
    /// Pods that are required to be near.
    pub near: Rules,
    /// Pods that are preferred to be near, or not to be, with the sums of the weights.
    pub preferred: Rules,
}

impl Standing {
    /// A pod came to the node of a slot.
    pub fn add(&mut self, slot: usize, pod: &PodInfo) {
        let Some(affinity) = &pod.affinity else {
            return;
        };
        for term in &affinity.required_anti {
            self.apart.add(term, slot, 1);
        }
        for term in &affinity.required {
            self.near.add(term, slot, 1);
        }
        for (term, weight) in &affinity.preferred {
            self.preferred.add(term, slot, *weight);
        }
    }

    /// A pod left it.
    pub fn remove(&mut self, slot: usize, pod: &PodInfo) {
        let Some(affinity) = &pod.affinity else {
            return;
        };
        for term in &affinity.required_anti {
            self.apart.remove(term, slot, 1);
        }
        for term in &affinity.required {
            self.near.remove(term, slot, 1);
        }
        for (term, weight) in &affinity.preferred {
            self.preferred.remove(term, slot, *weight);
        }
    }

    /// Whether no pod on a node has rules about other pods.
    pub fn is_empty(&self) -> bool {
        self.apart.is_empty() && self.near.is_empty() && self.preferred.is_empty()
    }
}

/// Rules of one sort.
#[derive(Debug, Default)]
pub struct Rules {
    /// By the nodes' slots.
    by_term: HashMap<Term, HashMap<usize, Share>>,
}

/// What the pods of a node add to a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Share {
    pods: usize,
    weight: i64,
}

impl Rules {
    fn add(&mut self, term: &Term, slot: usize, weight: i64) {
        if !self.by_term.contains_key(term) {
            self.by_term.insert(term.clone(), HashMap::new());
        }
        if let Some(shares) = self.by_term.get_mut(term) {
            let share = shares.entry(slot).or_default();
            share.pods = share.pods.saturating_add(1);
            share.weight = share.weight.saturating_add(weight);
        }
    }

    fn remove(&mut self, term: &Term, slot: usize, weight: i64) {
        let Some(shares) = self.by_term.get_mut(term) else {
            return;
        };
        if let Some(share) = shares.get_mut(&slot) {
            share.pods = share.pods.saturating_sub(1);
            share.weight = share.weight.saturating_sub(weight);
            if share.pods == 0 {
                shares.remove(&slot);
            }
        }
        if shares.is_empty() {
            self.by_term.remove(term);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.by_term.is_empty()
    }

    /// Each rule that differs from the others.
    pub fn terms(&self) -> impl Iterator<Item = &Term> {
        self.by_term.keys()
    }

    /// The rules that mean a pod, whose namespace has these labels; with the weight of each on nodes, by their slots.
    pub fn about<'a>(
        &'a self,
        pod: &'a PodInfo,
        namespace: &'a Labels,
    ) -> impl Iterator<Item = (&'a Term, impl Iterator<Item = (usize, i64)> + 'a)> {
        let rules = self.by_term.iter();
        let meant = rules.filter(|(term, _)| term.selects(pod, namespace));
        meant.map(|(term, shares)| {
            let weights = shares.iter().map(|(slot, share)| (*slot, share.weight));
            (term, weights)
        })
    }
}

#[cfg(test)]
mod tests;
