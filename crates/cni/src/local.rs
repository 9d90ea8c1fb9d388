//! Nodes that share a machine: each has a network namespace of its own, on one bridge.
//!
//! ```text
//! the cluster's own namespace (its first node)
//!     kb-<id>      the bridge: first address of a range that nothing here uses, and of one of IPv6 where the cluster has that
//!     kv-<id>-<n>  a node's port; its name is the link's alias. Down: the node is cut off
//! /run/netns/knarr-<id>-<node>
//!     eth0         the node's addresses, by its number; the way to everything else is the bridge
//! ```
//!
//! What leaves the machine from a node bears the machine's address; between nodes every address is kept. All of it bears the
//! identity of the cluster, is found again by those who start it again, and outlives it: pods go on.
//!
//! Rejected: a veth between each two nodes (grows with the square), and a route to each node without a bridge (nodes would not
//! be on a link with each other, as machines of a rack are).

mod namespace;
mod range;

use std::{io, net::IpAddr, path::PathBuf};

use knarr_meta::prefix::Prefix;
use knarr_nft::{Chain, ChainKind, Family, Hook, Rule, Selector, Table, Transaction, Value};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth,
    packet_route::link::{InfoData, InfoVeth, LinkMessage},
};

pub use namespace::NodeNamespace;

use crate::{
    InstanceId, hardware,
    node::{
        self,
        others::{self, Purpose},
    },
    rtnl::{self, failed, or_gone, or_there},
};

/// The name of a node's interface in its own namespace.
const INTERFACE: &str = "eth0";
/// Numbers of nodes beside the first, whose address is the bridge's.
const NUMBERS: std::ops::RangeInclusive<u8> = 2..=250;
const TRANSLATE_SOURCE: i32 = 100;

/// Why a network of nodes could not be made or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Netlink(#[from] rtnl::Error),
    #[error(transparent)]
    Nft(#[from] knarr_nft::Error),
    #[error(transparent)]
    Survey(#[from] node::Error),
    #[error(
        "{0} cannot be the range of this machine's nodes: it must be of IPv4 and have 8 to 24 bits"
    )]
    Range(Prefix),
    #[error("this machine uses {used}, of the addresses of its nodes, {range}")]
    Used { range: Prefix, used: String },
    #[error("every range for this machine's nodes that was tried is in use; name one")]
    NoRange,
    #[error(
        "the nodes of this machine have addresses of {there}, not of {wanted}; take the cluster down first"
    )]
    Changed { there: Prefix, wanted: Prefix },
    #[error("{0:?} is no name for a node of this machine")]
    Name(String),
    #[error("nodes of this machine have numbers from 2 to 250, not {0}")]
    Number(u8),
    #[error("there is no node {0} on this machine")]
    NoNode(String),
    #[error("cannot {what} the network namespace {path}")]
    Namespace {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// What the network of a machine's nodes is made from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The cluster's.
    pub instance: InstanceId,
    /// Where nodes get their addresses of IPv4 from, which they have in any case: it may be the machine's only way out. Without one: the
    /// range that they have, else one that is free here.
    pub range: Option<Prefix>,
    /// Whether they have addresses of IPv6, too.
    pub ipv6: bool,
    /// Told to those who meet our table.
    pub data_dir: PathBuf,
}

/// The network of the nodes of this machine.
#[derive(Debug)]
pub struct LocalNodes {
    instance: InstanceId,
    /// Of each family one.
    ranges: Vec<Prefix>,
}

impl LocalNodes {
    /// Makes the bridge in the calling thread's network namespace, or finds it. Nodes that are there are left as they are.
    ///
    /// # Errors
    /// When the range is in use by others, or not the one that nodes have already; or when the kernel refuses.
    pub async fn prepare(settings: Settings) -> Result<Self, Error> {
        let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
        let there = existing(&handle, &settings.instance).await?;
        let there = |family| there.iter().copied().find(|range| of(*range) == family);
        let range = match (there(Family::Ip), settings.range) {
            (Some(there), Some(wanted)) if there != wanted => {
                return Err(Error::Changed { there, wanted });
            }
            (Some(there), _) => there,
            (None, wanted) => range::choose(&handle, &settings.instance, wanted).await?,
        };
        let mut ranges = vec![range];
        if settings.ipv6 {
            ranges.push(match there(Family::Ip6) {
                Some(there) => there,
                None => range::choose_ipv6(&handle, &settings.instance).await?,
            });
        }
        let this = Self {
            instance: settings.instance,
            ranges,
        };
        make_bridge(&handle, &this.instance, &this.own()?).await?;
        for range in &this.ranges {
            node::forward(of(*range))?;
            knarr_nft::apply(ruleset(&settings, *range)).await?;
        }
        // Packets of a bridge pass these chains, too, where Docker is. A machine on which they do not may still be of use.
        if let Err(error) = others::admit(&this.instance, Purpose::Nodes, &this.ranges) {
            tracing::warn!(%error, "rules of others on this machine may drop what its nodes send to one another");
        }
        Ok(this)
    }

