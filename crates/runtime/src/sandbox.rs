//! Pod sandboxes: namespaces held by a shim, a network, a few files.

mod files;
mod ports;
mod sysctls;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use knarr_cni::{Bandwidth, CapabilityArgs};
use knarr_cri::v1::{self, ContainerEventType, NamespaceMode};
use knarr_shim::protocol::{Event, Request, Response, SandboxSpec};
use parking_lot::Mutex;
use tracing::Instrument;

use crate::records::{NETWORK_FILE, NetworkRecord, RECORD_FILE, STOPPED_FILE, SandboxRecord};
use crate::runtime::{Inner, blocking};
use crate::shim::{Events, Shim, ShimError};
use crate::users::{Ids, Users};
use crate::{Error, cgroup, id, spec};

/// Wanted for shims: the last to be killed when memory runs out, but for the kernel's own choice.
const SHIM_OOM_SCORE_ADJ: i32 = -998;
/// The pod's interface.
pub(crate) const INTERFACE: &str = "eth0";
/// How this runtime calls itself.
pub(crate) const RUNTIME_NAME: &str = "knarr";
/// What RuntimeClasses may call the one way in which pods run here: nothing, our name, or containerd's and CRI-O's, whose program is not run.
pub(crate) const HANDLERS: [&str; 3] = ["", RUNTIME_NAME, "runc"];
/// Longest a CNI plugin may take.
const CNI_TIMEOUT: Duration = Duration::from_secs(30);

/// A sandbox whose record is on disk.
pub struct Sandbox {
    pub record: SandboxRecord,
    pub directory: PathBuf,
    pub shim: Shim,
    /// One operation at a time.
    pub operation: tokio::sync::Mutex<()>,
    pub status: Mutex<Status>,
}

#[derive(Debug, Clone, Default)]
pub struct Status {
    pub ready: bool,
    /// Being stopped: the end of the shim is no surprise.
    pub stopping: bool,
    pub addresses: Vec<IpAddr>,
    pub shim_pid: i32,
    /// PID 1 of the shared process namespace.
    pub init_pid: Option<i32>,
}

impl Sandbox {
    pub fn new(record: SandboxRecord, directory: PathBuf) -> Self {
        Self {
            shim: Shim::at(directory.clone()),
            record,
            directory,
            operation: tokio::sync::Mutex::new(()),
            status: Mutex::new(Status::default()),
        }
    }

    fn shim_cgroup(&self, inner: &Inner) -> PathBuf {
        inner.config.cgroup_root.join("shims").join(&self.record.id)
    }

    /// Whether the parent cgroup is this runtime's to remove, and not the kubelet's.
    fn owns_parent(&self) -> bool {
        self.record
            .config
            .linux
            .as_ref()
            .is_none_or(|linux| linux.cgroup_parent.is_empty())
    }
}

impl Inner {
    /// Makes a sandbox; its id.
    pub(crate) async fn run_sandbox(
        self: &Arc<Self>,
        config: v1::PodSandboxConfig,
        runtime_handler: String,
    ) -> Result<String, Error> {
        if config.metadata.is_none() {
            return Err(Error::InvalidArgument(
                "sandbox config must include metadata".to_owned(),
            ));
        }
        if !HANDLERS.contains(&runtime_handler.as_str()) {
            return Err(Error::InvalidArgument(format!(
                "no runtime for {runtime_handler:?} is configured"
            )));
        }
        let record = self.new_record(config, runtime_handler)?;
        let id = record.id.clone();
        let sandbox = Arc::new(Sandbox::new(record, self.layout.sandbox(&id)));
        let span = tracing::debug_span!("run_sandbox", sandbox = &id[..12]);
        let _operation = sandbox.operation.lock().await;
        self.sandboxes.lock().insert(id.clone(), sandbox.clone());
        let made = self.make_sandbox(&sandbox).instrument(span).await;
        if let Err(error) = made {
            sandbox.status.lock().stopping = true;
            if let Err(cleanup) = self.dismantle(&sandbox).await {
                // The record stays: removing the sandbox, or the next start, tries again.
                tracing::warn!(sandbox = id, error = %cleanup, "cannot clean up after a failed start");
            } else {
                self.forget_sandbox(&sandbox).await?;
            }
            return Err(error);
        }
        sandbox.status.lock().ready = true;
        self.publish_sandbox(&sandbox, ContainerEventType::ContainerCreatedEvent);
        self.publish_sandbox(&sandbox, ContainerEventType::ContainerStartedEvent);
        Ok(id)
    }

