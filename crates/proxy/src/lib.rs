//! The service proxy: what kube-proxy does, in nftables.
//!
//! ```text
//! informers (Service, EndpointSlice) -> dirty service keys -> model (which endpoints, for whom)
//!     -> rules (what the service wants) -> claims (who has a frontend that several want)
//!     -> transaction (difference to what is applied, as elements of the table of layout) -> kernel
//!     -> conntrack (UDP flows that lead elsewhere now are deleted)
//! ```
//!
//! Maps keyed by address, protocol and port lead to endpoints: a lookup costs the same with ten and with ten thousand services,
//! and a change is the elements that differ, in one atomic transaction; nothing is read that is there. Changes that arrive while
//! the kernel works go into the next transaction. Each family that services have addresses of has a table of its own; one transaction
//! changes both. At start they are replaced as a whole, in one transaction too: connections live in conntrack and do not notice, and clients
//! with session affinity keep their endpoint (`affinity`). So it is when a transaction is refused, and when somebody else has changed a table.
//!
//! A service address without endpoints is answered by a reject rule for whatever is still addressed to the service range
//! after translation, so that no element is needed for it; one of another ServiceCIDR has an element.
//!
//! Beside the rules, load balancers are told which services have endpoints here (`health`).

mod addresses;
mod affinity;
mod claims;
mod conntrack;
mod health;
mod layout;
mod model;
mod network;
mod programmed;
mod rules;
#[cfg(test)]
mod testing;
mod transaction;

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
    networking::v1::ServiceCIDR,
};
use knarr_client::{Event, IndexKey, Informer, Informers};
use knarr_cni::InstanceId;
use knarr_meta::prefix::Prefix;
use knarr_nft::{Family, Kernel, Netlink, Pauses, Protocol, Transaction, Watched};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{
    conntrack::Flows,
    health::HealthServers,
    model::{Health, Place, ServiceKey},
    network::Network,
    programmed::Programmed,
    rules::ServiceRules,
    transaction::Applied,
};

/// The name of a cluster's nft tables: one for each family that its Services have addresses of, `ip` or `ip6`.
pub fn table(instance: &InstanceId) -> String {
    format!("knarr-proxy-{instance}")
}

/// The label by which a slice names its service.
const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
/// The label by which a node names its zone.
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

/// What the proxy needs to know of the cluster.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our nft tables; see [`table`].
    pub table: String,
    pub node_name: String,
    /// At most one a family. Sources within keep their address when they call a service.
    pub cluster_cidrs: Vec<Prefix>,
    /// At most one a family; Services are served in these families.
    pub service_cidrs: Vec<Prefix>,
    /// Addresses of the cluster DNS Service, each with where this node's own DNS server listens in that family: every node asks its
    /// own, on an address that no endpoint may have.
    pub node_local_dns: Vec<(IpAddr, IpAddr)>,
    /// TCP ports of this node's own addresses that no Service gets, whatever its external addresses: who is reached there keeps the node
    /// and the cluster going (CVE-2020-8554). So does the pod network, whose UDP port is none either.
    pub reserved_ports: Vec<u16>,
}

/// What is to be synced, filled by informer handlers.
#[derive(Default)]
struct Dirty {
    keys: Mutex<HashSet<ServiceKey>>,
    wake: Notify,
}

impl Dirty {
    fn add(&self, key: ServiceKey) {
        self.keys.lock().insert(key);
        self.wake.notify_one();
    }

    fn take(&self) -> HashSet<ServiceKey> {
        std::mem::take(&mut *self.keys.lock())
    }
}

/// The proxy of one node.
pub struct Proxy {
    config: Config,
    networks: Vec<Network>,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    /// More ranges that Services get addresses from.
    ranges: Informer<ServiceCIDR>,
    dirty: Arc<Dirty>,
}

impl Proxy {
    /// Its informers should read as the service account `kube-system/kube-proxy`.
    pub fn new(config: Config, informers: &Informers) -> Self {
        let mut proxy = Self::with(
            config,
            informers.informer(),
            informers.informer(),
            informers.informer(),
        );
        proxy.follow(informers.informer());
        proxy
    }

