//! A control plane and a node in one process: the order in which they start and stop.
//!
//! Start: store and API server beside the container runtime, then everything that is a client of them. Stop is the reverse, each
//! stage with a deadline of its own, so that what a part writes last still finds the parts below it.

use std::{net::SocketAddr, path::Path};

use anyhow::{Error, Result};
use tracing::info;

use crate::{
    cli::Up,
    control_plane::ControlPlane,
    network,
    node::{self, ClusterSettings, ContainerRuntime, Host, Node},
    parts::Failure,
    progress::Progress,
};

/// A running cluster.
pub struct Cluster {
    control_plane: ControlPlane,
    node: Node,
    failure: Failure,
}

impl Cluster {
    /// Starts everything; returns when the API server answers and every part runs.
    pub async fn start(flags: &Up, host: Host, progress: &Progress) -> Result<Self> {
        let settings = node::Settings {
            host,
            name: node::name(&flags.node)?,
            ip: node::ip(&flags.node).await?,
            flags: flags.node.clone(),
            cluster: cluster_settings(flags),
        };
        let failure = Failure::new();
        let (runtime, control_plane) = tokio::try_join!(
            progress.step(
                "container runtime",
                ContainerRuntime::start(&settings.host, &flags.node, &failure)
            ),
            ControlPlane::start(flags, &settings.name, settings.ip, &failure, progress),
        )?;
        let node = Node::start(
            &settings,
            runtime,
            control_plane.clients(),
            control_plane.kubelet_serving()?,
            progress,
        );
        Ok(Self {
            node: node.await?,
            control_plane,
            failure,
        })
    }

    pub fn address(&self) -> SocketAddr {
        self.control_plane.address()
    }

    pub fn write_kubeconfig(&self, api: &str, path: &Path) -> Result<()> {
        self.control_plane.write_kubeconfig(api, path)
    }

    /// Waits until a part ends that should not.
    pub async fn failed(&self) -> Error {
        self.failure.happened().await
    }

    /// Stops clients of the API, the runtime, the server and the store in this order. Containers go on.
    pub async fn stop(&self) {
        tokio::join!(self.control_plane.stop_clients(), self.node.stop_clients());
        self.node.stop_runtime().await;
        self.control_plane.stop_server().await;
        info!("stopped");
    }
}

fn cluster_settings(flags: &Up) -> ClusterSettings {
    ClusterSettings {
        cluster_cidr: flags.cluster_cidr,
        service_cidr: flags.service_cidr,
        cluster_dns: network::cluster_dns(flags),
        cluster_domain: flags.cluster_domain.clone(),
        network_policy: flags.network_policy,
    }
}
