//! Nodes that share a machine.

use std::{net::IpAddr, path::PathBuf};

use knarr_cni::{
    InstanceId,
    local::{self, LocalNodes, NodeNamespace, Settings},
};
use knarr_meta::prefix::Prefix;

use crate::kit::Machine;

/// A machine whose nodes go with it, also when a test fails.
pub struct Cluster {
    pub machine: Machine,
    pub instance: InstanceId,
}

impl Cluster {
    pub fn new() -> Self {
        Self {
            machine: Machine::new(),
            instance: InstanceId::random().unwrap(),
        }
    }

    pub fn prepare(&self, range: Option<&str>) -> Result<LocalNodes, String> {
        self.prepare_families(range, false)
    }

    /// With addresses of IPv6 as well.
    pub fn prepare_both(&self) -> LocalNodes {
        self.prepare_families(None, true).unwrap()
    }

    fn prepare_families(&self, range: Option<&str>, ipv6: bool) -> Result<LocalNodes, String> {
        let settings = Settings {
            instance: self.instance,
            range: range.map(|range| range.parse::<Prefix>().unwrap()),
            ipv6,
            data_dir: PathBuf::from("/var/lib/knarr"),
        };
        let prepared = self.machine.block_on(|| LocalNodes::prepare(settings));
        prepared.map_err(|error| error.to_string())
    }

    pub fn add(&self, nodes: &LocalNodes, name: &str, number: u8) -> NodeNamespace {
        self.machine
            .block_on(|| nodes.add(name, number))
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The first node's address of a family.
    pub fn own(nodes: &LocalNodes, family: usize) -> IpAddr {
        nodes.addresses().unwrap()[family]
    }

    pub fn teardown(&self) {
        let gone = self.machine.block_on(|| local::teardown(&self.instance));
        gone.unwrap();
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.teardown();
    }
}