    /// Learns of ranges that Services get addresses from beside the cluster's own. Nobody waits for them: services are there without.
    fn follow(&mut self, ranges: Informer<ServiceCIDR>) {
        let (marked, all) = (self.dirty.clone(), self.services.clone());
        ranges.on_event(move |event| {
            if matches!(&event, Event::Updated { old, new } if old.spec == new.spec) {
                return;
            }
            let services = all.list().into_iter();
            services.for_each(|service| marked.add(key_of(&service)));
        });
        self.ranges = ranges;
    }

    /// Over informers that somebody else fills.
    pub fn with(
        config: Config,
        services: Informer<Service>,
        slices: Informer<EndpointSlice>,
        nodes: Informer<Node>,
    ) -> Self {
        let dirty = Arc::new(Dirty::default());
        let (marked, all, name) = (dirty.clone(), services.clone(), config.node_name.clone());
        nodes.on_event(move |event| {
            let own = event.object().metadata.name.as_deref() == Some(name.as_str());
            let (rezoned, moved) = match &event {
                Event::Updated { old, new } => (
                    zone_of(old) != zone_of(new),
                    addresses::of(old) != addresses::of(new),
                ),
                Event::Added(node) | Event::Deleted(node) => {
                    (!zone_of(node).is_empty(), !addresses::of(node).is_empty())
                }
            };
            let rezoned = own && rezoned;
            // What nodes are called by concerns those who name addresses alone.
            let concerned = |service: &Service| rezoned || (moved && addresses::are_named(service));
            if rezoned || moved {
                let services = all.list().into_iter();
                let services = services.filter(|service| concerned(service));
                services.for_each(|service| marked.add(key_of(&service)));
            }
        });
        let marked = dirty.clone();
        services.on_event(move |event: Event<Service>| {
            marked.add(key_of(event.object()));
        });
        let (marked, all) = (dirty.clone(), services.clone());
        slices.on_event(move |event| {
            if service_of(event.object()) == Some(api_key()) {
                let services = all.list().into_iter();
                services.for_each(|service| marked.add(key_of(&service)));
            }
            if let Event::Updated { old, .. } = &event
                && let Some(key) = service_of(old)
            {
                marked.add(key);
            }
            if let Some(key) = service_of(event.object()) {
                marked.add(key);
            }
        });
        Self {
            networks: Network::of(&config),
            config,
            services,
            slices,
            nodes,
            ranges: Informer::new(),
            dirty,
        }
    }

    /// Programs the node until `token` is cancelled. Rules stay behind: services go on answering while knarr restarts.
    pub async fn run(self, token: CancellationToken) {
        let families = self.networks.iter().map(Network::family);
        let mut health = HealthServers::new(families, token.child_token());
        let tables = self.networks.iter().map(|network| network.table.clone());
        let kernel = Netlink::of(tables.collect(), Watched::Everything);
        token
            .run_until_cancelled(self.sync_loop(&mut health, kernel))
            .await;
        health.stopped().await;
    }

