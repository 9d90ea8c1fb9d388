//! Routes of last resort, and what they need.
//!
//! Service addresses need a route so that a connection from the node itself gets as far as the rules that translate it, also on a node
//! without a default route; pod addresses that no pod has are unreachable at once. For IPv4 the loopback link will do for the former.
//! For IPv6 the kernel takes no route to others by it: a bridge without ports stands in, which no packet leaves by.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use futures::TryStreamExt;
use knarr_meta::prefix::Prefix;
use knarr_nft::Family;
use rtnetlink::{
    Handle, LinkBridge, RouteMessageBuilder,
    packet_route::route::{RouteAttribute, RouteMessage, RouteType},
};

use super::{Error, Part, claim, connect};
use crate::{InstanceId, rtnl};

/// The kernel notices at once that an address of the link is gone; asked for when addresses are.
pub(super) fn query(family: Family) -> RouteMessage {
    match family {
        Family::Ip => RouteMessageBuilder::<Ipv4Addr>::new().build(),
        Family::Ip6 => RouteMessageBuilder::<Ipv6Addr>::new().build(),
    }
}

/// Makes those of one family.
pub(super) async fn make(part: Part<'_>) -> Result<(), Error> {
    let handle = connect()?;
    let lo = rtnl::loopback(&handle).await?;
    rtnl::set_up(&handle, lo, true)
        .await
        .map_err(Error::Route)?;
    let by = match part.family {
        Family::Ip => lo,
        Family::Ip6 => {
            claim::take_second(&handle, lo, part.network.dns_listen.ipv6).await?;
            services_link(&handle, &part.network.instance).await?
        }
    };
    let services = prefix_route(part, part.services)?
        .output_interface(by)
        .pref_source(part.node_ip)
        .map_err(|_| Error::Odd(part.node_ip))?;
    let pods = prefix_route(part, part.pods)?.kind(RouteType::Unreachable);
    for route in [services, pods] {
        let added = handle.route().add(route.build()).replace().execute().await;
        added.map_err(Error::Route)?;
    }
    Ok(())
}

fn prefix_route(part: Part<'_>, range: Prefix) -> Result<RouteMessageBuilder<IpAddr>, Error> {
    let route = RouteMessageBuilder::<IpAddr>::new()
        .destination_prefix(range.address(), range.bits())
        .map_err(|_| Error::Odd(range.address()))?;
    Ok(route.priority(part.network.instance.route_metric()))
}

async fn services_link(handle: &Handle, instance: &InstanceId) -> Result<u32, Error> {
    let name = instance.services();
    let bridge = LinkBridge::new(&name).up().build();
    rtnl::or_there(handle.link().add(bridge).execute().await).map_err(Error::Route)?;
    let link = rtnl::find(handle, &name).await?;
    let index = link.ok_or(rtnl::Error::Vanished(name))?.header.index;
    // Somebody may have switched it off.
    rtnl::set_up(handle, index, true)
        .await
        .map_err(Error::Route)?;
    Ok(index)
}

/// Removes all routes of a cluster.
pub(super) async fn remove(instance: &InstanceId) -> Result<(), Error> {
    let handle = connect()?;
    for family in Family::BOTH {
        for route in ours(&handle, instance, family).await? {
            let removed = handle.route().del(route).execute().await;
            rtnl::or_gone(removed).map_err(Error::Route)?;
        }
    }
    Ok(())
}

/// The links by which a cluster's IPv4 routes lead to other nodes.
pub(super) async fn to_peers(instance: &InstanceId) -> Result<BTreeSet<String>, Error> {
    let handle = connect()?;
    let mut by = BTreeSet::new();
    for route in ours(&handle, instance, Family::Ip).await? {
        let attributes = &route.attributes;
        let is_to_peer = |a: &RouteAttribute| matches!(a, RouteAttribute::Gateway(_));
        if attributes.iter().any(is_to_peer) {
            by.extend(attributes.iter().find_map(|a| match a {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            }));
        }
    }
    let links = rtnl::links(&handle).await?;
    let leading = links
        .iter()
        .filter(|link| by.contains(&link.header.index))
        .map(|link| rtnl::name(link).to_owned());
    Ok(leading.collect())
}

async fn ours(
    handle: &Handle,
    instance: &InstanceId,
    family: Family,
) -> Result<Vec<RouteMessage>, Error> {
    let metric = RouteAttribute::Priority(instance.route_metric());
    let mut listed = Box::pin(handle.route().get(query(family)).execute());
    let mut ours = Vec::new();
    while let Some(route) = listed.try_next().await.map_err(Error::Route)? {
        if route.attributes.contains(&metric) {
            ours.push(route);
        }
    }
    Ok(ours)
}
