//! A control plane and a node in one process, and the processes of more nodes beside it: the order in which they start and stop.
//!
//! Start: store and API server beside the container runtime, then everything that is a client of them; the other nodes join as soon
//! as there is an API server. Stop is the reverse, each stage with a deadline of its own, so that what a part writes last still
//! finds the parts below it.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
};

use anyhow::{Context, Error, Result};
use knarr_cni::{
    InstanceId,
    local::{self, LocalNodes},
};
use tracing::{info, warn};

use crate::{
    cli::{Part, Reach, ServerFlags, Up, WithoutFlags},
    control_plane::{self, ControlPlane},
    node::{self, ClusterSettings, ContainerRuntime, Host, Network, Node},
    nodes::{self, Nodes},
    parts::Failure,
    progress::Progress,
    traffic,
};

/// A running cluster.
pub struct Cluster {
    control_plane: ControlPlane,
    node: Node,
    nodes: Option<Arc<Nodes>>,
    /// Whose address may change, and what it is.
    moves: Option<(InstanceId, Vec<IpAddr>)>,
    failure: Failure,
}

impl Cluster {
    /// Starts everything; returns when the API server answers and every part runs, with several nodes when all are Ready.
    pub async fn start(flags: &Up, host: Host, progress: &Progress) -> Result<Self> {
        let others = match flags.nodes {
            1 => None,
            _ => Some(Others::prepare(flags, &host).await?),
        };
        let mut node_flags = flags.node.clone();
        if others.is_some() {
            // They are on one bridge.
            node_flags.node_reach = Reach::Direct;
        }
        let settings = node::Settings {
            name: node::name(&flags.node, &host.data_dir)?,
            ips: match &others {
                Some(others) => others.ips.clone(),
                None => {
                    let (given, cluster) = (&flags.node.node_ip, &flags.server.cluster_cidr);
                    node::ips_or_former(&host.data_dir, given, cluster).await?
                }
            },
            host,
            flags: node_flags,
            cluster: ClusterSettings {
                load_balancer_ranges: traffic::announced(flags)?,
                ..cluster_settings(&flags.server, &flags.without)
            },
            without: flags.without.clone(),
            network: Network::Cluster,
            kept_names: None,
            dns_also: others.as_ref().and_then(|others| others.resolver()),
            reserved_ports: traffic::own_ports(flags),
        };
        let failure = Failure::new();
        let control_plane = control_plane_settings(flags, &settings).await;
        let (runtime, control_plane) = tokio::try_join!(
            progress.step(
                "container runtime",
                ContainerRuntime::start(&settings.host, &flags.node, &failure, progress)
            ),
            ControlPlane::start(&flags.server, &control_plane, &failure, progress),
        )?;
        remove_surplus(flags, &settings, &control_plane, progress).await?;
        let moves = settings.moves().filter(|_| others.is_none());
        let nodes = match others {
            Some(others) => Some(others.start(flags, &settings, &control_plane)?),
            None => None,
        };
        let node = Node::start(
            &settings,
            runtime,
            control_plane.clients(),
            control_plane.kubelet_serving()?,
            progress,
        );
        let cluster = Self {
            node: node.await?,
            nodes,
            moves,
            control_plane,
            failure,
        };
        if let Some(nodes) = &cluster.nodes {
            let client = cluster.control_plane.administrator();
            nodes.ready(&settings.name, client, progress).await?;
        }
        Ok(cluster)
    }

    pub fn address(&self) -> SocketAddr {
        self.control_plane.address()
    }

    pub fn write_kubeconfig(&self, api: &str, path: &Path) -> Result<()> {
        self.control_plane.write_kubeconfig(api, path)
    }

    /// Waits until the machine has another address than the one that all parts know; for ever where it was told by a flag, or is one of
    /// ours.
    pub async fn moved(&self) -> IpAddr {
        match &self.moves {
            Some((instance, ips)) => knarr_cni::node::moved(instance, ips).await,
            None => std::future::pending().await,
        }
    }

    /// Waits until a part ends that should not.
    pub async fn failed(&self) -> Error {
        self.failure.happened().await
    }

    /// Stops clients of the API, the runtime, the server and the store in this order. Containers go on.
    pub async fn stop(&self) {
        let here = async {
            tokio::join!(self.control_plane.stop_clients(), self.node.stop_clients());
            self.node.stop_runtime().await;
        };
        let others = async {
            if let Some(nodes) = &self.nodes {
                nodes.stop().await;
            }
        };
        tokio::join!(here, others);
        self.control_plane.stop_server().await;
        info!("stopped");
    }
}

