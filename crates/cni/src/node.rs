//! What a node needs once before its pods can talk: forwarding, masquerade, host ports, and a fence around pod and service
//! addresses.
//!
//! Everything is in one nft table, a few routes and an address, all of which bear the cluster's identity; [`prepare`] may run
//! any number of times and keeps the elements that running pods depend on, [`teardown`] removes all of it and nothing else.
//! A network namespace has one cluster: [`check`] tells before anything is made.

mod claim;
mod survey;

use std::{
    io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use futures::TryStreamExt;
use rtnetlink::{
    LinkUnspec, RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage, RouteType},
};

use crate::{InstanceId, nft};
pub use survey::overlap;

/// Longest comment of a table that we write; nft's limit is 128 bytes.
const COMMENT_LIMIT_BYTES: usize = 120;

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

/// The nft table of a cluster, family `ip`.
pub fn table(instance: &InstanceId) -> String {
    format!("knarr-cni-{instance}")
}

/// Why the node's network could not be prepared.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot switch on IPv4 forwarding")]
    Forwarding(#[source] io::Error),
    #[error(transparent)]
    Nft(#[from] nft::Error),
    #[error("cannot open a netlink socket")]
    Netlink(#[source] io::Error),
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
    #[error("the address of cluster DNS, {address}, is in use on {link}")]
    AddressInUse { address: Ipv4Addr, link: String },
}

/// Whether `own` has the calling thread's network namespace already; an error if another has it. Makes nothing.
pub async fn check(own: Option<&InstanceId>, dns_listen: Ipv4Addr) -> Result<bool, Error> {
    claim::check(own, dns_listen).await
}

/// Prepares the node in the calling thread's network namespace. The first thing it takes is the namespace itself.
pub async fn prepare(network: &NodeNetwork) -> Result<(), Error> {
    const FORWARDING: &str = "/proc/sys/net/ipv4/ip_forward";
    claim::take(&network.instance, network.dns_listen).await?;
    std::fs::write(FORWARDING, "1").map_err(Error::Forwarding)?;
    nft::apply(&ruleset(network)).await?;
    routes(network).await
}

/// Removes what [`prepare`] made for a cluster but forwarding, which others may rely on.
pub async fn teardown(instance: &InstanceId, dns_listen: Ipv4Addr) -> Result<(), Error> {
    let table = table(instance);
    // Adding first makes deleting succeed when there is nothing.
    nft::apply(&format!("add table ip {table}\ndelete table ip {table}\n")).await?;
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
    // Last: only now is the namespace another's to take.
    claim::give_back(instance, dns_listen).await
}

fn ipv4_query() -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new().build()
}

fn connect() -> Result<rtnetlink::Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
    knarr_tasks::spawn("a netlink connection", connection);
    Ok(handle)
}

/// Chains are rewritten in the same transaction, maps keep their elements.
fn ruleset(network: &NodeNetwork) -> String {
    let cidr = |(address, prefix): (Ipv4Addr, u8)| format!("{address}/{prefix}");
    let pods = cidr(network.cluster_cidr);
    let services = cidr(network.service_cidr);
    let table = table(&network.instance);
    let links = network.instance.link_prefix();
    let comment = comment(&network.data_dir);
    let mut script = format!("add table ip {table}{comment}\n{}", hostport_maps(&table));
    let chains = [
        ("hostports-dnat", ""),
        (
            "prerouting",
            "type nat hook prerouting priority dstnat; policy accept;",
        ),
        (
            "output",
            "type nat hook output priority -100; policy accept;",
        ),
        (
            "postrouting",
            "type nat hook postrouting priority srcnat; policy accept;",
        ),
        (
            "fence",
            "type filter hook postrouting priority srcnat - 10; policy accept;",
        ),
        (
            "loopback",
            "type filter hook prerouting priority raw; policy accept;",
        ),
    ];
    for (chain, hook) in chains {
        let body = if hook.is_empty() {
            String::new()
        } else {
            format!(" {{ {hook} }}")
        };
        script.push_str(&format!(
            "add chain ip {table} {chain}{body}\nflush chain ip {table} {chain}\n"
        ));
    }
    let rules = [
        (
            "hostports-dnat",
            "meta l4proto { tcp, udp, sctp } dnat ip to ip daddr . meta l4proto . th dport map @hostports-ip".to_owned(),
        ),
        (
            "hostports-dnat",
            "meta l4proto { tcp, udp, sctp } dnat ip to meta l4proto . th dport map @hostports".to_owned(),
        ),
        (
            "prerouting",
            "fib daddr type local goto hostports-dnat".to_owned(),
        ),
        (
            "output",
            "fib daddr type local goto hostports-dnat".to_owned(),
        ),
        // A pod talks to the world under its node's address, to pods and services under its own.
        (
            "postrouting",
            format!(
                "ip saddr {pods} ip daddr != {{ {pods}, {services} }} oifname != \"{links}*\" masquerade"
            ),
        ),
        // The node reaches pods from an address that their replies can be routed to.
        (
            "postrouting",
            format!("ip saddr 127.0.0.0/8 ip daddr {pods} masquerade"),
        ),
        // Links to pods take answers for 127.0.0.1 (see [`crate::plugin`]). Before answers are translated back, nothing from
        // another machine or a pod may say that it is from or for the node itself (CVE-2020-8558).
        (
            "loopback",
            "iifname != \"lo\" ip daddr 127.0.0.0/8 drop".to_owned(),
        ),
        (
            "loopback",
            "iifname != \"lo\" ip saddr 127.0.0.0/8 drop".to_owned(),
        ),
        // What is still addressed to a pod or a service here has no pod behind it: it must not leave the node.
        (
            "fence",
            format!(
                "ip daddr {{ {pods}, {services} }} oifname != \"lo\" oifname != \"{links}*\" drop"
            ),
        ),
    ];
    for (chain, rule) in rules {
        script.push_str(&format!("add rule ip {table} {chain} {rule}\n"));
    }
    script
}

/// Where host ports lead: with any address of the node, and with one. Making them again changes nothing.
pub(crate) fn hostport_maps(table: &str) -> String {
    let target = "ipv4_addr . inet_service";
    format!(
        "add map ip {table} hostports {{ type inet_proto . inet_service : {target}; }}\n\
         add map ip {table} hostports-ip {{ type ipv4_addr . inet_proto . inet_service : {target}; }}\n"
    )
}

/// Whose table it is, for whoever lists it.
fn comment(data_dir: &Path) -> String {
    let plain = |text: &&str| {
        text.len() <= COMMENT_LIMIT_BYTES
            && text
                .chars()
                .all(|c| !c.is_control() && c != '"' && c != '\\')
    };
    data_dir
        .to_str()
        .filter(plain)
        .map_or_else(String::new, |text| format!(" {{ comment \"{text}\"; }}"))
}

async fn loopback(handle: &rtnetlink::Handle) -> Result<u32, Error> {
    let mut links = Box::pin(handle.link().get().match_name("lo").execute());
    let lo = links.try_next().await.map_err(Error::Route)?;
    Ok(lo.map_or(1, |link| link.header.index))
}

fn is_errno(error: &rtnetlink::Error, errno: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message)
        if message.code.is_some_and(|code| code.get() == -errno))
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
