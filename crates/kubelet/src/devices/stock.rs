//! The devices of one resource.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use knarr_kubelet_api::device_plugin as api;
use tokio::time::Instant;

use super::plugin::Plugin;

const HEALTHY: &str = "Healthy";

/// A device, as its plugin tells of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    pub healthy: bool,
    /// NUMA nodes that it is near.
    pub nodes: Vec<i64>,
}

impl Device {
    pub fn of(device: &api::Device) -> Self {
        let nodes = device.topology.iter().flat_map(|topology| &topology.nodes);
        Self {
            healthy: device.health == HEALTHY,
            nodes: nodes.map(|node| node.id).collect(),
        }
    }
}

/// Devices, and the plugins that have them: while one is replaced there are two, and the newer is asked.
pub(super) struct Stock {
    pub devices: BTreeMap<String, Device>,
    plugins: Vec<Plugin>,
    /// Since when there is no plugin.
    gone: Option<Instant>,
}

impl Stock {
    /// What is known of a resource whose plugin is not there.
    pub fn left() -> Self {
        Self {
            devices: BTreeMap::new(),
            plugins: Vec::new(),
            gone: Some(Instant::now()),
        }
    }

    pub fn connect(&mut self, plugin: Plugin) -> Result<(), String> {
        if self
            .plugins
            .iter()
            .any(|other| other.socket == plugin.socket)
        {
            let socket = plugin.socket.display();
            return Err(format!("device plugin already connected: {socket}"));
        }
        self.plugins.push(plugin);
        self.gone = None;
        Ok(())
    }

    pub fn disconnect(&mut self, socket: &Path) {
        self.plugins.retain(|plugin| plugin.socket != socket);
        if self.plugins.is_empty() && self.gone.is_none() {
            self.gone = Some(Instant::now());
            for device in self.devices.values_mut() {
                device.healthy = false;
            }
        }
    }

    pub fn set(&mut self, devices: impl Iterator<Item = (String, Device)>) {
        self.devices = devices.collect();
    }

    pub fn plugin(&self) -> Option<Plugin> {
        self.plugins.last().cloned()
    }

    pub fn is_gone_for(&self, time: Duration) -> bool {
        self.gone.is_some_and(|gone| gone.elapsed() > time)
    }

    /// All devices, and those that can be given.
    pub fn count(&self) -> (usize, usize) {
        (self.devices.len(), self.healthy().len())
    }

    pub fn healthy(&self) -> BTreeSet<String> {
        let healthy = self.devices.iter().filter(|(_, device)| device.healthy);
        healthy.map(|(id, _)| id.clone()).collect()
    }

    pub fn nodes_of(&self, ids: &BTreeSet<String>) -> BTreeMap<String, Vec<i64>> {
        let known = ids
            .iter()
            .filter_map(|id| Some((id, self.devices.get(id)?)));
        known
            .map(|(id, device)| (id.clone(), device.nodes.clone()))
            .collect()
    }

    /// Whether a container may go on with the devices that it has.
    pub fn check_given(
        &self,
        resource: &str,
        uid: &str,
        container: &str,
        given: &BTreeSet<String>,
        count: usize,
    ) -> Result<(), String> {
        if given.len() != count {
            return Err(format!(
                "pod {uid:?} container {container:?} changed request for resource {resource:?} from {} to {count}",
                given.len()
            ));
        }
        match given.is_subset(&self.healthy()) {
            true => Ok(()),
            false => Err(format!(
                "previously allocated devices are no longer healthy; cannot allocate unhealthy devices {resource}"
            )),
        }
    }

    /// Devices that a container may have: `used` are others', but for those that it may `reuse`.
    pub fn free(
        &self,
        resource: &str,
        used: &BTreeSet<String>,
        reuse: &BTreeSet<String>,
        count: usize,
    ) -> Result<BTreeSet<String>, String> {
        let healthy = self.healthy();
        if healthy.is_empty() {
            return Err(format!(
                "no healthy devices present; cannot allocate unhealthy devices {resource}"
            ));
        }
        let unused = healthy.difference(used).cloned();
        let free: BTreeSet<String> = unused.chain(reuse.iter().cloned()).collect();
        let needed = count.saturating_sub(reuse.len());
        let available = free.len().saturating_sub(reuse.len());
        if free.len() < count {
            return Err(format!(
                "requested number of devices unavailable for {resource}. Requested: {needed}, Available: {available}"
            ));
        }
        Ok(free)
    }
}

/// So many devices of those that are free: those that must be among them, those that the plugin prefers, then the others by name.
pub(super) fn choose(
    free: &BTreeSet<String>,
    must: &BTreeSet<String>,
    preferred: &BTreeSet<String>,
    count: usize,
) -> BTreeSet<String> {
    let mut chosen = BTreeSet::new();
    let preferred = preferred.iter().filter(|id| free.contains(*id));
    for id in must.iter().chain(preferred).chain(free) {
        if chosen.len() >= count {
            break;
        }
        chosen.insert(id.clone());
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(list: &str) -> BTreeSet<String> {
        list.split_whitespace().map(str::to_owned).collect()
    }

    fn stock(healthy: &str, broken: &str) -> Stock {
        let mut stock = Stock::left();
        let of = |list: &str, healthy: bool| {
            let device = Device {
                healthy,
                nodes: Vec::new(),
            };
            ids(list)
                .into_iter()
                .map(move |id| (id, device.clone()))
                .collect::<Vec<_>>()
        };
        stock.set(of(healthy, true).into_iter().chain(of(broken, false)));
        stock
    }

    #[test]
    fn free_devices_are_healthy_and_nobodys() {
        let cases = [
            ("a b c", "", "a", "", 2, Ok("b c")),
            ("a b", "c", "", "", 2, Ok("a b")),
            ("a b", "", "a b", "a", 1, Ok("a")),
            (
                "a b",
                "",
                "a",
                "",
                2,
                Err("requested number of devices unavailable for r. Requested: 2, Available: 1"),
            ),
            (
                "",
                "a",
                "",
                "",
                1,
                Err("no healthy devices present; cannot allocate unhealthy devices r"),
            ),
        ];
        for (healthy, broken, used, reuse, count, wanted) in cases {
            let found = stock(healthy, broken).free("r", &ids(used), &ids(reuse), count);
            let wanted = wanted.map(ids).map_err(str::to_owned);
            assert_eq!(
                found, wanted,
                "{healthy} | {broken} | {used} | {reuse} | {count}"
            );
        }
    }

    #[test]
    fn what_must_be_and_what_is_preferred_comes_first() {
        let cases = [
            ("a b c", "", "", 2, "a b"),
            ("a b c", "", "c", 2, "a c"),
            ("a b c", "b", "c", 2, "b c"),
            ("a b c", "", "x c", 1, "c"),
            ("a b c", "a b", "c", 2, "a b"),
        ];
        for (free, must, preferred, count, wanted) in cases {
            let found = choose(&ids(free), &ids(must), &ids(preferred), count);
            assert_eq!(
                found,
                ids(wanted),
                "{free} | {must} | {preferred} | {count}"
            );
        }
    }

    #[test]
    fn what_was_given_must_be_as_it_was() {
        let stock = stock("a", "b");
        assert_eq!(stock.check_given("r", "u", "c", &ids("a"), 1), Ok(()));
        let error = stock.check_given("r", "u", "c", &ids("a"), 2).unwrap_err();
        assert!(error.contains("changed request"), "{error}");
        let error = stock.check_given("r", "u", "c", &ids("b"), 1).unwrap_err();
        assert!(error.contains("no longer healthy"), "{error}");
    }
}
