//! Addresses of nodes, which a Service does not have by naming them.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Service};

use crate::model;

/// Where nodes send each other what is for their pods, over UDP.
pub const VXLAN_PORT: u16 = 8472;

/// Addresses of nodes that are to be kept from a Service.
#[derive(Default)]
pub struct OfNodes {
    /// This node's: it may have those, but not each of their ports.
    pub own: HashSet<IpAddr>,
    /// Those of other nodes: all but what a load balancer has given it.
    pub others: HashSet<IpAddr>,
}

/// What a node says that its addresses are.
pub fn of(node: &Node) -> Vec<IpAddr> {
    let status = node.status.iter();
    let addresses = status.flat_map(|status| status.addresses.iter().flatten());
    addresses.filter_map(|a| a.address.parse().ok()).collect()
}

/// Whether the Service wants addresses beside those that the cluster gives out.
pub fn are_named(service: &Service) -> bool {
    let named = service.spec.as_ref().and_then(|s| s.external_ips.as_ref());
    named.is_some_and(|named| !named.is_empty())
        || model::balanced_addresses(service).next().is_some()
}

/// Those of all nodes, which are asked for where the Service may want some; `own` is the name of this one.
pub fn of_nodes(nodes: impl FnOnce() -> Vec<Arc<Node>>, own: &str, service: &Service) -> OfNodes {
    let mut all = OfNodes::default();
    if !are_named(service) {
        return all;
    }
    for node in nodes() {
        let is_own = node.metadata.name.as_deref() == Some(own);
        let side = if is_own {
            &mut all.own
        } else {
            &mut all.others
        };
        side.extend(of(&node));
    }
    for given in model::balanced_addresses(service) {
        all.others.remove(&given);
    }
    // Of two nodes that say that they have an address, this one knows.
    let own = &all.own;
    all.others.retain(|address| !own.contains(address));
    all
}
