//! What the runtime is told, and where it keeps things.

use std::path::{Path, PathBuf};

use crate::Registries;

/// Configuration of a [`crate::Runtime`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Everything the runtime keeps is below this: `runtime/` (images, sandboxes, containers) and `run/` (sockets,
    /// namespaces).
    pub data_dir: PathBuf,
    /// The CRI socket. Default `<data_dir>/run/runtime.sock`.
    pub socket: PathBuf,
    /// Parent of the cgroups of pods that name none, and of the shims' own cgroup. Default `/knarr`.
    pub cgroup_root: PathBuf,
    /// Directory of CNI network configurations.
    pub cni_conf_dir: PathBuf,
    /// Directories searched for CNI plugins.
    pub cni_bin_dirs: Vec<PathBuf>,
    /// Mirrors of registries, and how to speak with them. Those of the loopback are spoken to without TLS.
    pub registries: Registries,
}

impl Config {
    /// The defaults below a data directory.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        Self {
            socket: data_dir.join("run/runtime.sock"),
            cgroup_root: PathBuf::from("/knarr"),
            cni_conf_dir: data_dir.join("cni/conf"),
            cni_bin_dirs: vec![data_dir.join("cni/bin"), PathBuf::from("/opt/cni/bin")],
            registries: Registries::default(),
            data_dir,
        }
    }

    pub(crate) fn layout(&self) -> Layout {
        Layout {
            root: self.data_dir.join("runtime"),
            netns: self.data_dir.join("run/netns"),
            userns: self.data_dir.join("run/userns"),
            cni_cache: self.data_dir.join("cni/cache"),
        }
    }
}

/// Names on disk, all of them from ids.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
    netns: PathBuf,
    userns: PathBuf,
    pub cni_cache: PathBuf,
}

impl Layout {
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub fn sandboxes(&self) -> PathBuf {
        self.root.join("sandboxes")
    }

    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    pub fn netns_dir(&self) -> &Path {
        &self.netns
    }

    pub fn sandbox(&self, id: &str) -> PathBuf {
        self.sandboxes().join(id)
    }

    /// Bundle of a container: record, OCI configuration, snapshot.
    pub fn container(&self, id: &str) -> PathBuf {
        self.containers().join(id)
    }

    pub fn netns(&self, sandbox: &str) -> PathBuf {
        self.netns.join(sandbox)
    }

    pub fn userns_dir(&self) -> &Path {
        &self.userns
    }

    /// The user namespace of a sandbox whose users are not the host's.
    pub fn userns(&self, sandbox: &str) -> PathBuf {
        self.userns.join(sandbox)
    }
}
