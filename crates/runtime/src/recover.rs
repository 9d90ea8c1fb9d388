//! At start: what was here before. Live shims are reconnected; what is half made, half removed or dead is cleaned up.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use knarr_cni::ValidAttachment;
use knarr_shim::ContainerState;
use knarr_shim::protocol::{EXIT_FILE, ExitRecord, STARTED_FILE};
use serde::Deserialize;

use crate::container::{Container, run_failed};
use crate::records::{
    ContainerRecord, FAILURE_FILE, FailureRecord, NETWORK_FILE, NetworkRecord, RECORD_FILE,
    RESOURCES_FILE, STOPPED_FILE, SandboxRecord, ids,
};
use crate::runtime::Inner;
use crate::sandbox::{INTERFACE, Sandbox};
use crate::{Error, files};

#[derive(Deserialize)]
struct StartedRecord {
    pid: i32,
    started_at: i64,
}

impl Inner {
    pub(crate) async fn recover(self: &Arc<Self>) -> Result<(), Error> {
        let torn = self.load_sandboxes()?;
        self.load_containers()?;
        for id in torn {
            self.remove_torn(id).await;
        }
        let sandboxes: Vec<Arc<Sandbox>> = self.sandboxes.lock().values().cloned().collect();
        futures::future::join_all(sandboxes.iter().map(|sandbox| self.reconnect(sandbox))).await;
        self.collect_networks().await;
        Ok(())
    }