    /// The machine's own addresses among its nodes, which are its first node's: of IPv4, and of IPv6 if nodes have any.
    ///
    /// # Errors
    /// Never for a range that nodes can have.
    pub fn addresses(&self) -> Result<Vec<IpAddr>, Error> {
        Ok(self
            .own()?
            .into_iter()
            .map(|(address, _)| address)
            .collect())
    }

    pub fn ranges(&self) -> &[Prefix] {
        &self.ranges
    }

    fn own(&self) -> Result<Vec<(IpAddr, u8)>, Error> {
        let first = |range: &Prefix| {
            let address = range.nth(1).ok_or(Error::Range(*range))?;
            Ok((address, range.bits()))
        };
        self.ranges.iter().map(first).collect()
    }

    /// Makes a node's namespace and link, or finds them. `number`, from 2 to 250, gives it its addresses, the same at every
    /// start. A node that is cut off stays so.
    ///
    /// # Errors
    /// When the name or number cannot be a node's, or the kernel refuses.
    pub async fn add(&self, node: &str, number: u8) -> Result<NodeNamespace, Error> {
        if !NUMBERS.contains(&number) {
            return Err(Error::Number(number));
        }
        let addresses = self.ranges.iter().map(|range| range.nth(number.into()));
        let addresses: Option<Vec<IpAddr>> = addresses.collect();
        let addresses = addresses.ok_or(Error::Number(number))?;
        let namespace = namespace::make(&self.instance, node, &addresses).await?;
        let file = namespace.open().map_err(|e| namespace.failed("open", e))?;
        let host = rtnl::connect().map_err(rtnl::Error::Socket)?;
        let inside = rtnl::connect_in(&file).map_err(|source| rtnl::Error::Enter {
            name: namespace.path.display().to_string(),
            source,
        })?;
        let port = self.instance.port(number);
        if rtnl::find(&inside, INTERFACE).await?.is_none() {
            self.make_pair(&host, &port, &namespace, &file).await?;
        }
        if self.ranges.iter().any(|range| of(*range) == Family::Ip6) {
            let asked = rtnl::within(&file, speak_ipv6).and_then(|asked| asked);
            asked.map_err(|e| namespace.failed("configure", e))?;
        }
        self.configure(&inside, &addresses).await?;
        Ok(namespace)
    }

    /// The port of the bridge, with the other end in the node's namespace.
    async fn make_pair(
        &self,
        host: &Handle,
        port: &str,
        namespace: &NodeNamespace,
        file: &std::fs::File,
    ) -> Result<(), Error> {
        use std::os::fd::AsRawFd;
        // Of a namespace that somebody has removed: the other end is on its way to where it came from.
        remove_link(host, port).await?;
        let inside = LinkMessageBuilder::<LinkUnspec>::new()
            .name(INTERFACE)
            .address(namespace.hardware().to_vec())
            .setns_by_fd(file.as_raw_fd());
        let pair = LinkMessageBuilder::<LinkVeth>::new(port, "")
            .set_info_data(InfoData::Veth(InfoVeth::Peer(inside.build())))
            .build();
        let added = host.link().add(pair).execute().await;
        added.map_err(failed(format!("make the link {port}")))?;
        let bridge = link(host, &self.instance.bridge()).await?;
        let made = link(host, port).await?;
        let joined = LinkUnspec::new_with_index(made.header.index)
            .controller(bridge.header.index)
            .alias(namespace.node.as_str())
            .up();
        let set = host.link().set(joined.build()).execute().await;
        set.map_err(failed(format!("connect the link {port}")))?;
        // Where br_netfilter is loaded, a node that calls a port of the first node and is led back to itself by it never leaves the
        // bridge, which returns nothing to where it came from unless it is told to.
        let back = LinkBridgePort::new(made.header.index).hairpin(true);
        let set = host.link().set_port(back.build()).execute().await;
        Ok(set.map_err(failed(format!("let the link {port} return packets")))?)
    }