    async fn sync_loop(&self, health: &mut HealthServers, mut kernel: impl Kernel) {
        self.services.synced().await;
        self.slices.synced().await;
        self.nodes.synced().await;
        let mut programmed = Programmed::unknown(self.networks.len());
        let mut pauses = Pauses::default();
        loop {
            let dirty = self.dirty.take();
            if dirty.is_empty() && !programmed.must_replace {
                tokio::select! {
                    () = self.dirty.wake.notified() => {}
                    () = kernel.changed() => {
                        warn!("another program has changed the service rules; replacing all of them");
                        self.start_over(health, &mut programmed);
                        tokio::time::sleep(pauses.next_pause()).await;
                    }
                }
                continue;
            }
            let next = self.wanted(&dirty, health, &mut programmed);
            let replace = programmed.must_replace;
            let mut transaction = self.transaction(&programmed, &next);
            if replace && programmed.keeps_clients {
                transaction.append(affinity::carried(&mut kernel, &self.networks, &next).await);
            }
            if !transaction.is_empty()
                && let Err(error) = kernel.apply(transaction, replace).await
            {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "service rules were refused; replacing all of them"
                );
                self.start_over(health, &mut programmed);
                programmed.keeps_clients = !replace;
                tokio::time::sleep(pauses.next_pause()).await;
                continue;
            }
            debug!(services = dirty.len(), replace, "service rules applied");
            if replace {
                let services = next.iter().map(Applied::len).max();
                info!(services, "service rules are in place");
            }
            health.set_in_place(true);
            let flows = programmed.accept(next);
            for (network, flows) in self.networks.iter().zip(flows) {
                end_flows(network.family(), &flows).await;
            }
        }
    }

    /// What leads to `next`, of all families at once.
    fn transaction(&self, programmed: &Programmed, next: &[Applied]) -> Transaction {
        let mut made = Transaction::new();
        for ((network, next), of) in self.networks.iter().zip(next).zip(&programmed.families) {
            made.append(if programmed.must_replace {
                transaction::replace(network, next)
            } else {
                transaction::difference(&network.table, &of.applied, next)
            });
        }
        if programmed.must_replace {
            network::remove_others(&mut made, &self.config, &self.networks);
        }
        made
    }

    /// What is there is nothing to rely on any more: all services are made anew.
    fn start_over(&self, health: &mut HealthServers, programmed: &mut Programmed) {
        health.set_in_place(false);
        *programmed = Programmed::unknown(self.networks.len());
        self.all().for_each(|key| self.dirty.add(key));
    }

    /// What the services want in each family that changed; services that profit by it are marked.
    fn wanted(
        &self,
        dirty: &HashSet<ServiceKey>,
        health: &mut HealthServers,
        programmed: &mut Programmed,
    ) -> Vec<Applied> {
        let overlay = || Applied::overlay(dirty.len());
        let mut next: Vec<_> = self.networks.iter().map(|_| overlay()).collect();
        let mut keys: Vec<_> = dirty.iter().collect();
        keys.sort();
        for key in keys {
            let families = programmed.families.iter_mut().zip(&mut next);
            for (network, (of, next)) in self.networks.iter().zip(families) {
                let mut rules = self.look(key, network);
                for freed in of.claims.settle(key, &mut rules) {
                    self.dirty.add(freed);
                }
                next.set(key.clone(), rules);
            }
            health.set(key, self.health(key));
        }
        next
    }

    /// What load balancers are told.
    fn health(&self, key: &ServiceKey) -> Option<Health> {
        let service = self.services.get(&key.namespace, &key.name)?;
        let slices = self.slices.by_index(key);
        let families = self.networks.iter().map(Network::family);
        model::health(&service, &slices, &self.place(), families)
    }

    fn look(&self, key: &ServiceKey, network: &Network) -> Option<ServiceRules> {
        let service = self.services.get(&key.namespace, &key.name)?;
        let slices = self.slices.by_index(key);
        let family = network.family();
        let mut ports = model::service_ports(&service, &slices, &self.place(), family);
        let cluster = network.services;
        let more = self.more_ranges();
        let own_dns = self.config.node_local_dns.iter();
        let own_dns: Vec<IpAddr> = own_dns.map(|(_, listens)| *listens).collect();
        // Who has these has them from the cluster: nobody gets another's by naming it.
        let is_given = |address: &IpAddr| {
            let ranges = more.iter().chain([&cluster]).chain(&network.pods);
            let mut ranges = ranges.map(|range| range.contains(*address));
            ranges.any(|has| has) || own_dns.contains(address)
        };
        let nodes = addresses::of_nodes(|| self.nodes.list(), &self.config.node_name, &service);
        let servers = self.api_servers();
        for port in &mut ports {
            let is_reserved = match port.protocol {
                Protocol::Tcp => self.config.reserved_ports.contains(&port.port),
                Protocol::Udp => port.port == addresses::VXLAN_PORT,
                Protocol::Sctp => false,
            };
            if is_reserved && port.external_ips.iter().any(|a| nodes.own.contains(a)) {
                warn!(service = %key, port = port.port, "a Service cannot have this port of a node's own address");
                port.external_ips
                    .retain(|address| !nodes.own.contains(address));
            }
            if port.protocol == Protocol::Tcp {
                let is_server = |address: &IpAddr| servers.contains(&(*address, port.port));
                port.external_ips.retain(|address| !is_server(address));
            }
            // Whoever is called there is on that node, which serves what it gives up itself.
            port.external_ips
                .retain(|address| !nodes.others.contains(address));
            port.external_ips.retain(|address| !is_given(address));
            port.guarded_ips.retain(|address| !is_given(address));
        }
        let mut rules = rules::build(key, &ports, family);
        rules.refuse_beyond(cluster, &ports);
        // Every node answers these itself, by an address that is no endpoint.
        let dns = network.dns.map(|(service, _)| service);
        rules
            .flows
            .retain(|frontend, _| dns.is_none() || frontend.address != dns);
        Some(rules).filter(|rules| !rules.is_empty())
    }

    fn more_ranges(&self) -> Vec<Prefix> {
        let ranges = self.ranges.list();
        let cidrs = ranges.iter().filter_map(|range| range.spec.as_ref());
        let cidrs = cidrs.filter_map(|spec| spec.cidrs.as_ref()).flatten();
        cidrs.filter_map(|cidr| cidr.parse().ok()).collect()
    }

    /// Where the API is served, which every node needs to reach.
    fn api_servers(&self) -> HashSet<(IpAddr, u16)> {
        let mut servers = HashSet::new();
        for slice in self.slices.by_index(&api_key()) {
            let addresses = slice.endpoints.iter().flat_map(|one| &one.addresses);
            let addresses = addresses.filter_map(|address| address.parse::<IpAddr>().ok());
            let ports = slice.ports.iter().flatten().filter_map(|port| port.port);
            let ports: Vec<u16> = ports.filter_map(|port| port.try_into().ok()).collect();
            servers.extend(addresses.flat_map(|a| ports.iter().map(move |port| (a, *port))));
        }
        servers
    }

    fn place(&self) -> Place {
        let node = &self.config.node_name;
        let own = self.nodes.get("", node);
        Place {
            node: node.clone(),
            zone: own.map_or_else(String::new, |own| zone_of(&own).to_owned()),
        }
    }

    fn all(&self) -> impl Iterator<Item = ServiceKey> {
        let services = self.services.list().into_iter();
        services.map(|service| key_of(&service))
    }
}

