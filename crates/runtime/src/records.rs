//! What is on disk about sandboxes and containers. A record is written before anything of its object is made and
//! removed after everything of it is gone.

use std::path::{Path, PathBuf};

use knarr_cri::v1;
use serde::{Deserialize, Serialize};

/// File of a record, in its object's directory.
pub const RECORD_FILE: &str = "record.json";
/// File of a sandbox's addresses, once the network is made.
pub const NETWORK_FILE: &str = "network.json";
/// File that says that a sandbox was stopped.
pub const STOPPED_FILE: &str = "stopped";
/// File of the resources that a container was last changed to; until then they are those of its record.
pub const RESOURCES_FILE: &str = "resources.json";
/// File of why a container could not be started.
pub const FAILURE_FILE: &str = "failure.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxRecord {
    pub id: String,
    pub config: v1::PodSandboxConfig,
    pub runtime_handler: String,
    /// Nanoseconds since the epoch.
    pub created_at: i64,
    /// Path of the sandbox's parent cgroup, below each hierarchy's root.
    pub cgroup_parent: PathBuf,
    pub host_network: bool,
    pub shared_pid: bool,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NetworkRecord {
    pub addresses: Vec<std::net::IpAddr>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ContainerRecord {
    pub id: String,
    pub sandbox: String,
    pub config: v1::ContainerConfig,
    /// `sha256:<digest>` of the image's configuration.
    pub image: String,
    pub created_at: i64,
    pub cgroup: PathBuf,
    /// Whether the container's process namespace is its own.
    pub private_pid: bool,
    /// Signal of a graceful stop.
    pub stop_signal: i32,
    pub log_path: Option<PathBuf>,
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

impl ContainerRecord {
    /// Ids of the images it needs: its own, and those that it has as volumes.
    pub fn images(&self) -> impl Iterator<Item = &str> {
        let mounts = self.config.mounts.iter();
        let volumes = mounts.filter_map(|mount| Some(mount.image.as_ref()?.image_ref.as_str()));
        std::iter::once(self.image.as_str()).chain(volumes)
    }
}

/// Why a container never ran.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailureRecord {
    pub at: i64,
    pub message: String,
}

/// Directories below `parent`, whose names are ids.
pub fn ids(parent: &Path) -> std::io::Result<Vec<String>> {
    let mut ids = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        if entry.file_type()?.is_dir()
            && let Ok(name) = entry.file_name().into_string()
        {
            ids.push(name);
        }
    }
    Ok(ids)
}
