//! What a node needs once before its pods can talk: forwarding, masquerade, host ports, and a fence around pod and service
//! addresses.
//!
//! Everything is in one table of nf_tables, a few routes and an address, all of which bear the cluster's identity; [`prepare`] may run
//! any number of times and keeps the elements that running pods depend on, [`teardown`] removes all of it and nothing else.
//! A network namespace has one cluster: [`check`] tells before anything is made.

mod claim;
mod keep;
mod moved;
mod survey;

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use futures::TryStreamExt;
use knarr_nft::{
    Chain, ChainKind, Contents, Element, Family, Field, Hook, Kernel, Netlink, Protocol, Rule,
    Selector, Set, Table, Transaction, Value, Verdict,
};
use rtnetlink::{
    LinkUnspec, RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage, RouteType},
};

use crate::{InstanceId, rtnl};
pub use keep::{Kept, Leases};
pub use moved::moved;
pub use survey::overlap;
pub(crate) use survey::used;

/// Longest comment of a table that we write; nft's limit is 128 bytes.
const COMMENT_LIMIT_BYTES: usize = 120;

const FAMILY: Family = Family::Ip;
const SOURCE: Selector = Selector::Source(FAMILY);
const DESTINATION: Selector = Selector::Destination(FAMILY);
/// Of IPv4.
const LOOPBACK: (IpAddr, u8) = (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);

// Lower is earlier. Those of raw packets, of destination and of source address translation, and just before the last.
pub(crate) const RAW: i32 = -300;
const TRANSLATE_DESTINATION: i32 = -100;
const FENCE: i32 = 90;
const TRANSLATE_SOURCE: i32 = 100;

/// What may pass to and from other nodes' pods, and who may send to the overlay: [`crate::peers`] fills these, and [`prepare`] leaves
/// them as they are.
pub(crate) const TO_PEERS: &str = "to-peers";
pub(crate) const FROM_PEERS: &str = "from-peers";
pub(crate) const TUNNEL: &str = "tunnel";

/// The network of a cluster's node.
#[derive(Clone, Debug)]
pub struct NodeNetwork {
    pub instance: InstanceId,
    /// Told to those who meet our table.
    pub data_dir: PathBuf,
    pub node_ip: Ipv4Addr,
    /// All pods of the cluster: address and prefix length.
    pub cluster_cidr: (Ipv4Addr, u8),
    pub service_cidr: (Ipv4Addr, u8),
    /// Where the node's own DNS server listens; also what tells whose the namespace is.
    pub dns_listen: Ipv4Addr,
}

/// The name of a cluster's table.
pub fn table(instance: &InstanceId) -> String {
    format!("knarr-cni-{instance}")
}

/// The table of this name.
pub(crate) fn ipv4(table: &str) -> Table {
    Table::new(FAMILY, table)
}

