//! What is already on a machine and cannot be shared: looked at before anything is made.

use std::{collections::HashMap, net::IpAddr};

use futures::TryStreamExt;
use knarr_meta::prefix::Prefix;
use knarr_nft::Family;
use rtnetlink::{
    Handle,
    packet_route::route::{RouteAddress, RouteAttribute, RouteMessage},
};

use super::{Error, connect, routes::query};
use crate::rtnl;

/// An address within `range` or a route into a part of it, as `10.42.0.0/24 on cni0`. Wider routes are no obstacle: those to
/// pods are longer.
pub async fn overlap(range: Prefix) -> Result<Option<String>, Error> {
    let used = used(&connect()?).await?;
    let found = used.into_iter().find(|(used, _)| range.covers(used));
    Ok(found.map(|(used, link)| format!("{used} on {link}")))
}

/// The machine's own addresses and where its routes lead, each with the link's name.
pub(crate) async fn used(handle: &Handle) -> Result<Vec<(Prefix, String)>, Error> {
    let links = links(handle).await?;
    let mut used = Vec::new();
    let mut addresses = Box::pin(handle.address().get().execute());
    while let Some(message) = addresses.try_next().await.map_err(Error::Address)? {
        let own = rtnl::local(&message);
        used.extend(own.map(|address| (Prefix::host(address), message.header.index)));
    }
    for family in Family::BOTH {
        let mut routes = Box::pin(handle.route().get(query(family)).execute());
        while let Some(route) = routes.try_next().await.map_err(Error::Route)? {
            used.extend(destination(&route));
        }
    }
    let name = |index: u32| links.get(&index).map_or("?", String::as_str).to_owned();
    Ok(used
        .into_iter()
        .map(|(range, link)| (range, name(link)))
        .collect())
}

/// Where a route leads, and by which link.
fn destination(route: &RouteMessage) -> Option<(Prefix, u32)> {
    let mut link = 0;
    let mut destination = None;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => {
                destination = Some(IpAddr::V4(*address));
            }
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
                destination = Some(IpAddr::V6(*address));
            }
            RouteAttribute::Oif(index) => link = *index,
            _ => {}
        }
    }
    let bits = route.header.destination_prefix_length;
    Some((Prefix::new(destination?, bits), link))
}

async fn links(handle: &Handle) -> Result<HashMap<u32, String>, Error> {
    let mut names = HashMap::new();
    let mut links = Box::pin(handle.link().get().execute());
    while let Some(link) = links.try_next().await.map_err(Error::Route)? {
        names.insert(link.header.index, rtnl::name(&link).to_owned());
    }
    Ok(names)
}