    /// Gives back the addresses of sandboxes whose records are gone: a power failure may take any of them.
    async fn collect_networks(&self) {
        let valid: Vec<ValidAttachment> = self
            .sandboxes
            .lock()
            .keys()
            .map(|id| ValidAttachment {
                container_id: id.clone(),
                ifname: INTERFACE.to_owned(),
            })
            .collect();
        match self.cni.collect(&valid).await {
            Ok(()) => {}
            Err(error) if error.is_unconfigured() => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "addresses of sandboxes that are gone may still be taken"
            ),
        }
    }

    /// Returns those whose record cannot be read.
    fn load_sandboxes(&self) -> Result<Vec<String>, Error> {
        let mut torn = Vec::new();
        for id in ids(&self.layout.sandboxes()).map_err(Error::io("list the sandboxes"))? {
            let directory = self.layout.sandbox(&id);
            match files::read_json::<SandboxRecord>(&directory.join(RECORD_FILE)) {
                Ok(Some(record)) => {
                    self.sandboxes
                        .lock()
                        .insert(id, Arc::new(Sandbox::new(record, directory)));
                }
                // The record is the first to be written and goes with its directory: nothing else was made, unless somebody has deleted
                // it, who cannot have deleted what is mounted beside it.
                Ok(None) => {
                    if let Err(error) = files::remove(&directory) {
                        tracing::warn!(sandbox = id, %error, "removing a sandbox whose record was deleted");
                        torn.push(id);
                    }
                }
                Err(error) => {
                    tracing::warn!(sandbox = id, %error, "removing a sandbox whose record is unreadable");
                    torn.push(id);
                }
            }
        }
        Ok(torn)
    }

    /// A power failure has torn its record. Names of what it had follow from its id, its addresses among them.
    async fn remove_torn(self: &Arc<Self>, id: String) {
        let record = SandboxRecord {
            config: knarr_cri::v1::PodSandboxConfig::default(),
            runtime_handler: String::new(),
            created_at: 0,
            cgroup_parent: self.config.cgroup_root.join("pods").join(&id),
            host_network: false,
            shared_pid: false,
            id: id.clone(),
        };
        let sandbox = Arc::new(Sandbox::new(record, self.layout.sandbox(&id)));
        sandbox.status.lock().stopping = true;
        let removed = async {
            self.dismantle(&sandbox).await?;
            self.forget_sandbox(&sandbox).await
        };
        if let Err(error) = removed.await {
            tracing::warn!(sandbox = id, %error, "cannot remove it, the next start tries again");
        }
    }

    fn load_containers(&self) -> Result<(), Error> {
        for id in ids(&self.layout.containers()).map_err(Error::io("list the containers"))? {
            let directory = self.layout.container(&id);
            let record = match files::read_json::<ContainerRecord>(&directory.join(RECORD_FILE)) {
                Ok(record) => record,
                Err(error) => {
                    tracing::warn!(container = id, %error, "the record of a container is unreadable");
                    None
                }
            };
            let orphaned = record
                .as_ref()
                .is_none_or(|record| !self.sandboxes.lock().contains_key(&record.sandbox));
            // Without its configuration nobody was ever told the id; without its sandbox nobody can run it.
            if orphaned || !directory.join("config.json").exists() {
                self.discard(&id, record, directory);
                continue;
            }
            if let Some(record) = record {
                let container = Arc::new(Container::new(record, directory));
                restore(&container);
                self.containers.lock().insert(id, container);
            }
        }
        Ok(())
    }

    fn discard(&self, id: &str, record: Option<ContainerRecord>, directory: PathBuf) {
        tracing::info!(container = id, "removing a container that was not finished");
        let outcome = match record {
            Some(record) => crate::container::dispose(&directory, &record.cgroup),
            None => crate::container::remove_bundle(&directory),
        };
        if let Err(error) = outcome {
            tracing::warn!(container = id, %error, "cannot remove it");
        }
    }

    async fn reconnect(self: &Arc<Self>, sandbox: &Arc<Sandbox>) {
        let id = &sandbox.record.id;
        let stopped = sandbox.directory.join(STOPPED_FILE).exists();
        let network: Option<NetworkRecord> =
            files::read_json(&sandbox.directory.join(NETWORK_FILE)).unwrap_or_default();
        let whole = !stopped && (sandbox.record.host_network || network.is_some());
        sandbox.status.lock().addresses = network.unwrap_or_default().addresses;
        let adopted = if whole {
            self.adopt(sandbox).await.ok()
        } else {
            None
        };
        match adopted {
            Some(states) => {
                sandbox.status.lock().ready = true;
                tracing::debug!(
                    sandbox = id,
                    containers = states.len(),
                    "found its shim again"
                );
                self.settle(sandbox, states).await;
            }
            None => {
                sandbox.status.lock().stopping = true;
                for container in self.containers_of(id) {
                    self.settle_orphan(&container).await;
                }
                if let Err(error) = self.dismantle(sandbox).await {
                    tracing::warn!(sandbox = id, %error, "cannot clean up; stopping the sandbox tries again");
                }
            }
        }
    }

    /// Brings containers to what their shim says.
    async fn settle(self: &Arc<Self>, sandbox: &Arc<Sandbox>, states: Vec<ContainerState>) {
        let mut known = HashSet::new();
        for state in states {
            known.insert(state.id.clone());
            let Ok(container) = self.container(&state.id) else {
                continue;
            };
            match state.exit {
                Some(exit) => self.container_exited(&container, exit),
                None if state.pid != 0 => {
                    self.container_started(&container, state.pid, state.started_at);
                }
                // Being made, by order of a runtime that is dead. An event tells when it runs.
                None => tracing::info!(container = state.id, "is being started"),
            }
        }
        for container in self.containers_of(&sandbox.record.id) {
            if !known.contains(&container.record.id)
                && container.status.lock().phase == crate::container::Phase::Running
            {
                self.settle_orphan(&container).await;
            }
        }
    }
}

/// A container's state by its files.
fn restore(container: &Container) {
    let read = |name: &str| container.directory.join(name);
    if let Ok(Some(resources)) = files::read_json(&read(RESOURCES_FILE)) {
        container.status.lock().resources = Some(resources);
    }
    if let Ok(Some(failure)) = files::read_json::<FailureRecord>(&read(FAILURE_FILE)) {
        run_failed(container, &failure);
    } else if let Ok(Some(exit)) = files::read_json::<ExitRecord>(&read(EXIT_FILE)) {
        container.exited(&exit);
    } else if let Ok(Some(started)) = files::read_json::<StartedRecord>(&read(STARTED_FILE)) {
        container.running(started.pid, started.started_at);
    }
}
