//! A node's network: what pods need of the kernel and of their runtime, Services, network policies, cluster DNS.

use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1;
use knarr_announce::Announcer;
use knarr_auth::node_accounts;
use knarr_client::{Informer, InformerScope, Informers, events::Recorder};
use knarr_cni::{
    node::{Kept, Leases, NodeNetwork},
    peers::{self, Peers},
};
use knarr_dns::{Configuration, Dns};
use knarr_policy::NetworkPolicies;
use knarr_proxy::Proxy;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tracing::{error, info};

use super::{Network, Parts, Settings};
use crate::{cli::Part, network, ranges::Ranges};

/// Starts what is ours of it; pods may start afterwards.
pub(super) async fn start(parts: &Parts<'_>) -> Result<()> {
    let settings = parts.settings;
    if settings.network != Network::Foreign {
        start_pod_network(parts).await?;
    }
    if settings.network == Network::Cluster {
        start_peers(parts);
    }
    if settings.has(Part::Proxy) {
        start_proxy(parts);
        start_announcer(parts);
    }
    if settings.network != Network::Foreign {
        start_policies(parts).await?;
    }
    match settings.has(Part::Dns) {
        true => start_dns(parts).await,
        false => Ok(()),
    }
}

/// What pods need of the kernel.
async fn start_pod_network(parts: &Parts<'_>) -> Result<()> {
    let (host, cluster) = (&parts.settings.host, &parts.settings.cluster);
    let network = NodeNetwork {
        instance: host.instance,
        data_dir: host.data_dir.clone(),
        node_ips: parts.settings.ips.clone(),
        cluster_cidrs: cluster.cluster_cidr.to_vec(),
        service_cidrs: cluster.service_cidr.to_vec(),
        dns_listen: network::DNS_LISTEN,
    };
    let leases = Leases {
        data_dir: host.data_dir.join("cni"),
        network: network::NETWORK.to_owned(),
    };
    let kept = Kept::prepare(network, leases).await?;
    let token = parts.tasks.token().child_token();
    parts.tasks.keep("pod network", kept.run(token));
    Ok(())
}

/// Tells the container runtime how pods get addresses, as soon as the node has a range of them; what it returns is rung then.
pub(super) async fn configure(parts: &Parts<'_>) -> Result<Arc<Notify>> {
    let settings = parts.settings;
    let configured = Arc::new(Notify::new());
    if settings.network == Network::Foreign {
        return Ok(configured);
    }
    network::forget_cni_of_others(&settings.host.data_dir, &settings.cluster.cluster_cidr)?;
    let user = format!("system:node:{}", settings.name);
    let client = parts
        .clients
        .as_user(&user, &["system:nodes", "system:authenticated"]);
    let token = parts.tasks.token().child_token();
    let nodes = Informers::new(client, token).informer_with::<v1::Node>(InformerScope {
        field_selector: Some(format!("metadata.name={}", settings.name)),
        ..InformerScope::default()
    });
    let outer = settings.ips.first().context("the node has no address")?;
    let mtu = peers::pod_mtu(*outer, settings.flags.node_reach.into()).await?;
    follow_pod_cidr(&nodes, settings, mtu, configured.clone());
    Ok(configured)
}

/// Gives pods addresses of the range that the node was given, as soon as it is; rings when it has.
fn follow_pod_cidr(
    nodes: &Informer<v1::Node>,
    settings: &Settings,
    mtu: u32,
    configured: Arc<Notify>,
) {
    let data_dir = settings.host.data_dir.clone();
    let instance = settings.host.instance;
    let network_policy = settings.cluster.network_policy;
    let cluster = settings.cluster.cluster_cidr.clone();
    let told = Told::default();
    nodes.on_event(move |event| {
        let Some(pods) = pod_ranges(event.object(), &cluster) else {
            return;
        };
        let outcome = told.tell(&pods, || {
            let network = network::PodNetwork {
                instance,
                pods: pods.clone(),
                mtu,
                network_policy,
            };
            network::write_cni(&data_dir, &network)
        });
        match outcome {
            None => {}
            Some(Ok(())) => {
                info!(cidr = %pods, "pods of this node get addresses");
                configured.notify_one();
            }
            Some(Err(error)) => error!(
                error = format!("{error:#}"),
                "cannot configure the pod network"
            ),
        }
    });
}