    fn new_record(
        &self,
        config: v1::PodSandboxConfig,
        runtime_handler: String,
    ) -> Result<SandboxRecord, Error> {
        let id = id::new();
        let namespaces = spec::sandbox_namespaces(&config);
        if Ids::of(&namespaces)?.is_some() && !crate::users::supported() {
            return Err(Error::Unsupported(
                "user namespaces are not supported on this host".to_owned(),
            ));
        }
        let parent = config
            .linux
            .as_ref()
            .map(|linux| linux.cgroup_parent.clone())
            .unwrap_or_default();
        if Path::new(&parent)
            .components()
            .any(|part| part == std::path::Component::ParentDir)
        {
            return Err(Error::InvalidArgument(format!(
                "invalid cgroup parent {parent:?}"
            )));
        }
        let cgroup_parent = if parent.is_empty() {
            self.config.cgroup_root.join("pods").join(&id)
        } else {
            Path::new("/").join(parent)
        };
        Ok(SandboxRecord {
            host_network: namespaces.network() == NamespaceMode::Node,
            shared_pid: namespaces.pid() == NamespaceMode::Pod,
            created_at: crate::files::now(),
            cgroup_parent,
            runtime_handler,
            config,
            id,
        })
    }

    async fn make_sandbox(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
        let netns = self.layout.netns(&sandbox.record.id);
        let shim_cgroup = sandbox.shim_cgroup(self);
        let (made, network_file, cgroup) = (sandbox.clone(), netns.clone(), shim_cgroup.clone());
        let users = self.users(sandbox)?;
        let own_users = users.clone();
        blocking("prepare the sandbox", move || {
            crate::files::make_dir(&made.directory)?;
            crate::files::write_json(&made.directory.join(RECORD_FILE), &made.record)?;
            files::make(&made.directory, &made.record, own_users.as_ref())?;
            if let Some(users) = own_users {
                std::fs::write(users.path, b"")?;
            }
            if !made.record.host_network {
                std::fs::write(&network_file, b"")?;
            }
            cgroup::host().make(&cgroup)?;
            cgroup::host().make(&made.record.cgroup_parent)
        })
        .instrument(tracing::debug_span!("files"))
        .await?;
        let description = shim_spec(&sandbox.record, &netns, &shim_cgroup, users.as_ref());
        // What is made so far ends with this boot. The addresses do not, so the record that names them lasts by then.
        let recorded = sandbox.directory.clone();
        let syncing = blocking("sync the record", move || sync_record(&recorded))
            .instrument(tracing::debug_span!("sync"));
        let spawning = Shim::spawn(sandbox.directory.clone(), &description)
            .instrument(tracing::debug_span!("shim"));
        let (synced, spawned) = tokio::join!(syncing, spawning);
        let (_, mut child) = spawned?;
        let token = self.token.clone();
        self.tasks.spawn(async move {
            // Only so that it does not stay a zombie; its end is noticed by its events' end.
            tokio::select! {
                _ = child.wait() => {}
                () = token.cancelled() => {}
            }
        });
        synced?;
        self.adopt(sandbox).await?;
        if !sandbox.record.host_network {
            let addresses = self
                .attach_network(&sandbox.record, &netns)
                .instrument(tracing::debug_span!("cni"))
                .await?;
            let (file, record) = (
                sandbox.directory.join(NETWORK_FILE),
                NetworkRecord {
                    addresses: addresses.clone(),
                },
            );
            let writing = move || crate::files::write_json(&file, &record);
            blocking("record the network", writing).await?;
            sandbox.status.lock().addresses = addresses;
        }
        Ok(())
    }

    /// A sandbox's own users; `None` where they are the host's.
    pub(crate) fn users(&self, sandbox: &Sandbox) -> Result<Option<Users>, Error> {
        let ids = Ids::of(&spec::sandbox_namespaces(&sandbox.record.config))?;
        let path = self.layout.userns(&sandbox.record.id);
        Ok(ids.map(|ids| Users { path, ids }))
    }

    /// Subscribes to a live shim and learns its pids; what it says of containers.
    pub(crate) async fn adopt(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
    ) -> Result<Vec<knarr_shim::ContainerState>, Error> {
        // Events first, so that nothing falls between them and the state.
        let events = sandbox.shim.subscribe().await?;
        let (
            Response::State {
                pid,
                init_pid,
                containers,
            },
            _,
        ) = sandbox.shim.call(Request::State, Vec::new()).await?
        else {
            return Err(ShimError::Unexpected.into());
        };
        {
            let mut status = sandbox.status.lock();
            status.shim_pid = pid;
            status.init_pid = init_pid;
        }
        let (inner, listened) = (self.clone(), sandbox.clone());
        self.tasks
            .spawn(async move { inner.listen(&listened, events).await });
        Ok(containers)
    }