/// Why the node's network could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot switch on IPv4 forwarding")]
    Forwarding(#[source] io::Error),
    #[error(transparent)]
    Nft(#[from] knarr_nft::Error),
    #[error("cannot open a netlink socket")]
    Netlink(#[source] io::Error),
    #[error(transparent)]
    Link(#[from] rtnl::Error),
    #[error("cannot change the node's routes")]
    Route(#[source] rtnetlink::Error),
    #[error("cannot change the node's addresses")]
    Address(#[source] rtnetlink::Error),
    #[error(
        "this machine's network is taken by another cluster{whose} ({instance}), whose ports and DNS address cannot be shared; \
         take that one down first (knarr down --data-dir DIR), or start this one in a network namespace of its own"
    )]
    Taken {
        instance: InstanceId,
        /// ` on <data directory>`, where it is known.
        whose: String,
    },
    #[error("cannot tell which pods have host ports")]
    HostPorts(#[source] io::Error),
    #[error("the address of cluster DNS, {address}, is in use on {link}")]
    AddressInUse { address: Ipv4Addr, link: String },
}

/// Whether `own` has the calling thread's network namespace already; an error if another has it. Makes nothing.
pub async fn check(own: Option<&InstanceId>, dns_listen: Ipv4Addr) -> Result<bool, Error> {
    claim::check(own, dns_listen).await
}

/// Prepares the node in the calling thread's network namespace. The first thing it takes is the namespace itself.
pub async fn prepare(network: &NodeNetwork) -> Result<(), Error> {
    claim::take(&network.instance, network.dns_listen).await?;
    let mut kernel = Netlink::new(ipv4(&table(&network.instance)));
    make(network, &mut kernel).await
}

async fn make(network: &NodeNetwork, kernel: &mut impl Kernel) -> Result<(), Error> {
    const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
    std::fs::write(FORWARDING, "1").map_err(Error::Forwarding)?;
    kernel.apply(ruleset(network), true).await?;
    routes(network).await
}

/// Removes what [`prepare`] made for a cluster but forwarding, which others may rely on.
pub async fn teardown(instance: &InstanceId, dns_listen: Ipv4Addr) -> Result<(), Error> {
    let mut gone = Transaction::new();
    gone.remove_table(&ipv4(&table(instance)));
    knarr_nft::apply(gone).await?;
    let handle = connect()?;
    let mut listed = Box::pin(handle.route().get(ipv4_query()).execute());
    let mut ours = Vec::new();
    while let Some(route) = listed.try_next().await.map_err(Error::Route)? {
        if route
            .attributes
            .contains(&RouteAttribute::Priority(instance.route_metric()))
        {
            ours.push(route);
        }
    }
    for route in ours {
        handle
            .route()
            .del(route)
            .execute()
            .await
            .map_err(Error::Route)?;
    }
    let overlay = instance.overlay();
    if let Some(link) = rtnl::find(&handle, &overlay).await? {
        let removed = handle.link().del(link.header.index).execute().await;
        rtnl::or_gone(removed).map_err(Error::Route)?;
    }
    // Last: only now is the namespace another's to take.
    claim::give_back(instance, dns_listen).await
}

fn ipv4_query() -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new().build()
}

fn connect() -> Result<rtnetlink::Handle, Error> {
    rtnl::connect().map_err(Error::Netlink)
}

/// Chains are rewritten in the same transaction, maps keep their elements.
fn ruleset(network: &NodeNetwork) -> Transaction {
    use {ChainKind::Filter, ChainKind::Nat};
    let table = &ipv4(&table(&network.instance));
    let mut made = Transaction::new();
    made.add_table(table, comment(&network.data_dir));
    hostport_maps(&mut made, table);
    for chain in [TO_PEERS, FROM_PEERS] {
        made.add_chain(table, Chain::new(chain));
    }
    let hooked = Chain::hooked;
    let chains = [
        Chain::new("hostports-dnat"),
        Chain::new("fenced"),
        Chain::new("claimed"),
        hooked("prerouting", Nat, Hook::Prerouting, TRANSLATE_DESTINATION),
        hooked("output", Nat, Hook::Output, TRANSLATE_DESTINATION),
        hooked("postrouting", Nat, Hook::Postrouting, TRANSLATE_SOURCE),
        hooked("fence", Filter, Hook::Postrouting, FENCE),
        hooked("loopback", Filter, Hook::Prerouting, RAW),
    ];
    for chain in chains {
        let name = chain.name.clone();
        made.add_chain(table, chain);
        made.flush_chain(table, name);
    }
    for (chain, rule) in rules(network) {
        made.add_rule(table, chain, rule);
    }
    made
}

/// A rule, and the chain that it is of.
type ChainRule = (&'static str, Rule);

/// Rules by chain, in order.
fn rules(network: &NodeNetwork) -> Vec<ChainRule> {
    let mut rules = translations(network);
    rules.extend(guards(network));
    rules
}

fn range((address, prefix): (Ipv4Addr, u8)) -> (IpAddr, u8) {
    (IpAddr::V4(address), prefix)
}

/// Addresses of pods and services.
fn cluster(network: &NodeNetwork) -> Contents {
    let ranges = [network.cluster_cidr, network.service_cidr].map(range);
    let elements = ranges.map(|(address, prefix)| Element::range(address, prefix));
    Contents::new(Set::ranges("", Field::Ipv4), elements.into())
}

/// The node's links to its pods.
fn links(network: &NodeNetwork) -> Value {
    Value::Interface(format!("{}*", network.instance.link_prefix()))
}

/// Which addresses become others.
fn translations(network: &NodeNetwork) -> Vec<ChainRule> {
    let pods = range(network.cluster_cidr);
    let overlay = || Value::Interface(network.instance.overlay());
    let ports = || Rule::new().protocols(&[Protocol::Tcp, Protocol::Udp, Protocol::Sctp]);
    let port = [Selector::Protocol, Selector::DestinationPort];
    let mut address_and_port = vec![DESTINATION];
    address_and_port.extend(port.clone());
    let to_hostports = || {
        let own = Rule::new().local(Selector::DestinationKind);
        own.verdict(Verdict::goto("hostports-dnat"))
    };
    vec![
        (
            "hostports-dnat",
            ports().redirect_by(FAMILY, address_and_port, "hostports-ip"),
        ),
        (
            "hostports-dnat",
            ports().redirect_by(FAMILY, port, "hostports"),
        ),
        ("prerouting", to_hostports()),
        ("output", to_hostports()),
        // A pod talks to the world under its node's address, to pods and services under its own.
        (
            "postrouting",
            Rule::new()
                .prefix(SOURCE, pods)
                .outside_any([DESTINATION], cluster(network))
                .differs(Selector::OutputInterface, links(network))
                .masquerade(false),
        ),
        // The node's own programs may say another address of it than the one on the overlay: answers to that would come by another
        // way, from pods that nobody expects there.
        (
            "postrouting",
            Rule::new()
                .equal(Selector::OutputInterface, overlay())
                .outside_prefix(SOURCE, pods)
                .masquerade(false),
        ),
        // The node reaches pods from an address that their replies can be routed to.
        (
            "postrouting",
            Rule::new()
                .prefix(SOURCE, LOOPBACK)
                .prefix(DESTINATION, pods)
                .masquerade(false),
        ),
    ]
}

/// What must not come from where it comes from, or go where it goes.
fn guards(network: &NodeNetwork) -> Vec<ChainRule> {
    let pods = range(network.cluster_cidr);
    let lo = || Value::Interface("lo".to_owned());
    let unreached = |range| {
        Rule::new()
            .prefix(DESTINATION, range)
            .differs(Selector::OutputInterface, lo())
            .differs(Selector::OutputInterface, links(network))
            .verdict(Verdict::goto("fenced"))
    };
    vec![
        // Links to pods take answers for 127.0.0.1 (see [`crate::plugin`]). Before answers are translated back, nothing from
        // another machine or a pod may say that it is from or for the node itself (CVE-2020-8558).
        (
            "loopback",
            Rule::new()
                .equal(Selector::InputInterface, lo())
                .verdict(Verdict::Accept),
        ),
        ("loopback", Rule::new().prefix(DESTINATION, LOOPBACK).drop()),
        ("loopback", Rule::new().prefix(SOURCE, LOOPBACK).drop()),
        // Who says that it is a pod, and is none of this node, must be one of a node that is behind the link it came by.
        (
            "loopback",
            Rule::new()
                .prefix(SOURCE, pods)
                .differs(Selector::InputInterface, links(network))
                .verdict(Verdict::goto("claimed")),
        ),
        ("claimed", Rule::new().verdict(Verdict::jump(FROM_PEERS))),
        ("claimed", Rule::new().drop()),
        // What is still addressed to a pod or a service here, and to no other node's pod, has no pod behind it: it must not leave.
        // Every packet that leaves comes by: an address is compared in less time than a set is searched.
        ("fence", unreached(pods)),
        ("fence", unreached(range(network.service_cidr))),
        ("fenced", Rule::new().verdict(Verdict::jump(TO_PEERS))),
        ("fenced", Rule::new().drop()),
    ]
}

/// Where host ports lead: with any address of the node, and with one. Making them again changes nothing.
pub(crate) fn hostport_maps(made: &mut Transaction, table: &Table) {
    let target = [Field::Ipv4, Field::Port];
    let key = [Field::Protocol, Field::Port];
    made.add_set(table, Set::map("hostports", &key, &target));
    let key = [Field::Ipv4, Field::Protocol, Field::Port];
    made.add_set(table, Set::map("hostports-ip", &key, &target));
}

/// Whose table it is, for whoever lists it.
pub(crate) fn comment(data_dir: &Path) -> Option<String> {
    let plain = |text: &&str| {
        text.len() <= COMMENT_LIMIT_BYTES
            && text
                .chars()
                .all(|c| !c.is_control() && c != '"' && c != '\\')
    };
    data_dir.to_str().filter(plain).map(str::to_owned)
}

async fn loopback(handle: &rtnetlink::Handle) -> Result<u32, Error> {
    let mut links = Box::pin(handle.link().get().match_name("lo").execute());
    let lo = links.try_next().await.map_err(Error::Route)?;
    Ok(lo.map_or(1, |link| link.header.index))
}

/// Service addresses need a route so that a connection from the node itself gets as far as the rules that translate it, also
/// on a node without a default route; pod addresses that no pod has are unreachable at once.
async fn routes(network: &NodeNetwork) -> Result<(), Error> {
    let handle = connect()?;
    let lo = loopback(&handle).await?;
    let metric = network.instance.route_metric();
    let up = LinkUnspec::new_with_index(lo).up().build();
    handle
        .link()
        .set(up)
        .execute()
        .await
        .map_err(Error::Route)?;
    let (address, prefix) = network.service_cidr;
    let services = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, prefix)
        .output_interface(lo)
        .pref_source(network.node_ip)
        .priority(metric);
    let (address, prefix) = network.cluster_cidr;
    let pods = RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, prefix)
        .kind(RouteType::Unreachable)
        .priority(metric);
    for route in [services, pods] {
        handle
            .route()
            .add(route.build())
            .replace()
            .execute()
            .await
            .map_err(Error::Route)?;
    }
    Ok(())
}

/// The source address the kernel would use towards `destination`, without sending anything.
pub fn source_towards(destination: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((destination, 9)).ok()?;
    match socket.local_addr().ok()?.ip() {
        std::net::IpAddr::V4(address) if !address.is_unspecified() => Some(address),
        _ => None,
    }
}

/// The node's own address: that of the default route, else the first global one, else loopback (a machine with no network).
pub async fn detect_node_ip() -> Result<Ipv4Addr, Error> {
    // An address of the documentation range: routed like any other, nobody's.
    if let Some(address) = source_towards(Ipv4Addr::new(192, 0, 2, 1)).filter(|a| !a.is_loopback())
    {
        return Ok(address);
    }
    let handle = connect()?;
    let mut listed = Box::pin(handle.address().get().execute());
    while let Some(message) = listed.try_next().await.map_err(Error::Route)? {
        for attribute in &message.attributes {
            if let rtnetlink::packet_route::address::AddressAttribute::Address(
                std::net::IpAddr::V4(address),
            ) = attribute
                && !address.is_loopback()
                && !address.is_link_local()
            {
                return Ok(*address);
            }
        }
    }
    Ok(Ipv4Addr::LOCALHOST)
}

#[cfg(test)]
mod tests;
