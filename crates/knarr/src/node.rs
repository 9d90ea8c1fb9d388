//! A node: container runtime, pod network, Services, network policies, DNS, log agent, kubelet.
//!
//! It is a client of the API and of nothing else of the control plane: whether that is in this process or on another machine, no
//! part of it can tell. The runtime is started first, beside the control plane or while the node still joins; the rest follows
//! when there is an API to speak to, and the kubelet last, when pods can have a network.

mod kubelet;
mod logs;
mod name;
mod network;
mod runtime;

use std::{
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use knarr_client::Clients;
use knarr_cni::InstanceId;
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;

pub use self::{kubelet::Serving, name::name, runtime::ContainerRuntime};
use crate::{
    cidr::Cidr,
    cli::{NodeFlags, Part, WithoutFlags},
    instance::{ForeignRuntime, Instance},
    parts,
    progress::Progress,
};

/// How long each stage may take to stop. With those of the control plane they stay below what service managers grant.
const CLIENTS_STOP: Duration = Duration::from_secs(10);
const RUNTIME_STOP: Duration = Duration::from_secs(5);

/// What is made on the host bears this.
#[derive(Clone, Debug)]
pub struct Host {
    pub instance: InstanceId,
    pub data_dir: PathBuf,
    /// The control group of shims and pods.
    pub cgroup: PathBuf,
}

impl Host {
    pub fn of(data_dir: &Path, flags: &NodeFlags, lock: &Instance) -> Result<Self> {
        let instance = lock.identity(data_dir)?;
        Ok(Self {
            cgroup: flags.cgroup_root.join(instance.as_str()),
            data_dir: data_dir.to_owned(),
            instance,
        })
    }

    /// Where the node's pods are, if not in the embedded runtime.
    pub fn foreign_runtime(&self, flags: &NodeFlags) -> Option<ForeignRuntime> {
        let endpoint = flags.container_runtime_endpoint.clone()?;
        Some(ForeignRuntime {
            endpoint,
            owner: self.instance.to_string(),
        })
    }
}

/// What every node of a cluster has to know of it.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Addresses of pods.
    pub cluster_cidr: Cidr,
    /// Addresses of Services.
    pub service_cidr: Cidr,
    /// Address of the kube-dns Service.
    pub cluster_dns: Ipv4Addr,
    pub cluster_domain: String,
    pub network_policy: bool,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host: Host,
    pub name: String,
    pub ip: Ipv4Addr,
    pub flags: NodeFlags,
    pub cluster: ClusterSettings,
    /// Parts that others take the places of.
    pub without: WithoutFlags,
    pub network: Network,
    /// An address of this node under which cluster DNS answers, too: for other nodes that have no resolver but this one.
    pub dns_also: Option<Ipv4Addr>,
    /// TCP ports of its own addresses that no Service gets.
    pub reserved_ports: Vec<u16>,
}

/// Whose network the node's pods have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Ours, with the way to the pods of all other nodes.
    Cluster,
    /// Ours, on this node.
    Node,
    /// Another runtime's.
    Foreign,
}

impl Settings {
    /// Whether a part is ours.
    fn has(&self, part: Part) -> bool {
        self.without.has(part)
    }

    /// Whose address may change, and what it is: not one that was told by a flag.
    pub fn moves(&self) -> Option<(InstanceId, Ipv4Addr)> {
        let is_found = self.flags.node_ip.is_none();
        is_found.then_some((self.host.instance, self.ip))
    }
}

/// A running node.
pub struct Node {
    /// Clients of the API, and the container runtime: in this order they stop.
    clients: Tasks,
    runtime: ContainerRuntime,
}

/// What the parts are made from.
struct Parts<'a> {
    settings: &'a Settings,
    clients: &'a dyn Clients,
    tasks: &'a Tasks,
}

impl Node {
    /// Starts all parts but the runtime, which runs already; returns when each runs.
    pub async fn start(
        settings: &Settings,
        runtime: ContainerRuntime,
        clients: Arc<dyn Clients>,
        serving: Serving,
        progress: &Progress,
    ) -> Result<Self> {
        let tasks = Tasks::new(CancellationToken::new());
        let parts = Parts {
            settings,
            clients: &*clients,
            tasks: &tasks,
        };
        progress.step("network", network::start(&parts)).await?;
        let configured = network::configure(&parts).await?;
        if settings.has(Part::LocalPathProvisioner) {
            kubelet::start_local_path(&parts);
        }
        if settings.has(Part::Kubelet) {
            let node_logs = logs::start(&parts)?;
            let ground = kubelet::Ground {
                endpoint: runtime.endpoint().to_owned(),
                node_logs,
                network_configured: configured,
            };
            let kubelet = kubelet::start(&parts, ground, serving);
            progress.step("kubelet", kubelet).await?;
        }
        Ok(Self {
            clients: tasks,
            runtime,
        })
    }

    /// Stops what speaks with the API.
    pub async fn stop_clients(&self) {
        parts::stop("the node's parts", &self.clients, CLIENTS_STOP).await;
    }

    /// Stops the container runtime; containers go on.
    pub async fn stop_runtime(&self) {
        parts::stop("container runtime", self.runtime.tasks(), RUNTIME_STOP).await;
    }
}

/// The address that was given, or that of the default route.
pub async fn ip(flags: &NodeFlags) -> Result<Ipv4Addr> {
    let address = match flags.node_ip {
        Some(address) => address,
        None => knarr_cni::node::detect_node_ip().await?,
    };
    if address.is_loopback() {
        bail!(
            "this machine has no address beside loopback ones; give it one, or name one with --node-ip"
        );
    }
    Ok(address)
}