    async fn listen(self: &Arc<Self>, sandbox: &Arc<Sandbox>, mut events: Events) {
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = self.token.cancelled() => return,
            };
            match event {
                Some(Event::Started {
                    id,
                    pid,
                    started_at,
                }) => {
                    if let Ok(container) = self.container(&id) {
                        self.container_started(&container, pid, started_at);
                    }
                }
                Some(Event::Exited { id, exit }) => {
                    if let Ok(container) = self.container(&id) {
                        self.container_exited(&container, exit);
                    }
                }
                Some(Event::ExecExited {
                    id,
                    exec_id,
                    exit_code,
                }) => {
                    if let Ok(container) = self.container(&id) {
                        container.exec_exited(&exec_id, exit_code);
                    }
                }
                None => {
                    if !sandbox.status.lock().stopping {
                        self.shim_died(sandbox).await;
                    }
                    return;
                }
            }
        }
    }

    async fn attach_network(
        &self,
        record: &SandboxRecord,
        netns: &Path,
    ) -> Result<Vec<IpAddr>, Error> {
        let metadata = record.config.metadata.clone().unwrap_or_default();
        let args: Vec<(String, String)> = [
            ("IgnoreUnknown", "1".to_owned()),
            ("K8S_POD_NAMESPACE", metadata.namespace),
            ("K8S_POD_NAME", metadata.name),
            ("K8S_POD_INFRA_CONTAINER_ID", record.id.clone()),
            ("K8S_POD_UID", metadata.uid),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let capabilities = CapabilityArgs {
            port_mappings: ports::mappings(&record.config)?,
            bandwidth: bandwidth(record)?,
        };
        let adding = self
            .cni
            .add(&record.id, netns, INTERFACE, &args, &capabilities);
        let result = tokio::time::timeout(CNI_TIMEOUT, adding)
            .await
            .map_err(|_| {
                Error::DeadlineExceeded(format!("CNI ADD took longer than {CNI_TIMEOUT:?}"))
            })??;
        let addresses = result.addresses();
        if addresses.is_empty() {
            return Err(Error::State(
                "the network plugin gave the sandbox no address".to_owned(),
            ));
        }
        Ok(addresses)
    }

    /// Kills the containers and takes apart what the sandbox holds. Repeating it is fine, and so is a sandbox that is not
    /// there.
    pub(crate) async fn stop_sandbox(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let Ok(sandbox) = self.sandbox(id) else {
            return Ok(());
        };
        let _operation = sandbox.operation.lock().await;
        self.stop_locked(&sandbox).await
    }

    async fn stop_locked(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
        let stops = self
            .containers_of(&sandbox.record.id)
            .into_iter()
            .map(|container| async move { self.stop_container(&container, Duration::ZERO).await });
        futures::future::try_join_all(stops).await?;
        let was_ready = {
            let mut status = sandbox.status.lock();
            status.stopping = true;
            std::mem::take(&mut status.ready)
        };
        self.dismantle(sandbox).await?;
        let file = sandbox.directory.join(STOPPED_FILE);
        let writing = move || crate::files::write_atomically(&file, b"");
        blocking("record the stop", writing).await?;
        if was_ready {
            self.publish_sandbox(sandbox, ContainerEventType::ContainerStoppedEvent);
        }
        Ok(())
    }

    /// Network, shim, namespaces, mounts.
    pub(crate) async fn dismantle(self: &Arc<Self>, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
        let netns = self.layout.netns(&sandbox.record.id);
        if !sandbox.record.host_network {
            let present = netns.exists().then_some(netns.as_path());
            let deleting = self.cni.del(&sandbox.record.id, present, INTERFACE);
            tokio::time::timeout(CNI_TIMEOUT, deleting)
                .await
                .map_err(|_| {
                    Error::DeadlineExceeded(format!("CNI DEL took longer than {CNI_TIMEOUT:?}"))
                })??;
        }
        match sandbox.shim.order(Request::Shutdown).await {
            Ok(()) | Err(ShimError::Gone(_)) => {}
            // It is killed with its cgroup below.
            Err(error) => {
                tracing::debug!(sandbox = sandbox.record.id, %error, "the shim did not shut down")
            }
        }
        let (directory, cgroup) = (sandbox.directory.clone(), sandbox.shim_cgroup(self));
        let userns = self.layout.userns(&sandbox.record.id);
        blocking("take the sandbox apart", move || {
            cgroup::host().remove(&cgroup)?;
            for namespace in [netns, userns] {
                crate::files::unmount(&namespace)?;
                crate::files::remove(&namespace)?;
            }
            files::unmake(&directory)
        })
        .await?;
        let mut status = sandbox.status.lock();
        status.shim_pid = 0;
        status.init_pid = None;
        Ok(())
    }

    /// Removes a sandbox with its containers; one that is not there is removed.
    pub(crate) async fn remove_sandbox(self: &Arc<Self>, id: &str) -> Result<(), Error> {
        let Ok(sandbox) = self.sandbox(id) else {
            return Ok(());
        };
        let _operation = sandbox.operation.lock().await;
        self.stop_locked(&sandbox).await?;
        for container in self.containers_of(&sandbox.record.id) {
            self.remove_container(&container).await?;
        }
        self.forget_sandbox(&sandbox).await?;
        self.publish_sandbox(&sandbox, ContainerEventType::ContainerDeletedEvent);
        Ok(())
    }

    /// Removes every sandbox, and the cgroups above them.
    pub(crate) async fn remove_all(self: &Arc<Self>) -> Result<(), Error> {
        let ids: Vec<String> = self.sandboxes.lock().keys().cloned().collect();
        let removals = ids.iter().map(|id| self.remove_sandbox(id));
        futures::future::try_join_all(removals).await?;
        let root = self.config.cgroup_root.clone();
        blocking("remove the runtime's cgroups", move || {
            cgroup::host().remove(&root)
        })
        .await
    }

    /// The last step: after it nothing says that there was a sandbox.
    pub(crate) async fn forget_sandbox(&self, sandbox: &Arc<Sandbox>) -> Result<(), Error> {
        let removed = sandbox.clone();
        blocking("remove the sandbox", move || {
            if removed.owns_parent() {
                cgroup::host().remove(&removed.record.cgroup_parent)?;
            }
            crate::files::remove(&removed.directory)
        })
        .await?;
        self.sandboxes.lock().remove(&sandbox.record.id);
        Ok(())
    }

    pub(crate) fn publish_sandbox(&self, sandbox: &Sandbox, kind: ContainerEventType) {
        let status = crate::cri::sandbox_status(sandbox);
        self.events.publish(
            &sandbox.record.id,
            kind,
            Some(status),
            self.statuses_of(&sandbox.record.id),
        );
    }
}

