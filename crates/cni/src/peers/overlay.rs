//! VXLAN to the nodes that are on no link of ours: one device, that learns nothing and floods nothing.
//!
//! Every far node has a permanent neighbour and forwarding entry, so no packet is ever asked after. Numbers are flannel's. The
//! hardware addresses follow from the ranges of pods: nobody has to publish any.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use futures::TryStreamExt;
use knarr_meta::prefix::Prefix;
use rtnetlink::{
    Handle, LinkVxlan,
    packet_route::{
        AddressFamily,
        link::{InfoData, InfoVxlan, LinkAttribute, LinkInfo, LinkMessage},
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
        },
    },
};

use super::plan::Overlay;
use crate::rtnl::{self, Error, failed, or_gone, or_there};

/// Which of the networks that share a port; flannel's.
const NETWORK_ID: u32 = 1;
/// Of UDP; flannel's, and Linux' own before there was a standard one.
pub const PORT: u16 = 8472;
/// What a packet grows by: the headers of Ethernet, VXLAN, UDP, and IPv4 or IPv6.
const OVERHEAD_IPV4_BYTES: u32 = 50;
const OVERHEAD_IPV6_BYTES: u32 = 70;
/// Shortest packet that every link of IPv6 takes.
const MTU_MIN_BYTES: u32 = 1280;

type Hardware = [u8; 6];

/// The longest packet that fits through the overlay, between machines whose links take `link` bytes.
pub fn mtu(link: u32, outer: IpAddr) -> u32 {
    let overhead = if outer.is_ipv4() {
        OVERHEAD_IPV4_BYTES
    } else {
        OVERHEAD_IPV6_BYTES
    };
    link.saturating_sub(overhead).max(MTU_MIN_BYTES)
}

/// What the device is made from.
pub struct Device<'a> {
    pub name: &'a str,
    /// This node's address, from which it sends.
    pub outer: IpAddr,
    pub mtu: u32,
}

impl Device<'_> {
    /// Makes the device what is wanted; its index.
    pub async fn sync(&self, handle: &Handle, wanted: &Overlay) -> Result<u32, Error> {
        let index = self.ensure(handle, wanted).await?;
        self.addresses(handle, index, &wanted.inside).await?;
        Ok(index)
    }

    pub async fn remove(&self, handle: &Handle) -> Result<(), Error> {
        let Some(link) = rtnl::find(handle, self.name).await? else {
            return Ok(());
        };
        let removed = handle.link().del(link.header.index).execute().await;
        or_gone(removed).map_err(failed(format!("remove the link {}", self.name)))
    }

    async fn ensure(&self, handle: &Handle, wanted: &Overlay) -> Result<u32, Error> {
        if let Some(link) = rtnl::find(handle, self.name).await? {
            if self.is_as_wanted(&link, wanted) {
                return Ok(link.header.index);
            }
            self.remove(handle).await?;
        }
        let link = LinkVxlan::new(self.name, NETWORK_ID)
            .port(PORT)
            .learning(false)
            .address(wanted.hardware.to_vec())
            .mtu(self.mtu)
            .up();
        let link = match self.outer {
            IpAddr::V4(address) => link.local(address),
            IpAddr::V6(address) => link.local6(address),
        };
        let made = handle.link().add(link.build()).execute().await;
        made.map_err(failed(format!(
            "make the link {} (VXLAN {NETWORK_ID} on UDP port {PORT})",
            self.name
        )))?;
        let made = rtnl::find(handle, self.name).await?;
        made.map(|link| link.header.index)
            .ok_or_else(|| Error::Vanished(self.name.to_owned()))
    }

    fn is_as_wanted(&self, link: &LinkMessage, wanted: &Overlay) -> bool {
        let hardware = LinkAttribute::Address(wanted.hardware.to_vec());
        let info = link
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::LinkInfo(info) => info.iter().find_map(|info| match info {
                    LinkInfo::Data(InfoData::Vxlan(info)) => Some(info),
                    _ => None,
                }),
                _ => None,
            });
        let local = match self.outer {
            IpAddr::V4(address) => InfoVxlan::Local(address),
            IpAddr::V6(address) => InfoVxlan::Local6(address),
        };
        let needed = [InfoVxlan::Id(NETWORK_ID), InfoVxlan::Port(PORT), local];
        link.attributes.contains(&hardware)
            && rtnl::is_up(link)
            && rtnl::mtu(link) == Some(self.mtu)
            && info.is_some_and(|info| needed.iter().all(|needed| info.contains(needed)))
    }

    async fn addresses(&self, handle: &Handle, index: u32, wanted: &[IpAddr]) -> Result<(), Error> {
        for message in rtnl::addresses(handle).await? {
            let own = rtnl::local(&message);
            let is_wanted = own.is_some_and(|own| wanted.contains(&own) || is_automatic(own));
            if message.header.index == index && !is_wanted {
                let removed = handle.address().del(message).execute().await;
                or_gone(removed).map_err(failed("change the overlay's addresses"))?;
            }
        }
        for address in wanted {
            let bits = Prefix::host(*address).bits();
            let added = rtnl::add_address(handle, index, *address, bits).await;
            or_there(added).map_err(failed("change the overlay's addresses"))?;
        }
        Ok(())
    }
}

