//! A node: container runtime, pod network, Services, network policies, DNS, log agent, kubelet.
//!
//! It is a client of the API and of nothing else of the control plane: whether that is in this process or on another machine, no
//! part of it can tell. The runtime is started first, beside the control plane or while the node still joins; the rest follows
//! when there is an API to speak to, and the kubelet last, when pods can have a network.

mod former;
mod kubelet;
mod logs;
mod name;
mod network;
mod runtime;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use knarr_client::Clients;
use knarr_cni::InstanceId;
use knarr_tasks::Tasks;
use tokio_util::sync::CancellationToken;

pub use self::{
    former::ips_or_former,
    kubelet::Serving,
    name::{check as check_name, name, node_name},
    runtime::ContainerRuntime,
};
use crate::{
    cli::{NodeFlags, Part, WithoutFlags},
    instance::{ForeignRuntime, Instance},
    parts,
    progress::Progress,
    ranges::Ranges,
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
    pub cluster_cidr: Ranges,
    /// Addresses of Services, of the same families.
    pub service_cidr: Ranges,
    /// Addresses of the kube-dns Service, of each family one.
    pub cluster_dns: Vec<IpAddr>,
    pub cluster_domain: String,
    pub network_policy: bool,
    /// Addresses of load balancers that nodes answer for.
    pub load_balancer_ranges: knarr_announce::Ranges,
}

/// One node.
#[derive(Clone, Debug)]
pub struct Settings {
    pub host: Host,
    pub name: String,
    /// Of each of the cluster's families one, in their order.
    pub ips: Vec<IpAddr>,
    pub flags: NodeFlags,
    pub cluster: ClusterSettings,
    /// Parts that others take the places of.
    pub without: WithoutFlags,
    pub network: Network,
    /// An address of this node under which cluster DNS answers, too: for other nodes that have no resolver but this one.
    pub dns_also: Option<IpAddr>,
    /// Where the cluster's names are kept for a start while no server answers.
    pub kept_names: Option<PathBuf>,
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

    /// Whose addresses may change, and what they are: not those that were told by a flag.
    pub fn moves(&self) -> Option<(InstanceId, Vec<IpAddr>)> {
        let is_found = |ip: &IpAddr| !self.flags.node_ip.contains(ip);
        let found: Vec<IpAddr> = self.ips.iter().copied().filter(is_found).collect();
        (!found.is_empty()).then_some((self.host.instance, found))
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

/// The node's addresses of a cluster's families, in their order: those that were given, or those of the default routes.
pub async fn ips(given: &[IpAddr], cluster: &Ranges) -> Result<Vec<IpAddr>> {
    if let Some(odd) = given.iter().find(|ip| !cluster.has_family_of(**ip)) {
        bail!(
            "--node-ip {odd} is of no family of the cluster, whose pods have addresses of {cluster}"
        );
    }
    let known = known_ips(given).await?;
    of_cluster(&known, cluster)
}

/// The machine's addresses, of either family: those that were given, or those of the default routes.
pub async fn known_ips(given: &[IpAddr]) -> Result<Vec<IpAddr>> {
    let mut known = given.to_vec();
    for ipv6 in [false, true] {
        if !given.iter().any(|ip| ip.is_ipv6() == ipv6) {
            known.extend(knarr_cni::node::detect_node_ip(ipv6).await?);
        }
    }
    Ok(known)
}

/// Of a machine's addresses those of a cluster's families, in their order.
pub fn of_cluster(known: &[IpAddr], cluster: &Ranges) -> Result<Vec<IpAddr>> {
    let of_family = |ipv6| {
        let ip = known.iter().find(|ip| ip.is_ipv6() == ipv6).copied();
        let family = if ipv6 { "IPv6" } else { "IPv4" };
        ip.with_context(|| {
            format!(
                "this machine has no address of {family} beside loopback and link-local ones, of which the cluster needs one \
                 (its pods have addresses of {cluster}); give it one, or name one with --node-ip"
            )
        })
    };
    cluster.families().map(of_family).collect()
}