async fn control_plane_settings(flags: &Up, node: &node::Settings) -> control_plane::Settings {
    // With nodes that have a network of their own, the machine's addresses are none of the first node's; clients use them all the
    // same.
    let machine = match flags.nodes {
        1 => Vec::new(),
        _ => node::known_ips(&[]).await.unwrap_or_default(),
    };
    control_plane::Settings {
        data_dir: node.host.data_dir.clone(),
        identity: node.host.instance.to_string(),
        name: node.name.clone(),
        addresses: node.ips.clone(),
        cluster: node.cluster.clone(),
        without: flags.without.clone(),
        extra_sans: machine
            .iter()
            .map(ToString::to_string)
            .chain(flags.server.tls_san.iter().cloned())
            .collect(),
        service_lb: traffic::service_lb(flags, node),
        ingress: traffic::ingress(flags, node),
    }
}

/// Removes the nodes that the cluster has no more. Before others start: they may have the same addresses.
async fn remove_surplus(
    flags: &Up,
    settings: &node::Settings,
    control_plane: &ControlPlane,
    progress: &Progress,
) -> Result<()> {
    let host = &settings.host;
    let surplus = nodes::surplus(&host.data_dir, &settings.name, flags.nodes)?;
    for node in &surplus {
        let client = control_plane.administrator();
        let removal = nodes::remove(&host.data_dir, &host.instance, node, client);
        let removed = progress.step(&format!("remove node {node}"), removal).await;
        if let Err(error) = removed {
            // The next start tries again; the cluster is none the worse for it.
            progress.line(&format!("    {error:#}"));
            warn!(node, error = format!("{error:#}"), "cannot remove a node");
        }
    }
    if flags.nodes == 1 && !surplus.is_empty() {
        local::teardown(&host.instance).await?;
    }
    Ok(())
}

/// The nodes beside the first, before they can start.
struct Others {
    network: LocalNodes,
    /// The first node's, on the network that it has with the others: of each of the cluster's families, in their order.
    ips: Vec<IpAddr>,
    /// Where the first node can be asked for names, in any cluster.
    resolver: IpAddr,
    resolvers: nodes::Resolvers,
}

impl Others {
    async fn prepare(flags: &Up, host: &Host) -> Result<Self> {
        let network = LocalNodes::prepare(local::Settings {
            instance: host.instance,
            range: None,
            ipv6: flags.server.cluster_cidr.has_ipv6(),
            data_dir: host.data_dir.clone(),
        });
        let network = network.await?;
        let addresses = network.addresses()?;
        let resolver = *addresses.first().context("nodes here have no address")?;
        let resolvers = nodes::Resolvers::of(&flags.node.resolv_conf, resolver);
        Ok(Self {
            ips: node::of_cluster(&addresses, &flags.server.cluster_cidr)?,
            network,
            resolver,
            resolvers,
        })
    }

    /// Where cluster DNS answers the other nodes, if they cannot ask whom the first asks.
    fn resolver(&self) -> Option<IpAddr> {
        self.resolvers.relayed().then_some(self.resolver)
    }

    fn start(
        self,
        flags: &Up,
        settings: &node::Settings,
        control_plane: &ControlPlane,
    ) -> Result<Arc<Nodes>> {
        let mut node_flags = flags.node.clone();
        node_flags.resolv_conf = self
            .resolvers
            .write(&settings.host.data_dir)
            .context("cannot write the resolvers of other nodes")?;
        let first = *self.ips.first().context("the first node has no address")?;
        let server = SocketAddr::new(first, control_plane.address().port());
        let settings = nodes::Settings {
            data_dir: settings.host.data_dir.clone(),
            first: settings.name.clone(),
            count: flags.nodes,
            server: format!("https://{server}"),
            families: flags.server.cluster_cidr.clone(),
            tokens: nodes::Tokens::new(control_plane.administrator(), control_plane.ca_pem()),
            flags: node_flags,
            without: flags.without.clone(),
            log: flags.log.clone(),
        };
        let commands =
            nodes::listen(&settings.data_dir).context("cannot listen for commands to nodes")?;
        Ok(Nodes::start(settings, self.network, commands))
    }
}

/// What every node of the cluster is told.
pub fn cluster_settings(flags: &ServerFlags, without: &WithoutFlags) -> ClusterSettings {
    ClusterSettings {
        cluster_cidr: flags.cluster_cidr.clone(),
        service_cidr: flags.service_cidr.clone(),
        cluster_dns: flags.cluster_dns(),
        cluster_domain: flags.cluster_domain.clone(),
        network_policy: flags.network_policy && without.has(Part::NetworkPolicy),
        load_balancer_ranges: knarr_announce::Ranges::default(),
    }
}
