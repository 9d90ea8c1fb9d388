//! Which nodes' addresses a Service may get.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Node, Pod, ServiceSpec},
    discovery::v1::EndpointSlice,
};
use knarr_client::IndexKey;

use super::{
    Reserved,
    claims::{Claim, Protocol, Wanted},
};

/// Nodes with this label get no traffic from outside.
const EXCLUDED_LABEL: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
/// The autoscaler is about to take the node away.
const TO_BE_DELETED_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// What the API server gives out as node ports, and for health checks, is nobody else's on nodes.
const NODE_PORTS: std::ops::RangeInclusive<u16> = 30_000..=32_767;

/// A node to which clients may be sent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate {
    pub name: String,
    pub addresses: Vec<IpAddr>,
}

impl Candidate {
    /// None of a node that is not ready, is going away, or is not to get traffic from outside.
    pub(super) fn of(node: &Node) -> Option<Self> {
        let meta = &node.metadata;
        let excluded = (meta.labels.iter()).any(|labels| labels.contains_key(EXCLUDED_LABEL));
        let taints = node
            .spec
            .iter()
            .flat_map(|spec| spec.taints.iter().flatten());
        let leaving = taints
            .into_iter()
            .any(|taint| taint.key == TO_BE_DELETED_TAINT);
        if excluded || leaving || meta.deletion_timestamp.is_some() {
            return None;
        }
        let status = node.status.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        if !conditions.any(|c| c.type_ == "Ready" && c.status == "True") {
            return None;
        }
        let of_type = |type_: &str| -> Vec<IpAddr> {
            let addresses = status.addresses.iter().flatten();
            (addresses.filter(|address| address.type_ == type_))
                .filter_map(|address| address.address.parse().ok())
                .filter(|address| is_reachable(*address))
                .collect()
        };
        let addresses = Some(of_type("ExternalIP")).filter(|external| !external.is_empty());
        Some(Self {
            name: meta.name.clone()?,
            addresses: addresses.unwrap_or_else(|| of_type("InternalIP")),
        })
    }
}

/// Not an address that each machine has for itself: a node that reports such would send everybody's clients to themselves.
fn is_reachable(address: IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !(link_local || address.is_loopback() || address.is_unspecified() || address.is_multicast())
}

/// Nodes with ready endpoints.
pub(super) fn serving_nodes(slices: &[Arc<EndpointSlice>]) -> BTreeSet<String> {
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let ready = endpoints.filter(|endpoint| {
        // Unknown readiness is to be read as ready.
        let ready = endpoint.conditions.as_ref().and_then(|c| c.ready);
        ready.unwrap_or(true)
    });
    ready
        .filter_map(|endpoint| endpoint.node_name.clone())
        .collect()
}

/// Pods that have ports of their node, by its name.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct HostPorts(pub String);

impl IndexKey<Pod> for HostPorts {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else {
            return Vec::new();
        };
        match &spec.node_name {
            Some(node) if host_ports(pod).next().is_some() => vec![Self(node.clone())],
            _ => Vec::new(),
        }
    }
}

impl HostPorts {
    pub(super) fn keys_of(pod: &Pod) -> Vec<Self> {
        <Self as IndexKey<Pod>>::keys_of(pod)
    }
}

fn host_ports(pod: &Pod) -> impl Iterator<Item = (Protocol, u16)> {
    let containers = pod.spec.iter().flat_map(|spec| {
        let early = spec.init_containers.iter().flatten();
        spec.containers.iter().chain(early)
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter_map(|port| {
        let number = u16::try_from(port.host_port?).ok()?;
        let protocol = Protocol::named(port.protocol.as_deref())?;
        (number != 0).then_some((protocol, number))
    })
}

fn is_over(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The nodes' addresses of the Service's families, with what keeps it from them.
pub(super) fn wanted(
    spec: &ServiceSpec,
    nodes: &[Candidate],
    reserved: &[Reserved],
    pods_with_host_ports: impl Fn(&str) -> Vec<Arc<Pod>>,
) -> Vec<Wanted> {
    let ports = ports(spec);
    let refused = refused(&ports, reserved);
    let mut found = BTreeMap::new();
    for node in nodes {
        let pods = pods_with_host_ports(&node.name);
        let mut taken = (pods.iter().filter(|pod| !is_over(pod))).flat_map(|pod| host_ports(pod));
        let problem = taken.find(|port| ports.contains(port));
        let problem = problem.map(|(protocol, port)| {
            format!("{protocol} port {port} of node {} is a pod's", node.name)
        });
        for address in node.addresses.iter().filter(|a| has_family(spec, **a)) {
            let claim = |port: &(Protocol, u16)| Claim {
                address: *address,
                port: Some(*port),
            };
            // Of two nodes that report one address the first by name counts.
            found.entry(*address).or_insert_with(|| Wanted {
                address: *address,
                claims: ports.iter().map(claim).collect(),
                problem: problem.clone(),
                refused: refused.clone(),
            });
        }
    }
    found.into_values().collect()
}

pub(super) fn has_family(spec: &ServiceSpec, address: IpAddr) -> bool {
    let wanted = if address.is_ipv4() { "IPv4" } else { "IPv6" };
    let families = spec.ip_families.as_deref().unwrap_or_default();
    families.is_empty() || families.iter().any(|family| family == wanted)
}

fn ports(spec: &ServiceSpec) -> BTreeSet<(Protocol, u16)> {
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let protocol = Protocol::named(port.protocol.as_deref())?;
        Some((protocol, u16::try_from(port.port).ok()?))
    });
    ports.collect()
}

/// Why no node can serve these ports.
fn refused(ports: &BTreeSet<(Protocol, u16)>, reserved: &[Reserved]) -> Option<String> {
    let of_node = |(protocol, port): &(Protocol, u16)| {
        let holder = reserved
            .iter()
            .find(|r| (r.protocol, r.port) == (*protocol, *port));
        if let Some(holder) = holder {
            return Some(format!(
                "{protocol} port {port} of nodes is kept for {}",
                holder.holder
            ));
        }
        NODE_PORTS
            .contains(port)
            .then(|| format!("port {port} is of the range of node ports"))
    };
    ports.iter().find_map(of_node)
}
