//! The veth pair of a pod and its routes.
//!
//! Both ends get fixed hardware addresses and permanent neighbour entries, so that the first packet needs neither ARP nor neighbour
//! discovery, and addresses are good at once.

use std::{fs::File, net::IpAddr, os::fd::AsRawFd, path::Path};

use futures::TryStreamExt;
use knarr_meta::prefix::Prefix;
use nix::sched::{CloneFlags, setns};
use rtnetlink::{
    Handle, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
    packet_route::{
        link::{InfoData, InfoVeth, LinkFlags, LinkMessage},
        route::{RouteMessage, RouteScope},
    },
};

use crate::{
    hardware,
    result::PluginError,
    rtnl::{self, is_errno},
    trust,
};

pub const LOOPBACK: &str = "lo";

/// The node's end of every pair; the ends never see each other.
pub const HOST_MAC: [u8; 6] = [0xee; 6];

/// What an interface of a pod is made of.
pub struct Pair {
    /// The node's end is named by what it belongs to, so that `DEL` finds it without a record.
    pub host_name: String,
    pub pod_name: String,
    /// At least one, at most one a family; the primary one first.
    pub ends: Vec<End>,
    pub mtu: Option<u32>,
}

/// An address of a pod, and what it takes for the way to all others.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub address: IpAddr,
    pub gateway: IpAddr,
}

impl Pair {
    /// A locally administered address that is unique on the node because the pod's address is.
    pub fn pod_mac(&self) -> [u8; 6] {
        let first = self.ends.first();
        first.map_or([0; 6], |end| hardware::of(end.address))
    }

    fn has_ipv4(&self) -> bool {
        self.ends.iter().any(|end| end.address.is_ipv4())
    }

    fn has_ipv6(&self) -> bool {
        self.ends.iter().any(|end| end.address.is_ipv6())
    }
}

pub fn format_mac(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// Makes the pair from inside the pod's namespace, with the other end placed in the node's, and routes both ways.
pub async fn attach(pair: &Pair, netns: &Path) -> Result<(), PluginError> {
    let host_ns = own_netns()?;
    let host = connect()?;
    let pod = within(netns, connect)?;
    let mut peer = LinkMessageBuilder::<LinkUnspec>::new()
        .name(pair.host_name.clone())
        .address(HOST_MAC.to_vec())
        .setns_by_fd(host_ns.as_raw_fd());
    let mut link = LinkMessageBuilder::<LinkVeth>::new(&pair.pod_name, "")
        .address(pair.pod_mac().to_vec())
        .up();
    if let Some(mtu) = pair.mtu {
        peer = peer.mtu(mtu);
        link = link.mtu(mtu);
    }
    let message = link
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
        .build();
    pod.link()
        .add(message)
        .execute()
        .await
        .map_err(|e| kernel("veth", e))?;
    if pair.has_ipv6() {
        within(netns, || take_ipv6(&pair.pod_name))?;
    }
    pod_side(pair, &pod).await?;
    host_side(pair, &host).await
}

async fn pod_side(pair: &Pair, pod: &Handle) -> Result<(), PluginError> {
    let index = index_of(pod, &pair.pod_name)
        .await?
        .ok_or_else(|| PluginError::new(PluginError::KERNEL, "the pod's interface has vanished"))?;
    switch_loopback(pod, true).await?;
    for end in &pair.ends {
        let host = Prefix::host(end.address).bits();
        rtnl::add_address(pod, index, end.address, host)
            .await
            .map_err(|e| kernel("address", e))?;
        neighbour(pod, index, end.gateway, HOST_MAC).await?;
        // A gateway of IPv6 is of the link by its own address.
        let to_gateway = to_host(end.gateway, index)?;
        let default = rtnl::default_route(end.gateway, index);
        let of_link = end.gateway.is_ipv4().then_some(to_gateway);
        for route in of_link.into_iter().chain([default]) {
            pod.route()
                .add(route)
                .execute()
                .await
                .map_err(|e| kernel("route", e))?;
        }
    }
    Ok(())
}

/// The route to one address on a link.
fn to_host(address: IpAddr, index: u32) -> Result<RouteMessage, PluginError> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, Prefix::host(address).bits())
        .map_err(|e| kernel("route", e))?
        .output_interface(index);
    Ok(match address {
        IpAddr::V4(_) => route.scope(RouteScope::Link).build(),
        IpAddr::V6(_) => route.build(),
    })
}

async fn host_side(pair: &Pair, host: &Handle) -> Result<(), PluginError> {
    let index = index_of(host, &pair.host_name).await?.ok_or_else(|| {
        PluginError::new(PluginError::KERNEL, "the node's interface has vanished")
    })?;
    // Before it is up: a packet that comes before would be taken on the terms of any link.
    confine(pair)?;
    // Not at creation: the kernel refuses to raise the peer before the two know each other.
    let up = LinkUnspec::new_with_index(index).up().build();
    host.link()
        .set(up)
        .execute()
        .await
        .map_err(|e| kernel("veth", e))?;
    for end in &pair.ends {
        neighbour(host, index, end.address, pair.pod_mac()).await?;
        host.route()
            .add(to_host(end.address, index)?)
            .replace()
            .execute()
            .await
            .map_err(|e| kernel("route", e))?;
    }
    Ok(())
}

