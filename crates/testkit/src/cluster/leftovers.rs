//! What is left of a cluster that was taken down: should be nothing.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, ensure};

use super::Cluster;
use crate::host;

impl Cluster {
    /// What is left on this machine of a cluster that was taken down: should be nothing.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let mut found: Vec<String> = host::processes(self.name.id(), &self.groups())
            .into_iter()
            .map(host::describe)
            .collect();
        let mounts = host::mounts(&host::directory(self.name.id()));
        found.extend(
            mounts
                .iter()
                .map(|mount| format!("mount {}", mount.display())),
        );
        found.extend(
            host::cgroups(&self.groups())
                .iter()
                .map(|group| format!("cgroup {}", group.display())),
        );
        for node in std::iter::once(self.data_dir()).chain(self.node_dirs()) {
            found.extend(files_of_pods(&node));
        }
        if let Some(instance) = &self.instance {
            let namespaces = host::node_namespaces_of(instance);
            found.extend(namespaces.map(|path| format!("namespace {}", path.display())));
        }
        found.extend(self.network.additions()?);
        Ok(found)
    }

    /// The data directories of nodes beside the first.
    fn node_dirs(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data_dir().join("nodes"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Processes in the cluster's containers whose command line starts so.
    pub fn container_processes(&self, command_line: &str) -> Vec<i32> {
        let mut pids = host::processes(self.name.id(), &self.groups());
        pids.retain(|pid| host::command_line(*pid).starts_with(command_line));
        pids
    }

    /// Fails when anything of the cluster is left.
    pub fn assert_gone(&self) -> Result<()> {
        let left = self.leftovers()?;
        ensure!(left.is_empty(), "left behind:\n  {}", left.join("\n  "));
        Ok(())
    }
}

/// What pods of a node have left in its data directory.
fn files_of_pods(data_dir: &Path) -> Vec<String> {
    let folders = [
        "run/netns",
        "runtime/sandboxes",
        "runtime/containers",
        "kubelet/pods",
    ];
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(data_dir.join(folder)))
        .flatten()
        .flatten();
    entries
        .map(|entry| format!("file {}", entry.path().display()))
        .collect()
}
