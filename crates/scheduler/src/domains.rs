//! Which part of the cluster each node is in, by one label: nodes with the same value of it are a part. Kept up as nodes come and
//! go.
//!
//! Rules about spreading ask this of every node for each pod. Looking the label up each time, and counting by its value, would
//! cost two searches of strings a node and a pod; here it is a number by the node's slot.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::{collections::HashMap, sync::Arc};

/// Labels that are kept: every change of a node is looked at for each.
const LABELS_MAX: usize = 32;

/// A part of the cluster. Numbers are small, so that sums can be kept by them; that of a part without nodes is given again.
pub type Domain = usize;

#[derive(Clone, Debug)]
struct Part {
    value: Arc<str>,
    /// How many nodes are in it.
    nodes: usize,
}

/// The parts of the cluster by one label.
#[derive(Clone, Debug, Default)]
pub struct Domains {
    /// By the node's slot.
    of: Vec<Option<Domain>>,
    /// `None`: the number is free.
    parts: Vec<Option<Part>>,
    free: Vec<Domain>,
    by_value: HashMap<Arc<str>, Domain>,
}

impl Domains {
    /// The part that the node of a slot is in; `None` where it has not the label.
    pub fn of(&self, slot: usize) -> Option<Domain> {
        self.of.get(slot).copied().flatten()
    }

    /// Numbers of parts are below this.
    pub fn bound(&self) -> usize {
        self.parts.len()
    }

    /// A node has another value of the label, or none.
    fn set(&mut self, slot: usize, value: Option<&str>) {
        let before = self.of(slot);
        let known = before.and_then(|domain| self.parts.get(domain)?.as_ref());
        if known.map(|part| &*part.value) == value {
            return;
        }
        if let Some(domain) = before {
            self.leave(domain);
        }
        let domain = value.map(|value| self.join(value));
        if self.of.len() <= slot {
            self.of.resize(slot.saturating_add(1), None);
        }
        self.of[slot] = domain;
    }

    fn join(&mut self, value: &str) -> Domain {
        if let Some(domain) = self.by_value.get(value).copied()
            && let Some(Some(part)) = self.parts.get_mut(domain)
        {
            part.nodes = part.nodes.saturating_add(1);
            return domain;
        }
        let value: Arc<str> = value.into();
        let part = Some(Part {
            value: value.clone(),
            nodes: 1,
        });
        let domain = match self.free.pop() {
            Some(domain) => {
                self.parts[domain] = part;
                domain
            }
            None => {
                self.parts.push(part);
                self.parts.len().saturating_sub(1)
            }
        };
        self.by_value.insert(value, domain);
        domain
    }

    fn leave(&mut self, domain: Domain) {
        let Some(Some(part)) = self.parts.get_mut(domain) else {
            return;
        };
        part.nodes = part.nodes.saturating_sub(1);
        if part.nodes == 0
            && let Some(part) = self.parts[domain].take()
        {
            self.by_value.remove(&part.value);
            self.free.push(domain);
        }
    }
}

#[derive(Debug)]
struct Kept {
    key: String,
    domains: Arc<Domains>,
    /// When it was asked for last, by [`Labels::asked`].
    asked: u64,
}

/// The labels whose parts are kept; the one asked for least recently is dropped.
#[derive(Debug, Default)]
pub struct Labels {
    kept: Vec<Kept>,
    asked: u64,
}

impl Labels {
    /// The parts by a label; found from `nodes`, all nodes' slots with their values of it, where they are not kept.
    pub fn get<'a, I>(&mut self, key: &str, nodes: impl FnOnce() -> I) -> Arc<Domains>
    where
        I: Iterator<Item = (usize, Option<&'a str>)>,
    {
        self.asked = self.asked.saturating_add(1);
        if let Some(kept) = self.kept.iter_mut().find(|kept| kept.key == key) {
            kept.asked = self.asked;
            return kept.domains.clone();
        }
        let mut domains = Domains::default();
        for (slot, value) in nodes() {
            domains.set(slot, value);
        }
        let domains = Arc::new(domains);
        let kept = Kept {
            key: key.to_owned(),
            domains: domains.clone(),
            asked: self.asked,
        };
        let full = self.kept.len() >= LABELS_MAX;
        let oldest = self.kept.iter_mut().min_by_key(|kept| kept.asked);
        match oldest.filter(|_| full) {
            Some(oldest) => *oldest = kept,
            None => self.kept.push(kept),
        }
        domains
    }

    /// The node of a slot came, went, or changed; `value`: of a label.
    pub fn set<'a>(&mut self, slot: usize, value: impl Fn(&str) -> Option<&'a str>) {
        for kept in &mut self.kept {
            Arc::make_mut(&mut kept.domains).set(slot, value(&kept.key));
        }
    }
}

#[cfg(test)]
mod tests;
