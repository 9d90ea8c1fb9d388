//! Amounts of resources that are added up and compared: what a pod takes, and what a node has.

use std::collections::{BTreeMap, btree_map};

use knarr_meta::names;

use super::totals::Totals;

pub(crate) const CPU: &str = "cpu";
pub(crate) const MEMORY: &str = "memory";
/// What containers write and log on the node's disk.
pub(crate) const STORAGE: &str = "ephemeral-storage";
/// How names of resources begin whose amounts are of huge pages of one size.
pub(crate) const HUGE_PAGES: &str = "hugepages-";

/// By the name of the resource: thousandths of a CPU, and whole units (bytes, devices) of all others. What is not named is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Units(BTreeMap<String, i64>);

impl Units {
    pub(crate) fn of(totals: &Totals) -> Self {
        let amounts = totals.iter().map(|(name, amount)| {
            let units = match name.as_str() {
                CPU => amount.milli_value(),
                _ => amount.value(),
            };
            (name.clone(), units)
        });
        Self(amounts.collect())
    }

    pub(crate) fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    pub(crate) fn names(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn set(&mut self, name: &str, amount: i64) {
        self.0.insert(name.to_owned(), amount);
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, String, i64> {
        self.0.iter()
    }

    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.0.retain(|name, _| keep(name));
    }

    pub(crate) fn add(&mut self, more: &Self) {
        for (name, amount) in &more.0 {
            let sum = self.0.entry(name.clone()).or_default();
            *sum = sum.saturating_add(*amount);
        }
    }

    /// Of each resource the larger amount.
    pub(crate) fn raise(&mut self, least: &Self) {
        for (name, amount) in &least.0 {
            let own = self.0.entry(name.clone()).or_default();
            *own = (*own).max(*amount);
        }
    }
}

impl<const N: usize> From<[(&str, i64); N]> for Units {
    fn from(amounts: [(&str, i64); N]) -> Self {
        let amounts = amounts.map(|(name, amount)| (name.to_owned(), amount));
        Self(amounts.into())
    }
}

/// Whether a resource is neither of Kubernetes nor of the node itself, but one that somebody has added to it: upstream's
/// `IsExtendedResourceName`.
pub(crate) fn is_extended(name: &str) -> bool {
    let native = !name.contains('/') || name.contains("kubernetes.io/");
    let quota = format!("requests.{name}");
    !native && !name.starts_with("requests.") && names::qualified_name(&quota).is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_add_up_by_name() {
        let mut all = Units::from([(CPU, 1), ("example.com/a", i64::MAX)]);
        all.add(&Units::from([("example.com/a", 1), ("example.com/b", 2)]));
        let sums = [
            (CPU, 1),
            ("example.com/a", i64::MAX),
            ("example.com/b", 2),
            (MEMORY, 0),
        ];
        assert!(sums.iter().all(|(name, sum)| all.get(name) == *sum));
        all.raise(&Units::from([(CPU, 3), ("example.com/b", 1)]));
        assert_eq!((all.get(CPU), all.get("example.com/b")), (3, 2));
    }

    #[test]
    fn extended_resources_have_a_domain_of_their_own() {
        for (name, extended) in [
            ("example.com/foo", true),
            ("cpu", false),
            ("hugepages-2Mi", false),
            ("kubernetes.io/foo", false),
            ("sub.kubernetes.io/foo", false),
            ("requests.example.com/foo", false),
            ("example.com/", false),
        ] {
            assert_eq!(is_extended(name), extended, "{name}");
        }
    }
}
