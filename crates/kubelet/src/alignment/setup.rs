//! The managers as they are configured, on the machine that there is.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use knarr_numa::{
    checkpoint, cpus,
    discover::Found,
    memory,
    merge::{Merger, Options, Policy, Scope},
};
use parking_lot::Mutex;

use super::{Alignment, STATIC_CPUS, STATIC_MEMORY, State};
use crate::configuration::{Reserved, Settings};

impl Alignment {
    /// Of a machine whose pods do not get what is `kept`. Blocks.
    ///
    /// # Errors
    /// What the machine does not have, or what another policy left, in upstream's words.
    pub(crate) fn load(
        settings: &Settings,
        found: &Found,
        kept: Reserved,
        root: PathBuf,
    ) -> Result<Self, String> {
        let policy = match settings.topology_manager_policy.as_str() {
            "best-effort" => Policy::BestEffort,
            "restricted" => Policy::Restricted,
            "single-numa-node" => Policy::SingleNumaNode,
            _ => Policy::None,
        };
        let scope = match settings.topology_manager_scope.as_str() {
            "pod" => Scope::Pod,
            _ => Scope::Container,
        };
        let failed = |why: String| format!("failed to create topology manager: {why}");
        let options = Options::parse(&settings.topology_manager_policy_options).map_err(failed)?;
        let merger = Merger::new(policy, options, found.nodes.clone()).map_err(failed)?;
        let own = Self {
            merger,
            scope,
            state: Mutex::new(State {
                cpus: cpus(settings, found, kept, &root)?,
                memory: memory(settings, found, kept, &root)?,
            }),
            root,
            ..Self::default()
        };
        own.write()?;
        Ok(own)
    }
}

/// What a file says that another kubelet left, if there is one.
fn left<T>(
    path: &Path,
    read: impl FnOnce(&[u8]) -> Result<T, checkpoint::Error>,
) -> Result<Option<T>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {error}", path.display())),
    };
    read(&bytes).map(Some).map_err(|error| {
        let path = path.display();
        format!("could not restore state from checkpoint: {error}, please drain this node and delete the checkpoint file {path:?} before restarting Kubelet", path = path.to_string())
    })
}

fn cpus(
    settings: &Settings,
    found: &Found,
    kept: Reserved,
    root: &Path,
) -> Result<Option<cpus::Static>, String> {
    let policy = settings.cpu_manager_policy.as_str();
    let state = left(&root.join(checkpoint::CPU_FILE), |bytes| {
        checkpoint::read_cpus(policy, bytes)
    })?;
    if policy != STATIC_CPUS {
        return Ok(None);
    }
    let failed = |why: String| format!("failed to create cpu manager: {why}");
    let options = cpus::Options::parse(&settings.cpu_manager_policy_options).map_err(failed)?;
    if kept.cpu_milli <= 0 {
        return Err(failed(
            "[cpumanager] the static policy requires systemreserved.cpu + kubereserved.cpu to be greater than zero"
                .to_owned(),
        ));
    }
    let count = usize::try_from(kept.cpu_milli.unsigned_abs().div_ceil(1_000)).unwrap_or(0);
    let reserved = settings.reserved_cpus().unwrap_or_default();
    let topology = found.topology.clone();
    let made = cpus::Static::new(topology, (count, reserved), options, state);
    made.map(Some).map_err(|why| {
        format!(
            "failed to start cpu manager: {why}; drain the node and remove its {}",
            checkpoint::CPU_FILE
        )
    })
}

fn memory(
    settings: &Settings,
    found: &Found,
    kept: Reserved,
    root: &Path,
) -> Result<Option<memory::Static>, String> {
    let policy = settings.memory_manager_policy.as_str();
    let state = left(&root.join(checkpoint::MEMORY_FILE), |bytes| {
        checkpoint::read_memory(policy, bytes)
    })?;
    if policy != STATIC_MEMORY {
        return Ok(None);
    }
    let failed = |why: String| format!("failed to create memory manager: {why}");
    let mut by_node = memory::Reserved::new();
    for one in &settings.reserved_memory {
        let node = usize::try_from(one.numa_node).ok();
        let node = node.filter(|node| found.memory.contains_key(node)).ok_or_else(|| {
            failed(format!(
                "the reserved memory configuration references a NUMA node {} that does not exist on this machine",
                one.numa_node
            ))
        })?;
        by_node.entry(node).or_default().extend(one.bytes());
    }
    let bytes = u64::try_from(kept.memory_bytes).unwrap_or(0);
    let whole = BTreeMap::from([(memory::RESOURCE.to_owned(), bytes)]);
    let by_node = memory::reserved(by_node, &whole).map_err(failed)?;
    let machine = memory::empty(&found.memory, &by_node);
    let made = memory::Static::new(machine, state);
    made.map(Some).map_err(|why| {
        format!(
            "failed to start memory manager: {why}; drain the node and remove its {}",
            checkpoint::MEMORY_FILE
        )
    })
}
