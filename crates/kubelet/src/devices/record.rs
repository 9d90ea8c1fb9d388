//! Which devices pods have, in memory and on disk, and what their containers get with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
};

use knarr_cri::v1;
use knarr_kubelet_api::device_plugin as api;
use serde::{Deserialize, Serialize};

/// Of the file's form.
const VERSION: u32 = 1;

/// What a container gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Options {
    pub variables: BTreeMap<String, String>,
    /// Host path and whether it is read-only, by path in the container.
    mounts: BTreeMap<String, (String, bool)>,
    /// Host path and permissions, by path in the container.
    devices: BTreeMap<String, (String, String)>,
    pub annotations: BTreeMap<String, String>,
    pub cdi: Vec<String>,
}

impl Options {
    pub fn of(answer: api::ContainerAllocateResponse) -> Self {
        let mounts = answer.mounts.into_iter();
        let devices = answer.devices.into_iter();
        Self {
            variables: answer.envs.into_iter().collect(),
            mounts: mounts
                .map(|mount| (mount.container_path, (mount.host_path, mount.read_only)))
                .collect(),
            devices: devices
                .map(|device| {
                    (
                        device.container_path,
                        (device.host_path, device.permissions),
                    )
                })
                .collect(),
            annotations: answer.annotations.into_iter().collect(),
            cdi: answer
                .cdi_devices
                .into_iter()
                .map(|device| device.name)
                .collect(),
        }
    }

    /// With what another resource gives; of two that give the same the first one does.
    pub fn merge(&mut self, other: &Self) {
        fn add<V: Clone>(into: &mut BTreeMap<String, V>, from: &BTreeMap<String, V>) {
            for (key, value) in from {
                into.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
        add(&mut self.variables, &other.variables);
        add(&mut self.mounts, &other.mounts);
        add(&mut self.devices, &other.devices);
        add(&mut self.annotations, &other.annotations);
        self.cdi.extend(other.cdi.iter().cloned());
    }

    pub fn mounts(&self) -> impl Iterator<Item = v1::Mount> {
        let mounts = self.mounts.iter();
        mounts.map(|(container_path, (host_path, readonly))| v1::Mount {
            container_path: container_path.clone(),
            host_path: host_path.clone(),
            readonly: *readonly,
            ..Default::default()
        })
    }

    pub fn devices(&self) -> impl Iterator<Item = v1::Device> {
        let devices = self.devices.iter();
        devices.map(|(container_path, (host_path, permissions))| v1::Device {
            container_path: container_path.clone(),
            host_path: host_path.clone(),
            permissions: permissions.clone(),
        })
    }
}

/// Devices of one resource that a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Given {
    pub devices: BTreeSet<String>,
    /// NUMA nodes by device.
    pub nodes: BTreeMap<String, Vec<i64>>,
    pub options: Options,
}

/// By resource.
type OfContainer = BTreeMap<String, Given>;

/// By the pods' uids and the names of their containers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Records(BTreeMap<String, BTreeMap<String, OfContainer>>);

impl Records {
    pub fn get(&self, uid: &str, container: &str, resource: &str) -> Option<&Given> {
        self.0.get(uid)?.get(container)?.get(resource)
    }

    pub fn put(&mut self, uid: &str, container: &str, resource: &str, given: Given) {
        let pod = self.0.entry(uid.to_owned()).or_default();
        let container = pod.entry(container.to_owned()).or_default();
        container.insert(resource.to_owned(), given);
    }

    /// Whether the pod had any.
    pub fn remove(&mut self, uid: &str) -> bool {
        self.0.remove(uid).is_some()
    }

    pub fn of_container(&self, uid: &str, container: &str) -> impl Iterator<Item = (&str, &Given)> {
        let of_container = self.0.get(uid).and_then(|pod| pod.get(container));
        let given = of_container.into_iter().flatten();
        given.map(|(resource, given)| (resource.as_str(), given))
    }

    /// Devices of a resource that somebody has.
    pub fn devices_of(&self, resource: &str) -> BTreeSet<String> {
        let containers = self.0.values().flat_map(BTreeMap::values);
        let given = containers.filter_map(|container| container.get(resource));
        given
            .flat_map(|given| given.devices.iter().cloned())
            .collect()
    }
}

/// What is on disk.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct File {
    /// Resources that plugins have registered.
    pub resources: BTreeSet<String>,
    pub records: Records,
}

#[derive(Serialize, Deserialize)]
struct Versioned {
    version: u32,
    #[serde(flatten)]
    file: File,
}

/// A file that cannot be read counts as none. Blocks.
pub(super) fn load(path: &Path) -> File {
    let parse = |bytes: Vec<u8>| -> Result<File, String> {
        let found: Versioned = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
        match found.version {
            VERSION => Ok(found.file),
            version => Err(format!("its form {version} is not known")),
        }
    };
    let read = match std::fs::read(path) {
        Ok(bytes) => parse(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return File::default(),
        Err(error) => Err(error.to_string()),
    };
    read.unwrap_or_else(|error| {
        tracing::warn!(path = %path.display(), error, "the record of devices cannot be read");
        File::default()
    })
}

/// Blocks.
pub(super) fn write(path: &Path, file: &File) -> Result<(), String> {
    let versioned = serde_json::json!({
        "version": VERSION, "resources": file.resources, "records": file.records,
    });
    let written = knarr_host::write_durably(path, versioned.to_string().as_bytes());
    written.map_err(|error| format!("failed to write checkpoint file {path:?}: {error}"))
}