/// The kernel gives every link one.
fn is_automatic(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Makes the device's entries what is wanted. One that the kernel refuses does not hold up the others; the first error is returned.
pub async fn entries(handle: &Handle, index: u32, wanted: &Overlay) -> Result<(), Error> {
    let neighbours = neighbours(handle, index, wanted).await;
    neighbours.and(forwarding(handle, index, wanted).await)
}

/// Whose hardware addresses far nodes' addresses on the overlay are.
async fn neighbours(handle: &Handle, index: u32, wanted: &Overlay) -> Result<(), Error> {
    let inside = wanted
        .far
        .iter()
        .flat_map(|(hardware, far)| far.inside.iter().map(|address| (*address, *hardware)));
    let mut missing: BTreeMap<IpAddr, Hardware> = inside.collect();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        for entry in listed(handle, family, index).await? {
            let is_wanted = destination(&entry).is_some_and(|address| {
                let kept = missing.get(&address) == hardware(&entry).as_ref();
                kept && missing.remove(&address).is_some()
            });
            if !is_wanted && entry.header.state == NeighbourState::Permanent {
                remove(handle, entry).await?;
            }
        }
    }
    let mut outcome = Ok(());
    for (address, hardware) in missing {
        let added = handle
            .neighbours()
            .add(index, address)
            .link_layer_address(&hardware)
            .replace()
            .execute()
            .await;
        outcome = outcome.and(added.map_err(failed("add a node to the overlay's neighbours")));
    }
    outcome
}

/// Where far nodes with these hardware addresses really are.
async fn forwarding(handle: &Handle, index: u32, wanted: &Overlay) -> Result<(), Error> {
    let far = wanted.far.iter();
    let mut missing: BTreeSet<(Hardware, IpAddr)> = far
        .map(|(hardware, far)| (*hardware, far.address))
        .collect();
    for entry in listed(handle, AddressFamily::Bridge, index).await? {
        let key = hardware(&entry).zip(destination(&entry));
        if !key.is_some_and(|key| missing.remove(&key)) {
            remove(handle, entry).await?;
        }
    }
    let mut outcome = Ok(());
    for (hardware, address) in missing {
        let added = handle
            .neighbours()
            .add_bridge(index, &hardware)
            .destination(address)
            .flags(NeighbourFlags::Own)
            .replace()
            .execute()
            .await;
        outcome = outcome.and(added.map_err(failed("add a node to the overlay's forwarding")));
    }
    outcome
}

async fn listed(
    handle: &Handle,
    family: AddressFamily,
    index: u32,
) -> Result<Vec<NeighbourMessage>, Error> {
    let listed = handle.neighbours().get().set_address_family(family);
    let all: Vec<NeighbourMessage> = listed
        .execute()
        .try_collect()
        .await
        .map_err(failed("list the overlay's neighbours"))?;
    let of_link = |entry: &NeighbourMessage| entry.header.ifindex == index;
    Ok(all.into_iter().filter(of_link).collect())
}

async fn remove(handle: &Handle, entry: NeighbourMessage) -> Result<(), Error> {
    let removed = handle.neighbours().del(entry).execute().await;
    or_gone(removed).map_err(failed("remove a node from the overlay"))
}

fn destination(entry: &NeighbourMessage) -> Option<IpAddr> {
    entry
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some((*address).into())
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                Some((*address).into())
            }
            _ => None,
        })
}

fn hardware(entry: &NeighbourMessage) -> Option<Hardware> {
    entry
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(address) => address.as_slice().try_into().ok(),
            _ => None,
        })
}
