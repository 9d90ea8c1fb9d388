//! How many nodes of each zone are ready, kept up as nodes change: in a large cluster some node always does.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::Node;

use super::plan::{self, Zone};

/// A zone and whether the node is ready, by name of the node; and their sums.
#[derive(Default)]
pub(super) struct Census {
    nodes: HashMap<String, (String, bool)>,
    zones: BTreeMap<String, Zone>,
}

impl Census {
    /// A node came or changed. Whether this changes what is counted.
    pub(super) fn set(&mut self, name: &str, node: &Node) -> bool {
        let now = (plan::zone_of(node), plan::readiness(node) == "True");
        if self.nodes.get(name) == Some(&now) {
            return false;
        }
        self.remove(name);
        let zone = self.zones.entry(now.0.clone()).or_default();
        count(zone, now.1, 1);
        self.nodes.insert(name.to_owned(), now);
        true
    }

    /// A node is gone. Whether it was counted.
    pub(super) fn remove(&mut self, name: &str) -> bool {
        let Some((zone, ready)) = self.nodes.remove(name) else {
            return false;
        };
        if let Some(counts) = self.zones.get_mut(&zone) {
            count(counts, ready, -1);
            if counts.ready == 0 && counts.not_ready == 0 {
                self.zones.remove(&zone);
            }
        }
        true
    }

    /// By zone; those without nodes are not there.
    pub(super) fn zones(&self) -> &BTreeMap<String, Zone> {
        &self.zones
    }
}

fn count(zone: &mut Zone, ready: bool, by: isize) {
    let count = match ready {
        true => &mut zone.ready,
        false => &mut zone.not_ready,
    };
    *count = count.saturating_add_signed(by);
}

#[cfg(test)]
mod tests;
