//! Devices and the NUMA nodes that they are near.

use std::collections::{BTreeMap, BTreeSet};

use knarr_numa::{Hint, Mask};

use super::{
    Want,
    stock::{Device, Stock},
};

/// Devices of a pod that it has at a time, by resource.
pub(super) fn of_pod<'w>(wants: &'w [Want<'_>]) -> BTreeMap<&'w str, usize> {
    // What sidecars have, and the most that init containers have beside them; what runs to the end.
    let mut all: BTreeMap<&str, (usize, usize, usize)> = BTreeMap::new();
    for want in wants {
        let (lasting, peak, before) = all.entry(&want.resource).or_default();
        if want.ends {
            *peak = (*peak).max(*before + want.count);
        } else {
            *lasting += want.count;
            if want.sidecar {
                *before += want.count;
            }
        }
    }
    let most = all.into_iter();
    most.map(|(resource, (lasting, peak, _))| (resource, lasting.max(peak)))
        .collect()
}

impl Stock {
    /// Sets of nodes that have enough devices near them; nothing where no device is near any. `given` are those of the container
    /// already, `used` are somebody's, and `reuse` are free again.
    pub fn hints(
        &self,
        given: Option<&BTreeSet<String>>,
        used: &BTreeSet<String>,
        reuse: &BTreeSet<String>,
        count: usize,
    ) -> Option<Vec<Hint>> {
        let numbers = self.devices.values().flat_map(|device| &device.nodes);
        let numbers = numbers.filter_map(|node| usize::try_from(*node).ok());
        let nodes: BTreeSet<usize> = numbers.filter(|node| *node < Mask::NODES).collect();
        if nodes.is_empty() {
            return None;
        }
        let nodes: Vec<usize> = nodes.into_iter().collect();
        if let Some(given) = given {
            let same = given.len() == count;
            return Some(match same {
                true => self.hints_of(&nodes, given, &BTreeSet::new(), count),
                false => Vec::new(),
            });
        }
        let free: BTreeSet<String> = self.healthy().difference(used).cloned().collect();
        if free.union(reuse).count() < count {
            return Some(Vec::new());
        }
        Some(self.hints_of(&nodes, &free, reuse, count))
    }

    fn hints_of(
        &self,
        nodes: &[usize],
        free: &BTreeSet<String>,
        reuse: &BTreeSet<String>,
        count: usize,
    ) -> Vec<Hint> {
        let near = |mask: Mask, device: &Device| has_any(mask, &device.nodes);
        let known = |ids: &BTreeSet<String>| -> Vec<&Device> {
            ids.iter().filter_map(|id| self.devices.get(id)).collect()
        };
        let (free, reuse) = (known(free), known(reuse));
        let mut least = nodes.len();
        let mut masks = Vec::new();
        for mask in Mask::all_of(nodes) {
            if self
                .devices
                .values()
                .filter(|device| near(mask, device))
                .count()
                >= count
            {
                least = least.min(mask.count());
            }
            let placed = reuse.iter().filter(|device| !device.nodes.is_empty());
            let (inside, outside): (Vec<&&Device>, Vec<_>) =
                placed.partition(|device| near(mask, device));
            let more = free.iter().filter(|device| near(mask, device)).count();
            if outside.is_empty() && inside.len() + more >= count {
                masks.push(mask);
            }
        }
        let hint = |mask: Mask| Hint {
            nodes: Some(mask),
            preferred: mask.count() == least,
        };
        masks.into_iter().map(hint).collect()
    }

    /// What to choose from and what must be chosen, so that what is near these nodes comes first.
    pub fn near(
        &self,
        nodes: Mask,
        free: BTreeSet<String>,
        must: BTreeSet<String>,
        count: usize,
    ) -> (BTreeSet<String>, BTreeSet<String>) {
        let is_near = |id: &String| {
            let device = self.devices.get(id);
            device.is_some_and(|device| has_any(nodes, &device.nodes))
        };
        let near: BTreeSet<String> = free.iter().filter(|id| is_near(id)).cloned().collect();
        let both: BTreeSet<String> = near.union(&must).cloned().collect();
        match both.len() > count {
            true => (both, must),
            false => (free, both),
        }
    }
}

/// The nodes of a mask as the devices' plugins number them.
fn has_any(nodes: Mask, of: &[i64]) -> bool {
    let mut numbers = of.iter().filter_map(|node| usize::try_from(*node).ok());
    numbers.any(|node| nodes.has(node))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(text: &str) -> BTreeSet<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// Devices as `name@node`, or without a node.
    fn stock(text: &str) -> Stock {
        let mut stock = Stock::left();
        stock.set(text.split_whitespace().map(|word| {
            let (id, node) = word.split_once('@').unwrap_or((word, ""));
            let device = Device {
                healthy: true,
                nodes: node.parse().into_iter().collect(),
            };
            (id.to_owned(), device)
        }));
        stock
    }

    #[test]
    fn nodes_with_enough_devices_are_hinted_at() {
        let shown = |devices: &str, given: Option<&str>, used: &str, reuse: &str, count: usize| {
            let given = given.map(ids);
            let hints = stock(devices).hints(given.as_ref(), &ids(used), &ids(reuse), count);
            hints.map(|hints| {
                let shown = hints
                    .iter()
                    .map(|hint| (hint.nodes.unwrap().0, hint.preferred));
                shown.collect::<Vec<_>>()
            })
        };
        let devices = "a@0 b@0 c@1 d@1";
        assert_eq!(shown("a b", None, "", "", 1), None);
        assert_eq!(
            shown(devices, None, "", "", 2),
            Some(vec![(1, true), (2, true), (3, false)])
        );
        assert_eq!(
            shown(devices, None, "a", "", 2),
            Some(vec![(2, true), (3, false)])
        );
        assert_eq!(shown(devices, None, "a c", "", 2), Some(vec![(3, false)]));
        assert_eq!(shown(devices, None, "a b c", "", 2), Some(vec![]));
        assert_eq!(
            shown(devices, None, "a", "a", 2),
            Some(vec![(1, true), (3, false)])
        );
        assert_eq!(
            shown(devices, Some("c"), "c", "", 1),
            Some(vec![(2, true), (3, false)])
        );
        assert_eq!(shown(devices, Some("c"), "c", "", 2), Some(vec![]));
    }

    #[test]
    fn what_is_near_comes_first() {
        let stock = stock("a@0 b@1 c@1 d");
        let near = |node: u64, must: &str, count: usize| {
            stock.near(Mask(node), ids("a b c d"), ids(must), count)
        };
        assert_eq!(near(2, "", 1), (ids("b c"), ids("")));
        assert_eq!(near(2, "", 2), (ids("a b c d"), ids("b c")));
        assert_eq!(near(2, "", 3), (ids("a b c d"), ids("b c")));
        assert_eq!(near(1, "d", 1), (ids("a d"), ids("d")));
    }
}
