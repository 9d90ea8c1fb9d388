//! The pods in each part by one label, and the part with the fewest.

use std::sync::Arc;

use crate::{
    domains::{Domain, Domains},
    snapshot::NodeInfo,
};

/// The pods in each part by one label.
#[derive(Clone)]
pub struct Parts {
    domains: Arc<Domains>,
    /// By part; `None` where none of its nodes counts.
    counts: Vec<Option<i64>>,
    /// Parts that count.
    len: usize,
    fewest: Fewest,
}

/// Two parts with few pods: the first has the fewest. That is enough to know the fewest as pods come and go in one part,
/// without looking at all (upstream's `criticalPaths`).
#[derive(Clone, Default)]
struct Fewest {
    parts: [Option<(Domain, i64)>; 2],
}

impl Fewest {
    fn update(&mut self, part: Domain, count: i64) {
        let [first, second] = &mut self.parts;
        let is = |place: &Option<(Domain, i64)>| place.is_some_and(|(p, _)| p == part);
        let fewer = |place: &Option<(Domain, i64)>| place.is_none_or(|(_, c)| count < c);
        let found = Some((part, count));
        if is(first) {
            *first = found;
        } else if is(second) {
            *second = found;
        } else if fewer(first) {
            *second = first.take();
            *first = found;
            return;
        } else if fewer(second) {
            *second = found;
            return;
        }
        if let (Some((_, a)), Some((_, b))) = (&*first, &*second)
            && a > b
        {
            std::mem::swap(first, second);
        }
    }

    /// `None` without parts.
    fn count(&self) -> Option<i64> {
        self.parts[0].map(|(_, count)| count)
    }
}

impl Parts {
    /// None of which counts yet.
    pub fn new(domains: Arc<Domains>) -> Self {
        let counts = vec![None; domains.bound()];
        Self {
            domains,
            counts,
            len: 0,
            fewest: Fewest::default(),
        }
    }

    /// Whether the node is in a part.
    pub fn has(&self, node: &NodeInfo) -> bool {
        self.domains.of(node.slot).is_some()
    }

    /// Adds pods to the part that a node is in, which counts from now on.
    pub fn add(&mut self, node: &NodeInfo, by: i64) {
        let Some(domain) = self.domains.of(node.slot) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(domain) {
            if count.is_none() {
                self.len = self.len.saturating_add(1);
            }
            *count = Some(count.unwrap_or(0).saturating_add(by));
        }
    }

    /// The pods of the part that a node is in.
    pub fn of(&self, node: &NodeInfo) -> i64 {
        let domain = self.domains.of(node.slot);
        let count = domain.and_then(|domain| self.counts.get(domain));
        count.copied().flatten().unwrap_or(0)
    }

    /// Looks at all parts for the fewest.
    pub fn find_fewest(&mut self) {
        for (domain, count) in self.counts.iter().enumerate() {
            if let Some(count) = count {
                self.fewest.update(domain, *count);
            }
        }
    }

    /// The part that a node is in has changed since.
    pub fn note(&mut self, node: &NodeInfo) {
        if let Some(domain) = self.domains.of(node.slot) {
            self.fewest.update(domain, self.of(node));
        }
    }

    /// Fewer parts than `min_domains` count as if there were an empty one.
    pub fn fewest(&self, min_domains: usize) -> Option<i64> {
        match self.len < min_domains {
            true => Some(0),
            false => self.fewest.count(),
        }
    }
}

#[cfg(test)]
mod tests;
