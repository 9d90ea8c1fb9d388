//! What is already on a machine and cannot be shared: looked at before anything is made.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
};

use futures::TryStreamExt;
use rtnetlink::{
    Handle,
    packet_route::{
        address::AddressAttribute,
        link::LinkAttribute,
        route::{RouteAddress, RouteAttribute, RouteMessage},
    },
};

use super::{Error, connect, ipv4_query};

/// An address range: address and prefix length.
type Range = (Ipv4Addr, u8);

/// An address within `range` or a route into a part of it, as `10.42.0.0/24 on cni0`. Wider routes are no obstacle: those to
/// pods are longer.
pub async fn overlap(range: Range) -> Result<Option<String>, Error> {
    let handle = connect()?;
    let links = links(&handle).await?;
    let name = |index: u32| links.get(&index).map_or("?", String::as_str);
    let mut used = Vec::new();
    let mut addresses = Box::pin(handle.address().get().execute());
    while let Some(message) = addresses.try_next().await.map_err(Error::Address)? {
        used.extend(
            message
                .attributes
                .iter()
                .filter_map(|attribute| match attribute {
                    AddressAttribute::Local(IpAddr::V4(address)) => {
                        Some(((*address, 32), message.header.index))
                    }
                    _ => None,
                }),
        );
    }
    let mut routes = Box::pin(handle.route().get(ipv4_query()).execute());
    while let Some(route) = routes.try_next().await.map_err(Error::Route)? {
        used.extend(destination(&route));
    }
    let (base, prefix) = range;
    let within = |(address, length): Range| {
        length >= prefix && masked(address, prefix) == masked(base, prefix)
    };
    let found = used.into_iter().find(|(used, _)| within(*used));
    Ok(found.map(|((address, length), link)| format!("{address}/{length} on {}", name(link))))
}

fn masked(address: Ipv4Addr, prefix: u8) -> u32 {
    let shift = 32 - u32::from(prefix.min(32));
    u32::from(address).checked_shr(shift).unwrap_or_default()
}

/// Where a route leads, and by which link.
fn destination(route: &RouteMessage) -> Option<(Range, u32)> {
    let mut link = 0;
    let mut destination = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(*address)
            }
            RouteAttribute::Oif(index) => link = *index,
            _ => {}
        }
    }
    Some(((destination?, route.header.destination_prefix_length), link))
}

async fn links(handle: &Handle) -> Result<HashMap<u32, String>, Error> {
    let mut names = HashMap::new();
    let mut links = Box::pin(handle.link().get().execute());
    while let Some(link) = links.try_next().await.map_err(Error::Route)? {
        let name = link
            .attributes
            .into_iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
        names.insert(link.header.index, name.unwrap_or_default());
    }
    Ok(names)
}