/// What the node's end takes from a pod: its own address alone, and of no family that the pod has no address of.
fn confine(pair: &Pair) -> Result<(), PluginError> {
    let link = &pair.host_name;
    trust::nothing(link).map_err(setting)?;
    if pair.has_ipv4() {
        trust::loopback(link).map_err(setting)?;
    }
    trust::switch_ipv6(link, pair.has_ipv6()).map_err(setting)
}

/// The pod's end speaks IPv6, also where links do not by default, and believes nobody who says that he is a router.
fn take_ipv6(link: &str) -> Result<(), PluginError> {
    trust::nothing(link).map_err(setting)?;
    trust::switch_ipv6(link, true).map_err(setting)
}

fn setting(error: trust::Error) -> PluginError {
    PluginError::new(PluginError::KERNEL, error.to_string())
}

async fn neighbour(
    handle: &Handle,
    index: u32,
    address: IpAddr,
    mac: [u8; 6],
) -> Result<(), PluginError> {
    handle
        .neighbours()
        .add(index, address)
        .link_layer_address(&mac)
        .replace()
        .execute()
        .await
        .map_err(|e| kernel("neighbour", e))
}

/// Removes the pair by the node's end; one that is gone is no error. The other end and all routes go with it.
pub async fn detach(host_name: &str) -> Result<(), PluginError> {
    let host = connect()?;
    let Some(index) = index_of(&host, host_name).await? else {
        return Ok(());
    };
    match host.link().del(index).execute().await {
        Err(error) if !is_errno(&error, nix::libc::ENODEV) => Err(kernel("veth", error)),
        _ => Ok(()),
    }
}

/// Brings the loopback interface of a namespace up or down.
pub async fn set_loopback(netns: &Path, up: bool) -> Result<(), PluginError> {
    switch_loopback(&within(netns, connect)?, up).await
}

pub async fn loopback_is_up(netns: &Path) -> Result<bool, PluginError> {
    let lo = find(&within(netns, connect)?, LOOPBACK).await?;
    Ok(lo.is_some_and(|lo| lo.header.flags.contains(LinkFlags::Up)))
}

async fn switch_loopback(handle: &Handle, up: bool) -> Result<(), PluginError> {
    let Some(lo) = index_of(handle, LOOPBACK).await? else {
        return Ok(());
    };
    let message = LinkUnspec::new_with_index(lo);
    let message = if up { message.up() } else { message.down() };
    let set = handle.link().set(message.build()).execute().await;
    set.map_err(|e| kernel(LOOPBACK, e))
}

pub(super) async fn index_of(handle: &Handle, name: &str) -> Result<Option<u32>, PluginError> {
    Ok(find(handle, name).await?.map(|link| link.header.index))
}

async fn find(handle: &Handle, name: &str) -> Result<Option<LinkMessage>, PluginError> {
    let mut links = Box::pin(handle.link().get().match_name(name).execute());
    match links.try_next().await {
        Ok(link) => Ok(link),
        Err(error) if is_errno(&error, nix::libc::ENODEV) => Ok(None),
        Err(error) => Err(kernel(name, error)),
    }
}

fn own_netns() -> Result<File, PluginError> {
    File::open("/proc/thread-self/ns/net").map_err(|e| kernel("netns", e))
}

/// Does something in another namespace: a netlink socket belongs to that in which it was opened, and so do settings. The thread has no
/// other work meanwhile, and ends with this one.
fn within<T>(
    netns: &Path,
    work: impl FnOnce() -> Result<T, PluginError>,
) -> Result<T, PluginError> {
    let own = own_netns()?;
    let other = File::open(netns).map_err(|e| kernel(&netns.display().to_string(), e))?;
    setns(&other, CloneFlags::CLONE_NEWNET).map_err(|e| kernel("setns", e))?;
    let done = work();
    setns(&own, CloneFlags::CLONE_NEWNET).map_err(|e| kernel("setns", e))?;
    done
}

pub(super) fn connect() -> Result<Handle, PluginError> {
    rtnl::connect().map_err(|e| kernel("netlink", e))
}

fn kernel(what: &str, error: impl std::fmt::Display) -> PluginError {
    PluginError::new(PluginError::KERNEL, format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_addresses_follow_the_pod_address() {
        let end = |address: &str| End {
            address: address.parse().unwrap(),
            gateway: address.parse().unwrap(),
        };
        let mac = |ends: &[End]| {
            let pair = Pair {
                host_name: String::new(),
                pod_name: String::new(),
                ends: ends.to_vec(),
                mtu: None,
            };
            format_mac(pair.pod_mac())
        };
        let (one, other) = (end("10.42.0.7"), end("fd42:0:0:3::7"));
        assert_eq!(mac(&[one, other]), "0a:58:0a:2a:00:07");
        assert_eq!(mac(&[other, one]), "0a:5a:fd:42:00:04");
    }
}
