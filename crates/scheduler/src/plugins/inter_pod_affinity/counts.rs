//! Sums over parts of a cluster: nodes with the same value of a label are a part.

use std::collections::HashMap;

use crate::snapshot::NodeInfo;

/// By label, then by its value. Sums of zero are not kept.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    by_key: HashMap<String, HashMap<String, i64>>,
}

impl Counts {
    /// Adds to the part that the node is in; nothing where it does not have the label.
    pub fn add(&mut self, key: &str, node: &NodeInfo, by: i64) {
        let Some(value) = node.label(key) else {
            return;
        };
        if !self.by_key.contains_key(key) {
            self.by_key.insert(key.to_owned(), HashMap::new());
        }
        let Some(parts) = self.by_key.get_mut(key) else {
            return;
        };
        match parts.get_mut(value) {
            Some(sum) => *sum = sum.saturating_add(by),
            None => {
                parts.insert(value.to_owned(), by);
            }
        }
        if parts.get(value) == Some(&0) {
            parts.remove(value);
        }
        if parts.is_empty() {
            self.by_key.remove(key);
        }
    }

    /// The sum of the part that the node is in by a label.
    pub fn of(&self, key: &str, node: &NodeInfo) -> i64 {
        let parts = self.by_key.get(key);
        let sum = parts.and_then(|parts| parts.get(node.label(key)?));
        sum.copied().unwrap_or(0)
    }

    /// The sums of the parts that the node is in, by any label.
    pub fn all_of(&self, node: &NodeInfo) -> impl Iterator<Item = i64> {
        let parts = self.by_key.iter();
        parts.filter_map(|(key, parts)| parts.get(node.label(key)?).copied())
    }

    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
