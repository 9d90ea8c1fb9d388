//! Sums over parts of a cluster: nodes with the same value of a label are a part.

use std::sync::Arc;

use crate::{
    domains::Domains,
    snapshot::{NodeInfo, Snapshot},
};

/// By label, then by the part. Which labels is said at first.
#[derive(Clone, Default)]
pub struct Counts {
    by_key: Vec<Parts>,
}

#[derive(Clone)]
struct Parts {
    key: String,
    domains: Arc<Domains>,
    /// Those of parts after the last are zero. Copies of a state share it until one changes.
    sums: Arc<Vec<i64>>,
    /// How many sums are not zero.
    some: usize,
}

impl Counts {
    /// Sums by these labels, all zero.
    pub fn by<'k>(keys: impl IntoIterator<Item = &'k str>, cluster: &Snapshot) -> Self {
        let mut counts = Self::default();
        for key in keys {
            if counts.parts(key).is_none() {
                counts.by_key.push(Parts {
                    key: key.to_owned(),
                    domains: cluster.domains(key),
                    sums: Arc::default(),
                    some: 0,
                });
            }
        }
        counts
    }

    fn parts(&self, key: &str) -> Option<&Parts> {
        self.by_key.iter().find(|parts| parts.key == key)
    }

    /// Adds to the part that the node is in; nothing where it does not have the label.
    pub fn add(&mut self, key: &str, node: &NodeInfo, by: i64) {
        self.add_all(key, [(node.slot, by)]);
    }

    /// Adds to the parts that nodes are in, by their slots.
    pub fn add_all(&mut self, key: &str, shares: impl IntoIterator<Item = (usize, i64)>) {
        let Some(parts) = self.by_key.iter_mut().find(|parts| parts.key == key) else {
            return;
        };
        let sums = Arc::make_mut(&mut parts.sums);
        for (slot, by) in shares {
            let Some(domain) = parts.domains.of(slot) else {
                continue;
            };
            if sums.len() <= domain {
                sums.resize(domain.saturating_add(1), 0);
            }
            let before = sums[domain];
            sums[domain] = before.saturating_add(by);
            match (before, sums[domain]) {
                (0, 0) => {}
                (0, _) => parts.some = parts.some.saturating_add(1),
                (_, 0) => parts.some = parts.some.saturating_sub(1),
                _ => {}
            }
        }
    }

    /// The sum of the part that the node is in by a label.
    pub fn of(&self, key: &str, node: &NodeInfo) -> i64 {
        self.parts(key).map_or(0, |parts| parts.of(node))
    }

    /// The sums of the parts that the node is in, by any label.
    pub fn all_of(&self, node: &NodeInfo) -> impl Iterator<Item = i64> {
        self.by_key.iter().map(|parts| parts.of(node))
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.iter().all(|parts| parts.some == 0)
    }
}

impl Parts {
    fn of(&self, node: &NodeInfo) -> i64 {
        let domain = self.domains.of(node.slot);
        let sum = domain.and_then(|domain| self.sums.get(domain));
        sum.copied().unwrap_or(0)
    }
}
