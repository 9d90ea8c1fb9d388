//! Nodes that share a machine.

use std::path::PathBuf;

use knarr_cni::{
    InstanceId, Prefix,
    local::{self, LocalNodes, NodeNamespace, Settings},
};

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
        let settings = Settings {
            instance: self.instance,
            range: range.map(|range| range.parse::<Prefix>().unwrap()),
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