/// What the pod may receive and send.
fn bandwidth(record: &SandboxRecord) -> Result<Option<Bandwidth>, Error> {
    let asked = Bandwidth::of_annotations(&record.config.annotations);
    asked.map_err(|source| Error::Bandwidth {
        id: record.id.clone(),
        source,
    })
}

fn sync_record(directory: &Path) -> std::io::Result<()> {
    std::fs::File::open(directory.join(RECORD_FILE))?.sync_all()?;
    knarr_host::sync_directory(directory)?;
    match directory.parent() {
        Some(parent) => knarr_host::sync_directory(parent),
        None => Ok(()),
    }
}

fn shim_spec(
    record: &SandboxRecord,
    netns: &Path,
    cgroup: &Path,
    users: Option<&Users>,
) -> SandboxSpec {
    let namespaces = spec::sandbox_namespaces(&record.config);
    let hostname = if record.config.hostname.is_empty() {
        nix::unistd::gethostname()
            .ok()
            .and_then(|name| name.into_string().ok())
            .unwrap_or_default()
    } else {
        record.config.hostname.clone()
    };
    SandboxSpec {
        id: record.id.clone(),
        hostname: (!record.host_network).then_some(hostname),
        new_net: !record.host_network,
        new_ipc: namespaces.ipc() != NamespaceMode::Node,
        shared_pid: record.shared_pid,
        netns_path: (!record.host_network).then(|| netns.to_path_buf()),
        sysctls: sysctls::of(record, users.is_some()),
        cgroup_procs: cgroup::host().procs(cgroup),
        oom_score_adj: i32::try_from(spec::limits().clamp_oom_score_adj(SHIM_OOM_SCORE_ADJ.into()))
            .unwrap_or_default(),
        users: users.map(Users::namespace),
    }
}