/// Those that lead to where nobody serves any more.
async fn end_flows(family: Family, flows: &Flows) {
    match conntrack::clean(family, flows).await {
        Ok(0) => {}
        Ok(deleted) => debug!(deleted, %family, "UDP flows are led elsewhere"),
        Err(error) => warn!(
            error = &error as &dyn std::error::Error,
            "UDP clients may keep talking to endpoints that have gone"
        ),
    }
}

fn zone_of(node: &Node) -> &str {
    let labels = node.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(ZONE_LABEL))
        .map_or("", String::as_str)
}

fn key_of(service: &Service) -> ServiceKey {
    let meta = &service.metadata;
    ServiceKey {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// The Service of the API itself.
fn api_key() -> ServiceKey {
    ServiceKey {
        namespace: "default".to_owned(),
        name: "kubernetes".to_owned(),
    }
}

impl IndexKey<EndpointSlice> for ServiceKey {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        service_of(slice).into_iter().collect()
    }
}

fn service_of(slice: &EndpointSlice) -> Option<ServiceKey> {
    let labels = slice.metadata.labels.as_ref()?;
    Some(ServiceKey {
        namespace: slice.metadata.namespace.clone()?,
        name: labels.get(SERVICE_NAME_LABEL)?.clone(),
    })
}

/// Removes every rule of a cluster's proxy.
///
/// # Errors
/// When the kernel refuses.
pub async fn teardown(instance: &InstanceId) -> Result<(), knarr_nft::Error> {
    let mut gone = Transaction::new();
    for family in Family::BOTH {
        gone.remove_table(&layout::table(family, &table(instance)));
    }
    knarr_nft::apply(gone).await
}

#[cfg(test)]
mod tests;
