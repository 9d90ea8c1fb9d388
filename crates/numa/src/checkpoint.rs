//! States on disk as upstream writes them: `cpu_manager_state` and `memory_manager_state`. Each holds what it says twice: as fields with a
//! checksum, which older kubelets read, and as a text with another, which counts.

mod dump;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{cpus, memory};

/// The file of CPUs in the kubelet's directory.
pub const CPU_FILE: &str = "cpu_manager_state";
/// The file of memory.
pub const MEMORY_FILE: &str = "memory_manager_state";

type Entries = BTreeMap<String, BTreeMap<String, String>>;

/// A file that is not to be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("checkpoint is corrupted: {0}")]
    Broken(String),
    #[error("checkpoint is corrupted: the checksum is {found}, not {said}")]
    Checksum { said: u64, found: u64 },
    #[error("configured policy {configured:?} differs from state checkpoint policy {found:?}")]
    Policy { configured: String, found: String },
    #[error("it has resources of whole pods, which the gate PodLevelResourceManagers is for")]
    Pods,
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// What a file says of itself. The text counts, where the kubelet that wrote the file knew of it.
#[derive(Deserialize)]
struct Header {
    #[serde(default)]
    checksum: u64,
    data: Option<String>,
    #[serde(rename = "dataChecksum", default)]
    data_checksum: u64,
}

#[derive(Serialize, Deserialize)]
struct CpuData {
    #[serde(rename = "policyName")]
    policy: String,
    #[serde(rename = "defaultCpuSet")]
    shared: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: Entries,
    #[serde(
        rename = "podEntries",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pods: BTreeMap<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    baselines: BTreeMap<String, BTreeMap<String, Baseline>>,
}

/// What a container was given at first.
#[derive(Serialize, Deserialize)]
struct Baseline {
    baseline: String,
}

#[derive(Serialize, Deserialize)]
struct MemoryData {
    #[serde(rename = "policyName")]
    policy: String,
    #[serde(rename = "machineState")]
    machine: Option<memory::Machine>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    entries: memory::Given,
    #[serde(
        rename = "podEntries",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pods: BTreeMap<String, serde_json::Value>,
}

/// Fields with their checksum, and the same as a text.
#[derive(Serialize)]
struct File<T> {
    #[serde(flatten)]
    fields: T,
    checksum: u64,
    data: String,
    #[serde(rename = "dataChecksum")]
    data_checksum: u64,
}

fn write<T: Serialize>(fields: T, checksum: u32) -> Result<Vec<u8>, Error> {
    let data = serde_json::to_string(&fields)?;
    let file = File {
        fields,
        checksum: u64::from(checksum),
        data_checksum: u64::from(dump::hash(&dump::text(&data))),
        data,
    };
    Ok(serde_json::to_vec(&file)?)
}

/// Compares a checksum with what it should be.
fn verify(said: u64, found: u32) -> Result<(), Error> {
    let found = u64::from(found);
    match said == found {
        true => Ok(()),
        false => Err(Error::Checksum { said, found }),
    }
}

/// The fields of a file whose checksum is right, from its text where it has one.
fn read<T: serde::de::DeserializeOwned>(
    bytes: &[u8],
    dump: impl Fn(&T) -> String,
) -> Result<T, Error> {
    let header: Header = serde_json::from_slice(bytes)?;
    if let Some(data) = header.data {
        verify(header.data_checksum, dump::hash(&dump::text(&data)))?;
        return Ok(serde_json::from_str(&data)?);
    }
    let fields: T = serde_json::from_slice(bytes)?;
    // Files of before there were checksums have none.
    if header.checksum != 0 {
        verify(header.checksum, dump::hash(&dump(&fields)))?;
    }
    Ok(fields)
}

fn same_policy(configured: &str, found: &str) -> Result<(), Error> {
    match configured == found {
        true => Ok(()),
        false => Err(Error::Policy {
            configured: configured.to_owned(),
            found: found.to_owned(),
        }),
    }
}

/// The file of CPUs under a policy.
///
/// # Errors
/// It cannot be written as JSON.
pub fn write_cpus(policy: &str, state: &cpus::State) -> Result<Vec<u8>, Error> {
    let text = |containers: &BTreeMap<String, crate::CpuSet>| {
        let texts = containers
            .iter()
            .map(|(name, cpus)| (name.clone(), cpus.to_string()));
        texts.collect()
    };
    let given = state.given.iter();
    let data = CpuData {
        policy: policy.to_owned(),
        shared: state.shared.to_string(),
        entries: given
            .map(|(uid, containers)| (uid.clone(), text(containers)))
            .collect(),
        pods: BTreeMap::new(),
        baselines: BTreeMap::new(),
    };
    let checksum = dump::hash(&dump::cpus(&data.policy, &data.shared, &data.entries));
    write(data, checksum)
}

/// Who has which CPUs by a file of this policy.
///
/// # Errors
/// It is damaged, or of another policy.
pub fn read_cpus(policy: &str, bytes: &[u8]) -> Result<cpus::State, Error> {
    let data: CpuData = read(bytes, |data: &CpuData| {
        dump::cpus(&data.policy, &data.shared, &data.entries)
    })?;
    same_policy(policy, &data.policy)?;
    if !data.pods.is_empty() {
        return Err(Error::Pods);
    }
    let parse = |text: &str| {
        let parsed = text.parse::<crate::CpuSet>();
        parsed.map_err(|error| Error::Broken(error.to_string()))
    };
    let mut state = cpus::State {
        shared: parse(&data.shared)?,
        ..Default::default()
    };
    for (uid, containers) in &data.entries {
        for (name, cpus) in containers {
            let pod = state.given.entry(uid.clone()).or_default();
            pod.insert(name.clone(), parse(cpus)?);
        }
    }
    Ok(state)
}

/// The file of memory under a policy.
///
/// # Errors
/// It cannot be written as JSON.
pub fn write_memory(policy: &str, state: &memory::State) -> Result<Vec<u8>, Error> {
    let checksum = dump::hash(&dump::memory(policy, &state.machine, &state.given));
    let data = MemoryData {
        policy: policy.to_owned(),
        machine: Some(state.machine.clone()),
        entries: state.given.clone(),
        pods: BTreeMap::new(),
    };
    write(data, checksum)
}

/// Who has which memory by a file of this policy.
///
/// # Errors
/// It is damaged, or of another policy.
pub fn read_memory(policy: &str, bytes: &[u8]) -> Result<memory::State, Error> {
    let empty = memory::Machine::new();
    let data: MemoryData = read(bytes, |data: &MemoryData| {
        let machine = data.machine.as_ref().unwrap_or(&empty);
        dump::memory(&data.policy, machine, &data.entries)
    })?;
    same_policy(policy, &data.policy)?;
    if !data.pods.is_empty() {
        return Err(Error::Pods);
    }
    Ok(memory::State {
        machine: data.machine.unwrap_or_default(),
        given: data.entries,
    })
}

#[cfg(test)]
mod tests;