    /// The node's side: its addresses and its ways out.
    async fn configure(&self, inside: &Handle, addresses: &[IpAddr]) -> Result<(), Error> {
        let interface = link(inside, INTERFACE).await?.header.index;
        for index in [loopback(inside).await?, interface] {
            let up = rtnl::set_up(inside, index, true).await;
            up.map_err(failed("switch on a node's links"))?;
        }
        for (range, address) in self.ranges.iter().zip(addresses) {
            let added = rtnl::add_address(inside, interface, *address, range.bits()).await;
            or_there(added).map_err(failed("give a node its addresses"))?;
            let bridge = range.nth(1).ok_or(Error::Range(*range))?;
            let out = rtnl::default_route(bridge, interface);
            let added = inside.route().add(out).execute().await;
            or_there(added).map_err(failed("give a node its default route"))?;
        }
        Ok(())
    }
}

/// Has a node's link speak IPv6, in its namespace, and believe nobody who says that he is a router: its way out is known.
fn speak_ipv6() -> io::Result<()> {
    for (name, value) in [("disable_ipv6", "0"), ("accept_ra", "0")] {
        let setting = format!("/proc/sys/net/ipv6/conf/{INTERFACE}/{name}");
        std::fs::write(setting, value)?;
    }
    Ok(())
}

fn of(range: Prefix) -> Family {
    Family::of(range.address())
}

/// The names of the nodes that have a namespace on this machine.
///
/// # Errors
/// When the directory of namespaces cannot be read.
pub fn list(instance: &InstanceId) -> io::Result<Vec<String>> {
    namespace::list(instance)
}

/// Cuts a node off from everybody: takes its link down.
///
/// # Errors
/// When there is no such node here, or the kernel refuses.
pub async fn cut(instance: &InstanceId, node: &str) -> Result<(), Error> {
    switch(instance, node, false).await
}

/// Puts a node back that was cut off.
///
/// # Errors
/// As [`cut`].
pub async fn heal(instance: &InstanceId, node: &str) -> Result<(), Error> {
    switch(instance, node, true).await
}

/// Whether a node is cut off.
///
/// # Errors
/// As [`cut`].
pub async fn is_cut(instance: &InstanceId, node: &str) -> Result<bool, Error> {
    let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
    Ok(!rtnl::is_up(&port_of(&handle, instance, node).await?))
}

/// Removes a node's namespace and link; one that is not there is no error. What runs in it goes on until it ends.
///
/// # Errors
/// When the kernel refuses.
pub async fn delete(instance: &InstanceId, node: &str) -> Result<(), Error> {
    let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
    match port_of(&handle, instance, node).await {
        Ok(port) => remove_link(&handle, rtnl::name(&port)).await?,
        Err(Error::NoNode(_)) => {}
        Err(error) => return Err(error),
    }
    namespace::remove(instance, node)
}

/// Removes all that was made for the nodes of a cluster, and nothing else.
///
/// # Errors
/// When the kernel refuses.
pub async fn teardown(instance: &InstanceId) -> Result<(), Error> {
    let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
    for link in rtnl::links(&handle).await? {
        let name = rtnl::name(&link);
        if name.starts_with(&instance.port_prefix()) || name == instance.bridge() {
            remove_link(&handle, name).await?;
        }
    }
    let nodes = list(instance).map_err(|source| Error::Namespace {
        what: "list",
        path: namespace::DIRECTORY.into(),
        source,
    })?;
    for node in nodes {
        namespace::remove(instance, &node)?;
    }
    let mut gone = Transaction::new();
    for family in Family::BOTH {
        gone.remove_table(&table(family, instance));
    }
    Ok(knarr_nft::apply(gone).await?)
}

fn table(family: Family, instance: &InstanceId) -> Table {
    Table::new(family, &format!("knarr-nodes-{instance}"))
}