/// The ranges that the runtime has been told of.
#[derive(Default)]
struct Told(Mutex<Option<Ranges>>);

impl Told {
    /// Writes what it does not know yet. What could not be written is tried again with the node's next event, which its status brings.
    fn tell(&self, pods: &Ranges, write: impl FnOnce() -> Result<()>) -> Option<Result<()>> {
        let mut told = self.0.lock();
        if told.as_ref() == Some(pods) {
            return None;
        }
        let outcome = write();
        if outcome.is_ok() {
            *told = Some(pods.clone());
        }
        Some(outcome)
    }
}

/// The node's own ranges, when it has them: one of each family of the cluster, but of a node that is older than a family, whose ranges
/// cannot be changed. Those of families that the cluster has had are of no use: nobody judges what is sent there.
fn pod_ranges(node: &v1::Node, cluster: &Ranges) -> Option<Ranges> {
    let spec = node.spec.as_ref()?;
    let several = spec.pod_cidrs.as_ref().filter(|ranges| !ranges.is_empty());
    let text = match several {
        Some(ranges) => ranges.join(","),
        None => spec.pod_cidr.clone()?,
    };
    text.parse::<Ranges>().ok()?.of_families(cluster)
}

/// The way to the pods of other nodes.
fn start_peers(parts: &Parts<'_>) {
    let (settings, cluster) = (parts.settings, &parts.settings.cluster);
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account(node_accounts::NAMESPACE, node_accounts::POD_NETWORK);
    let informers = Informers::new(client.clone(), token.clone());
    let config = peers::Config {
        instance: settings.host.instance,
        node_name: settings.name.clone(),
        node_ips: settings.ips.clone(),
        cluster_cidrs: cluster.cluster_cidr.to_vec(),
        service_cidrs: cluster.service_cidr.to_vec(),
        reach: settings.flags.node_reach.into(),
    };
    let peers = Peers::new(config, client, &informers);
    parts.tasks.keep("routes to nodes", peers.run(token));
}

/// Services.
fn start_proxy(parts: &Parts<'_>) {
    let (settings, cluster) = (parts.settings, &parts.settings.cluster);
    let dns = cluster.cluster_dns.iter();
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account(node_accounts::NAMESPACE, node_accounts::SERVICE_PROXY);
    let proxy = Proxy::new(
        knarr_proxy::Config {
            table: knarr_proxy::table(&settings.host.instance),
            node_name: settings.name.clone(),
            cluster_cidrs: cluster.cluster_cidr.to_vec(),
            service_cidrs: cluster.service_cidr.to_vec(),
            node_local_dns: match settings.has(Part::Dns) {
                true => dns.map(|ip| (*ip, network::dns_listen(*ip))).collect(),
                false => Vec::new(),
            },
            reserved_ports: settings.reserved_ports.clone(),
        },
        &Informers::new(client, token.clone()),
    );
    parts.tasks.keep("service proxy", proxy.run(token));
}

/// Addresses of load balancers on the node's links.
fn start_announcer(parts: &Parts<'_>) {
    let (settings, cluster) = (parts.settings, &parts.settings.cluster);
    if cluster.load_balancer_ranges.is_empty() {
        return;
    }
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account(node_accounts::NAMESPACE, node_accounts::SERVICE_PROXY);
    let config = knarr_announce::Config {
        node_name: settings.name.clone(),
        node_ips: settings.ips.clone(),
        ranges: cluster.load_balancer_ranges.clone(),
    };
    let announcer = Announcer::new(config, &Informers::new(client, token.clone()));
    let name = "announcing of load balancers' addresses";
    parts.tasks.keep(name, announcer.run(token));
}

