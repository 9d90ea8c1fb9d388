//! Routes of the kernel: where addresses are, and the ways to other nodes' pods.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt;
use knarr_meta::prefix::Prefix;
use rtnetlink::{
    Handle, RouteMessageBuilder,
    packet_route::route::{
        RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteType, RouteVia,
    },
};

use super::plan::{Hop, Link, Seen};
use crate::rtnl::{self, Error, failed, is_errno, or_gone};

/// Asks the kernel where it would send what is for `address`. Whatever it has against an address, it is one node's that says so.
pub async fn see(handle: &Handle, address: IpAddr) -> Result<Seen, Error> {
    let what = || format!("look up the route to {address}");
    let bits = Prefix::host(address).bits();
    let query = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(address, bits)
        .map_err(|e| invalid(what(), &e))?;
    let mut answers = Box::pin(handle.route().get(query.build()).execute());
    let route = match answers.try_next().await {
        Ok(Some(route)) => route,
        Ok(None) => return Ok(Seen::Unreachable),
        Err(rtnetlink::Error::NetlinkError(_)) => return Ok(Seen::Unreachable),
        Err(error) => return Err(failed(what())(error)),
    };
    let Some(index) = output(&route) else {
        return Ok(Seen::Unreachable);
    };
    match route.header.kind {
        RouteType::Local => Ok(Seen::Own),
        RouteType::Unicast if gateway(&route).is_some() => Ok(Seen::Routed),
        RouteType::Unicast => Ok(match link_name(handle, index).await? {
            Some(name) => Seen::OnLink { index, name },
            None => Seen::Unreachable,
        }),
        _ => Ok(Seen::Unreachable),
    }
}

async fn link_name(handle: &Handle, index: u32) -> Result<Option<String>, Error> {
    let mut links = Box::pin(handle.link().get().match_index(index).execute());
    match links.try_next().await {
        Ok(link) => Ok(link.map(|link| rtnl::name(&link).to_owned())),
        Err(error) if is_errno(&error, nix::libc::ENODEV) => Ok(None),
        Err(error) => Err(failed("look for a link")(error)),
    }
}

/// Makes the routes of this metric that lead to a next hop those that are wanted. One that the kernel refuses does not hold up the
/// others; the first error is returned.
pub async fn sync(
    handle: &Handle,
    metric: u32,
    wanted: &BTreeMap<Prefix, Hop>,
    overlay: Option<u32>,
) -> Result<(), Error> {
    let mut outcome = Ok(());
    let mut there = BTreeMap::new();
    for route in ours(handle, metric).await? {
        match destination(&route) {
            Some(range) if wanted.contains_key(&range) => {
                there.insert(range, route);
            }
            _ => {
                let removed = or_gone(handle.route().del(route).execute().await);
                outcome = outcome.and(removed.map_err(failed("remove the route to a node's pods")));
            }
        }
    }
    for (range, hop) in wanted {
        let index = match (&hop.link, overlay) {
            (Link::Real { index, .. }, _) => *index,
            (Link::Overlay, Some(index)) => index,
            (Link::Overlay, None) => continue,
        };
        if there
            .get(range)
            .is_some_and(|route| leads(route, hop, index))
        {
            continue;
        }
        outcome = outcome.and(replace(handle, range, build(range, hop, index, metric)).await);
    }
    outcome
}

async fn replace(
    handle: &Handle,
    range: &Prefix,
    route: Result<RouteMessage, Error>,
) -> Result<(), Error> {
    let added = handle.route().add(route?).replace().execute().await;
    added.map_err(failed(format!("make the route to {range}")))
}

fn build(range: &Prefix, hop: &Hop, index: u32, metric: u32) -> Result<RouteMessage, Error> {
    let invalid = |error| invalid(format!("make the route to {range}"), &error);
    let mut route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(range.address(), range.bits())
        .and_then(|route| route.gateway(hop.gateway))
        .map_err(invalid)?
        .output_interface(index)
        .priority(metric);
    if let Some(source) = hop.source {
        route = route.pref_source(source).map_err(invalid)?;
    }
    if hop.link == Link::Overlay {
        // Nobody's address tells the kernel that the far end is there.
        route = route.onlink();
    }
    Ok(route.build())
}

/// Those that lead to a next hop; the routes of last resort do not.
async fn ours(handle: &Handle, metric: u32) -> Result<Vec<RouteMessage>, Error> {
    let mut found = Vec::new();
    let queries = [
        RouteMessageBuilder::<Ipv4Addr>::new().build(),
        RouteMessageBuilder::<Ipv6Addr>::new().build(),
    ];
    for query in queries {
        let mut listed = Box::pin(handle.route().get(query).execute());
        while let Some(route) = listed.try_next().await.map_err(failed("list the routes"))? {
            let is_ours = route.header.table == RouteHeader::RT_TABLE_MAIN
                && gateway(&route).is_some()
                && has_metric(&route, metric);
            if is_ours {
                found.push(route);
            }
        }
    }
    Ok(found)
}

fn leads(route: &RouteMessage, hop: &Hop, index: u32) -> bool {
    gateway(route) == Some(hop.gateway)
        && output(route) == Some(index)
        && source(route) == hop.source
}

pub fn has_metric(route: &RouteMessage, metric: u32) -> bool {
    route.attributes.contains(&RouteAttribute::Priority(metric))
}

pub fn destination(route: &RouteMessage) -> Option<Prefix> {
    let address = find(route, |attribute| match attribute {
        RouteAttribute::Destination(address) => ip(address),
        _ => None,
    })?;
    Some(Prefix::new(address, route.header.destination_prefix_length))
}

fn gateway(route: &RouteMessage) -> Option<IpAddr> {
    find(route, |attribute| match attribute {
        RouteAttribute::Gateway(address) => ip(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    })
}

fn source(route: &RouteMessage) -> Option<IpAddr> {
    find(route, |attribute| match attribute {
        RouteAttribute::PrefSource(address) => ip(address),
        _ => None,
    })
}

fn output(route: &RouteMessage) -> Option<u32> {
    find(route, |attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

fn find<T>(route: &RouteMessage, wanted: impl Fn(&RouteAttribute) -> Option<T>) -> Option<T> {
    route.attributes.iter().find_map(wanted)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

fn invalid(what: String, error: &dyn std::fmt::Display) -> Error {
    Error::Invalid {
        what,
        why: error.to_string(),
    }
}
