//! A node's network: what pods need of the kernel, Services, network policies, cluster DNS.

use std::net::IpAddr;

use anyhow::{Context, Result};
use knarr_client::Informers;
use knarr_cni::node::NodeNetwork;
use knarr_dns::Dns;
use knarr_policy::NetworkPolicies;
use knarr_proxy::Proxy;

use super::Parts;
use crate::network;

/// Starts all of it; pods may start afterwards.
pub(super) async fn start(parts: &Parts<'_>) -> Result<()> {
    let (host, cluster) = (&parts.settings.host, &parts.settings.cluster);
    let network = NodeNetwork {
        instance: host.instance,
        data_dir: host.data_dir.clone(),
        node_ip: parts.settings.ip,
        cluster_cidr: cluster.cluster_cidr.pair(),
        service_cidr: cluster.service_cidr.pair(),
        dns_listen: network::DNS_LISTEN,
    };
    knarr_cni::node::prepare(&network).await?;
    start_proxy(parts);
    start_policies(parts).await?;
    start_dns(parts).await
}

/// Services.
fn start_proxy(parts: &Parts<'_>) {
    let (settings, cluster) = (parts.settings, &parts.settings.cluster);
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_user("system:kube-proxy", &["system:authenticated"]);
    let proxy = Proxy::new(
        knarr_proxy::Config {
            table: knarr_proxy::table(&settings.host.instance),
            node_name: settings.name.clone(),
            cluster_cidr: cluster.cluster_cidr.pair(),
            service_cidr: cluster.service_cidr.pair(),
            node_local_dns: Some((cluster.cluster_dns, network::DNS_LISTEN)),
        },
        &Informers::new(client, token.clone()),
    );
    parts.tasks.keep("service proxy", proxy.run(token));
}

/// What pods may reach; before any can start.
async fn start_policies(parts: &Parts<'_>) -> Result<()> {
    let host = &parts.settings.host;
    if !parts.settings.cluster.network_policy {
        // Of a start with them.
        return Ok(knarr_policy::teardown(&host.instance).await?);
    }
    let config = knarr_policy::Config {
        table: knarr_policy::table(&host.instance),
        node_name: parts.settings.name.clone(),
        node_local_dns: Some(network::DNS_LISTEN),
        socket: network::policy_socket(&host.data_dir),
        cni_data_dir: host.data_dir.join("cni"),
        cni_network: network::NETWORK.to_owned(),
    };
    let listener = knarr_policy::listen(&config.socket)
        .with_context(|| format!("cannot listen on {}", config.socket.display()))?;
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account("kube-system", "network-policy");
    // Thousands of policies may be much to think about.
    parts
        .tasks
        .keep_apart("network policies", move || {
            let informers = Informers::new(client.clone(), token.clone());
            NetworkPolicies::new(config, listener, client, &informers).run(token)
        })
        .context("network policies have no thread")
}

/// The node's own server of names.
async fn start_dns(parts: &Parts<'_>) -> Result<()> {
    let cluster = &parts.settings.cluster;
    let token = parts.tasks.token().child_token();
    let client = parts.clients.as_service_account("kube-system", "kube-dns");
    let config = knarr_dns::Config {
        listen: network::DNS_LISTEN,
        port: network::DNS_PORT,
        cluster_domain: cluster.cluster_domain.clone(),
        forwarders: knarr_dns::node_resolvers(&parts.settings.flags.resolv_conf),
        aliases: vec![IpAddr::V4(cluster.cluster_dns)],
    };
    let dns = Dns::new(config, &Informers::new(client, token.clone())).await?;
    parts.tasks.keep("cluster DNS", dns.run(token));
    Ok(())
}