/// What pods may reach; before any can start.
async fn start_policies(parts: &Parts<'_>) -> Result<()> {
    let (host, cluster) = (&parts.settings.host, &parts.settings.cluster);
    let dns = cluster.cluster_dns.iter();
    if !cluster.network_policy {
        // Of a start with them.
        return Ok(knarr_policy::teardown(&host.instance).await?);
    }
    let config = knarr_policy::Config {
        table: knarr_policy::table(&host.instance),
        node_name: parts.settings.name.clone(),
        cluster_cidrs: cluster.cluster_cidr.to_vec(),
        node_local_dns: dns.map(|ip| network::dns_listen(*ip)).collect(),
        socket: network::policy_socket(&host.data_dir),
        cni_data_dir: host.data_dir.join("cni"),
        cni_network: network::NETWORK.to_owned(),
    };
    let listener = knarr_policy::listen(&config.socket)
        .with_context(|| format!("cannot listen on {}", config.socket.display()))?;
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account(node_accounts::NAMESPACE, node_accounts::NETWORK_POLICY);
    // Thousands of policies may be much to think about.
    parts
        .tasks
        .keep_apart("network policies", move || {
            let informers = Informers::new(client.clone(), token.clone());
            NetworkPolicies::new(config, listener, client, &informers).run(token)
        })
        .context("network policies have no thread")
}

/// The node's own server of names; and once more where other nodes ask it.
async fn start_dns(parts: &Parts<'_>) -> Result<()> {
    let cluster = &parts.settings.cluster;
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account(node_accounts::NAMESPACE, node_accounts::CLUSTER_DNS);
    let informers = Informers::new(client.clone(), token.clone());
    if let Some(path) = parts.settings.kept_names.clone() {
        let keeper = knarr_dns::keeper(&cluster.cluster_domain, path, &informers)?;
        let name = "names for a start without a server";
        parts.tasks.keep(name, keeper.run(token.clone()));
    }
    let own = cluster.cluster_dns.iter();
    let own = own.map(|service| network::dns_listen(*service));
    let listens: Vec<_> = own.chain(parts.settings.dns_also).collect();
    let around = knarr_dns::surroundings(
        &cluster.cluster_domain,
        knarr_dns::node_resolvers(&parts.settings.flags.resolv_conf),
        [listens.clone(), cluster.cluster_dns.clone()].concat(),
    )?;
    let recorder = Recorder::new(client, "kube-dns", parts.settings.name.as_str());
    let configuration = Configuration::new(around, &informers, recorder);
    for listen in listens {
        let config = knarr_dns::Config {
            listen,
            port: network::DNS_PORT,
            cluster_domain: cluster.cluster_domain.clone(),
            kept: parts.settings.kept_names.clone(),
        };
        let dns = Dns::new(config, &informers, &configuration).await?;
        parts.tasks.keep("cluster DNS", dns.run(token.clone()));
    }
    let name = "the configuration of cluster DNS";
    parts.tasks.keep(name, configuration.run(token));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_uses_ranges_of_the_clusters_families() {
        let (four, six) = ("10.42.1.0/24", "fd42:0:0:1::/64");
        for (node, cluster, wanted) in [
            (json!([four, six]), "10.42.0.0/16", Some(four)),
            (json!([four, six]), "fd42::/48", Some(six)),
            (json!([four]), "10.42.0.0/16,fd42::/48", Some(four)),
            (json!([four]), "fd42::/48", None),
            (json!([]), "10.42.0.0/16", None),
        ] {
            let made = json!({"metadata": {"name": "a"}, "spec": {"podCIDRs": node}});
            let made = serde_json::from_value(made).unwrap();
            let ranges = pod_ranges(&made, &cluster.parse().unwrap());
            let ranges = ranges.map(|ranges| ranges.to_string());
            assert_eq!(ranges.as_deref(), wanted, "{node} in {cluster}");
        }
    }
}
