//! Addresses of load balancers on the links of a node: one node at a time answers for each of them, by ARP and by neighbour discovery, so
//! that no router has to know of them.
//!
//! ```text
//! informers (Service, EndpointSlice, Node), links -> choice: which addresses are this node's, on which link
//!     -> link: a packet socket -> packet: an answer -> limit -> the neighbour
//!           and, when an address comes, gratuitous announcements
//! ```
//!
//! Who answers follows from what all nodes see: of those that are Ready, that may have traffic from outside, and whose own address is on the
//! same network as the load balancer's, the one with the highest hash of both ([`choice`]). With `externalTrafficPolicy: Local` only
//! those with a ready endpoint count. Nobody holds a Lease: what is decided alike needs none, and addresses are spread over
//! the nodes.
//!
//! Only what a Service's status says is answered for, and of that only what is in the configured ranges. The kernel passes on nothing but ARP
//! requests and neighbour solicitations, and answers are limited for each sender and for all.

// Packets come from outside.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

mod choice;
mod limit;
mod link;
mod packet;
mod ranges;
mod socket;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use knarr_client::{Informer, Informers};
use tokio::{sync::Notify, time::sleep};
use tokio_util::sync::CancellationToken;

pub use self::ranges::{BadRanges, Ranges};
use self::{choice::Choice, link::Link, socket::Interface};

/// Changes within this time are looked at together.
const GATHER: Duration = Duration::from_millis(100);
/// Links are looked at this often where nothing else changes.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// What has to be known of the node and its cluster.
#[derive(Clone, Debug)]
pub struct Config {
    pub node_name: String,
    /// On the links of these it is answered.
    pub node_ips: Vec<IpAddr>,
    /// What may be answered for.
    pub ranges: Ranges,
}

/// Answers for the addresses that are this node's.
pub struct Announcer {
    config: Config,
    services: Informer<Service>,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    changed: Arc<Notify>,
}

impl Announcer {
    #[must_use]
    pub fn new(config: Config, informers: &Informers) -> Self {
        let changed = Arc::new(Notify::new());
        let (services, slices, nodes) = (
            informers.informer::<Service>(),
            informers.informer::<EndpointSlice>(),
            informers.informer::<Node>(),
        );
        let bell = || {
            let changed = changed.clone();
            move || changed.notify_one()
        };
        let (service, slice, node) = (bell(), bell(), bell());
        services.on_event(move |_| service());
        slices.on_event(move |_| slice());
        nodes.on_event(move |_| node());
        Self {
            config,
            services,
            slices,
            nodes,
            changed,
        }
    }

    /// Runs until the token is cancelled: from then on nothing is answered.
    pub async fn run(self, token: CancellationToken) {
        let work = async {
            self.services.synced().await;
            self.slices.synced().await;
            self.nodes.synced().await;
            let mut links: BTreeMap<String, Link> = BTreeMap::new();
            loop {
                self.update(&mut links);
                tokio::select! {
                    () = self.changed.notified() => sleep(GATHER).await,
                    () = sleep(LOOK_AGAIN) => {}
                }
            }
        };
        token.run_until_cancelled(work).await;
    }

    /// Brings the links to what is to be announced now.
    fn update(&self, links: &mut BTreeMap<String, Link>) {
        let found = match socket::interfaces(&self.config.node_ips) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, "cannot list this node's links");
                return;
            }
        };
        let own = self.own(&found);
        links.retain(|name, link| {
            found
                .iter()
                .any(|interface| interface.name == *name && link.is_of(interface))
        });
        for interface in found {
            let addresses = own.get(&interface.name).cloned().unwrap_or_default();
            let name = interface.name.clone();
            if let Some(link) = links.get_mut(&name) {
                link.set(addresses);
            } else if !addresses.is_empty() {
                match Link::open(interface) {
                    Ok(mut link) => {
                        link.set(addresses);
                        links.insert(name, link);
                    }
                    Err(error) => {
                        tracing::warn!(link = name, %error, "cannot answer for addresses of load balancers");
                    }
                }
            }
        }
    }

    /// This node's addresses, by the name of their link.
    fn own(&self, interfaces: &[Interface]) -> BTreeMap<String, BTreeSet<IpAddr>> {
        let nodes = self.nodes.list();
        let choice = Choice {
            node: &self.config.node_name,
            ranges: &self.config.ranges,
            candidates: nodes
                .iter()
                .filter_map(|node| choice::Candidate::of(node))
                .collect(),
        };
        let slices_of = |key: &choice::SlicesOf| self.slices.by_index(key);
        let mut own: BTreeMap<String, BTreeSet<IpAddr>> = BTreeMap::new();
        for service in self.services.list() {
            for (link, address) in choice.of_service(&service, slices_of, interfaces) {
                own.entry(link).or_default().insert(address);
            }
        }
        own
    }
}