/// Nodes reach each other and this node's pods under their own addresses, and the world under the machine's.
fn ruleset(settings: &Settings, range: Prefix) -> Transaction {
    let instance = &settings.instance;
    let table = &table(of(range), instance);
    let mut made = Transaction::new();
    made.add_table(table, node::comment(&settings.data_dir));
    let hook = (ChainKind::Nat, Hook::Postrouting, TRANSLATE_SOURCE);
    made.add_chain(table, Chain::hooked("postrouting", hook.0, hook.1, hook.2));
    made.flush_chain(table, "postrouting");
    let link = |name: String| Value::Interface(name);
    let leaves = Rule::new()
        .prefix(Selector::Source(of(range)), range.pair())
        .differs(Selector::OutputInterface, link(instance.bridge()))
        .differs(Selector::OutputInterface, link("lo".to_owned()))
        .differs(
            Selector::OutputInterface,
            link(format!("{}*", instance.link_prefix())),
        );
    made.add_rule(table, "postrouting", leaves.masquerade(false));
    made
}

/// The ranges of the nodes that are there.
async fn existing(handle: &Handle, instance: &InstanceId) -> Result<Vec<Prefix>, Error> {
    let Some(bridge) = rtnl::find(handle, &instance.bridge()).await? else {
        return Ok(Vec::new());
    };
    let addresses = rtnl::addresses(handle).await?;
    let ours = addresses
        .iter()
        .filter(|address| address.header.index == bridge.header.index);
    let ranges = ours.filter_map(|address| {
        let own = rtnl::local(address)?;
        Some(Prefix::new(own, address.header.prefix_len))
    });
    // The kernel gives every link one of its own.
    Ok(ranges.filter(|range| !range::is_of_link(*range)).collect())
}

async fn make_bridge(
    handle: &Handle,
    instance: &InstanceId,
    addresses: &[(IpAddr, u8)],
) -> Result<(), Error> {
    let name = instance.bridge();
    let mut bridge = LinkBridge::new(&name).up();
    if let Some((first, _)) = addresses.first() {
        // A fixed address: else it changes with the ports, and neighbours know the old one for a while.
        bridge = bridge.address(hardware::of(*first).to_vec());
    }
    or_there(handle.link().add(bridge.build()).execute().await)
        .map_err(failed(format!("make the bridge {name}")))?;
    let index = link(handle, &name).await?.header.index;
    let up = rtnl::set_up(handle, index, true).await;
    up.map_err(failed(format!("switch on the bridge {name}")))?;
    for (address, bits) in addresses {
        let added = rtnl::add_address(handle, index, *address, *bits).await;
        or_there(added).map_err(failed(format!("give the bridge {name} its addresses")))?;
    }
    Ok(())
}

async fn switch(instance: &InstanceId, node: &str, up: bool) -> Result<(), Error> {
    let handle = rtnl::connect().map_err(rtnl::Error::Socket)?;
    let port = port_of(&handle, instance, node).await?;
    let set = rtnl::set_up(&handle, port.header.index, up).await;
    Ok(set.map_err(failed(format!("switch the link of the node {node}")))?)
}

/// A node's port of the bridge.
async fn port_of(handle: &Handle, instance: &InstanceId, node: &str) -> Result<LinkMessage, Error> {
    let prefix = instance.port_prefix();
    let links = rtnl::links(handle).await?;
    let mut ports = links
        .into_iter()
        .filter(|link| rtnl::name(link).starts_with(&prefix) && rtnl::alias(link) == Some(node));
    ports.next().ok_or_else(|| Error::NoNode(node.to_owned()))
}

async fn link(handle: &Handle, name: &str) -> Result<LinkMessage, Error> {
    let found = rtnl::find(handle, name).await?;
    Ok(found.ok_or_else(|| rtnl::Error::Vanished(name.to_owned()))?)
}

async fn loopback(handle: &Handle) -> Result<u32, Error> {
    Ok(link(handle, "lo").await?.header.index)
}

/// The other end and all routes go with it.
async fn remove_link(handle: &Handle, name: &str) -> Result<(), Error> {
    let Some(link) = rtnl::find(handle, name).await? else {
        return Ok(());
    };
    let removed = handle.link().del(link.header.index).execute().await;
    Ok(or_gone(removed).map_err(failed(format!("remove the link {name}")))?)
}
