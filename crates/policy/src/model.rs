//! What policies and pods say, free of the API's shapes.
//!
//! A rule of a policy becomes sets: of addresses that its pod peers have, of ranges of addresses (`ipBlock`), of port numbers
//! for each protocol, and of what its named ports are. Sets are values: equal ones of a namespace's policies are one.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use k8s_openapi::{
    api::{
        core::v1::Pod,
        networking::v1::{IPBlock, NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort},
    },
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};
use knarr_meta::{labels::Selector, prefix::Prefix};
use knarr_nft::{Family, Protocol};

use crate::ranges::{Range, merged, without};

/// Most different combinations of peers and ports that one policy may have in one direction; a policy with more allows nothing.
pub const CLAUSES_MAX: usize = 2048;

/// Most ranges of addresses and ports that one policy may have in one direction, also as what its exceptions leave: room for every
/// other port of a protocol. A policy with more allows nothing.
pub const RANGES_MAX: usize = 40_000;

pub type Labels = BTreeMap<String, String>;

/// Which way connections go, seen from the pod that a policy selects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    pub const BOTH: [Self; 2] = [Self::Ingress, Self::Egress];

    pub fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    pub fn index(self) -> usize {
        match self {
            Self::Ingress => 0,
            Self::Egress => 1,
        }
    }
}

/// Which namespaces a peer's pods may be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// The policy's own.
    Own(String),
    Selected(Selector),
}

/// Pods by labels of theirs and of their namespaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPeer {
    pub namespaces: Namespaces,
    pub pods: Selector,
}

/// What a set of the kernel has in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetSpec {
    /// Addresses of the pods that any of the peers is about.
    Pods(Vec<PodPeer>),
    Blocks(Blocks),
    /// Ranges of ports.
    Ports(Vec<Range>),
    /// Ports of pods that have one of these names.
    Named(Vec<(Protocol, String)>),
}

/// Ranges of addresses, in each family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    pub ip: Vec<Range>,
    pub ip6: Vec<Range<u128>>,
}

impl Blocks {
    fn len(&self) -> usize {
        self.ip.len() + self.ip6.len()
    }

    fn extend(&mut self, other: Self) {
        self.ip.extend(other.ip);
        self.ip6.extend(other.ip6);
    }

    fn add(&mut self, prefix: &Prefix) {
        match prefix.address() {
            IpAddr::V4(first) => {
                let hosts = u32::MAX.checked_shr(prefix.bits().into()).unwrap_or(0);
                self.ip.push((first.to_bits(), first.to_bits() | hosts));
            }
            IpAddr::V6(first) => {
                let hosts = u128::MAX.checked_shr(prefix.bits().into()).unwrap_or(0);
                self.ip6.push((first.to_bits(), first.to_bits() | hosts));
            }
        }
    }

    fn merged(self) -> Self {
        Self {
            ip: merged(self.ip),
            ip6: merged(self.ip6),
        }
    }

    /// What is in none of `holes`, which are [`merged`].
    fn without(&self, holes: &Self) -> Self {
        let ip = self.ip.iter().flat_map(|range| without(*range, &holes.ip));
        let ip6 = self.ip6.iter();
        Self {
            ip: ip.collect(),
            ip6: ip6.flat_map(|range| without(*range, &holes.ip6)).collect(),
        }
    }
}

impl SetSpec {
    /// How many elements it has whatever pods there are.
    pub fn ranges(&self) -> usize {
        match self {
            Self::Blocks(blocks) => blocks.len(),
            Self::Ports(ranges) => ranges.len(),
            Self::Pods(_) | Self::Named(_) => 0,
        }
    }
}

/// Which ports a clause is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ports<S> {
    Any,
    Protocol(Protocol),
    Numbers(Protocol, S),
    Named(S),
}

/// Allows one kind of peers on one kind of ports. Without peers: anybody.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Clause<S> {
    pub peers: Option<S>,
    pub ports: Ports<S>,
}

/// A NetworkPolicy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    pub selector: Selector,
    /// By [`Direction::index`]: none where the policy does not isolate.
    pub clauses: [Option<Vec<Clause<Arc<SetSpec>>>>; 2],
    /// Why some of it allows nothing.
    pub complaint: Option<String>,
}

impl Policy {
    /// Never fails: what cannot be understood allows nothing, and a selector that cannot be understood selects every pod. Blocks of
    /// families that pods have no addresses of are nobody.
    pub fn of(policy: &NetworkPolicy, families: &[Family]) -> Self {
        let meta = &policy.metadata;
        let namespace = meta.namespace.clone().unwrap_or_default();
        let spec = policy.spec.clone().unwrap_or_default();
        let mut reader = Reader {
            namespace: &namespace,
            families,
            ranges: 0,
            complaint: None,
        };
        // An absent selector is an empty one.
        let selector = spec.pod_selector.as_ref();
        let selector = selector.map_or(Some(Selector::everything()), |s| reader.selector(s));
        let ingress = spec.ingress.iter().flatten();
        let ingress: Vec<_> = ingress
            .flat_map(|rule| reader.rule(rule.from.as_deref(), rule.ports.as_deref()))
            .collect();
        let ingress_ranges = std::mem::take(&mut reader.ranges);
        let egress = spec.egress.iter().flatten();
        let egress: Vec<_> = egress
            .flat_map(|rule| reader.rule(rule.to.as_deref(), rule.ports.as_deref()))
            .collect();
        let egress_ranges = std::mem::take(&mut reader.ranges);
        // Upstream's default: ingress always, egress if there are rules for it.
        let types = spec.policy_types.clone().filter(|types| !types.is_empty());
        let isolates = |name: &str, default: bool| {
            types
                .as_ref()
                .map_or(default, |t| t.iter().any(|t| t == name))
        };
        let has_egress = spec.egress.as_ref().is_some_and(|rules| !rules.is_empty());
        let clauses = [
            isolates("Ingress", true).then(|| reader.bounded(ingress, ingress_ranges)),
            isolates("Egress", has_egress).then(|| reader.bounded(egress, egress_ranges)),
        ];
        let complaint = reader.complaint;
        Self {
            name: meta.name.clone().unwrap_or_default(),
            uid: meta.uid.clone().unwrap_or_default(),
            selector: selector.unwrap_or_default(),
            clauses,
            complaint,
            namespace,
        }
    }
}

/// Reads the rules of one policy.
struct Reader<'a> {
    namespace: &'a str,
    families: &'a [Family],
    /// How many the sets have that were read.
    ranges: usize,
    complaint: Option<String>,
}

impl Reader<'_> {
    fn complain(&mut self, what: impl Into<String>) {
        self.complaint.get_or_insert_with(|| what.into());
    }

    fn selector(&mut self, selector: &LabelSelector) -> Option<Selector> {
        match Selector::from_label_selector(selector) {
            Ok(selector) => Some(selector),
            Err(error) => {
                self.complain(format!("a selector cannot be understood: {error}"));
                None
            }
        }
    }

    fn bounded<S>(&mut self, clauses: Vec<Clause<S>>, ranges: usize) -> Vec<Clause<S>> {
        if clauses.len() > CLAUSES_MAX {
            self.complain(format!(
                "{} combinations of peers and ports are more than the {CLAUSES_MAX} that a policy may have: it allows none of them",
                clauses.len()
            ));
        } else if ranges > RANGES_MAX {
            self.complain(format!(
                "{ranges} ranges are more than the {RANGES_MAX} that a policy may have: it allows none of them"
            ));
        } else {
            return clauses;
        }
        Vec::new()
    }

    /// Every kind of peers with every kind of ports.
    fn rule(
        &mut self,
        peers: Option<&[NetworkPolicyPeer]>,
        ports: Option<&[NetworkPolicyPort]>,
    ) -> Vec<Clause<Arc<SetSpec>>> {
        let peers = match peers.filter(|peers| !peers.is_empty()) {
            None => vec![None],
            Some(peers) => self.peers(peers).into_iter().map(Some).collect(),
        };
        let ports = match ports.filter(|ports| !ports.is_empty()) {
            None => vec![Ports::Any],
            Some(ports) => self.ports(ports),
        };
        let with_ports = |peers: &Option<Arc<SetSpec>>| {
            let peers = peers.clone();
            ports.iter().map(move |ports| Clause {
                peers: peers.clone(),
                ports: ports.clone(),
            })
        };
        peers.iter().flat_map(with_ports).collect()
    }

    fn peers(&mut self, peers: &[NetworkPolicyPeer]) -> Vec<Arc<SetSpec>> {
        let mut pods: Vec<PodPeer> = Vec::new();
        let mut blocks = Blocks::default();
        for peer in peers {
            if let Some(block) = &peer.ip_block {
                match self.addresses(block) {
                    Ok(found) => blocks.extend(found),
                    Err(text) => self.complain(text),
                }
                continue;
            }
            let selected = match &peer.namespace_selector {
                None => Some(Namespaces::Own(self.namespace.to_owned())),
                Some(selector) => self.selector(selector).map(Namespaces::Selected),
            };
            let labels = match &peer.pod_selector {
                None => Some(Selector::everything()),
                Some(selector) => self.selector(selector),
            };
            if let (Some(namespaces), Some(labels)) = (selected, labels) {
                pods.push(PodPeer {
                    namespaces,
                    pods: labels,
                });
            }
        }
        let pods = Some(pods)
            .filter(|pods| !pods.is_empty())
            .map(SetSpec::Pods);
        let blocks = Some(blocks.merged()).filter(|blocks| blocks.len() > 0);
        let blocks = blocks.map(SetSpec::Blocks);
        self.ranges += blocks.as_ref().map_or(0, SetSpec::ranges);
        pods.into_iter().chain(blocks).map(Arc::new).collect()
    }

    /// The addresses of a block that are in none of its exceptions.
    fn addresses(&self, block: &IPBlock) -> Result<Blocks, String> {
        let read = |text: &str| {
            let range = text.trim().parse::<Prefix>();
            range.map_err(|_| format!("ipBlock {text:?} is no range of addresses"))
        };
        let (mut whole, mut holes) = (Blocks::default(), Blocks::default());
        let range = read(&block.cidr)?;
        if self.families.contains(&Family::of(range.address())) {
            whole.add(&range);
        }
        for except in block.except.iter().flatten() {
            // One that cannot be read: what was to be kept out is not known.
            holes.add(&read(except)?);
        }
        Ok(whole.without(&holes.merged()))
    }

    fn ports(&mut self, ports: &[NetworkPolicyPort]) -> Vec<Ports<Arc<SetSpec>>> {
        let mut numbers: BTreeMap<Protocol, Vec<Range>> = BTreeMap::new();
        let mut whole = Vec::new();
        let mut named = Vec::new();
        for port in ports {
            let Some(protocol) = protocol(port.protocol.as_deref()) else {
                let name = port.protocol.as_deref().unwrap_or_default();
                self.complain(format!("protocol {name:?} is not supported"));
                continue;
            };
            match &port.port {
                None => whole.push(protocol),
                Some(IntOrString::String(name)) => named.push((protocol, name.clone())),
                Some(IntOrString::Int(first)) => {
                    let last = port.end_port.unwrap_or(*first);
                    match (u16::try_from(*first), u16::try_from(last)) {
                        (Ok(first), Ok(last)) => {
                            let range = (u32::from(first), u32::from(last));
                            numbers.entry(protocol).or_default().push(range);
                        }
                        _ => self.complain(format!("ports {first} to {last} are none")),
                    }
                }
            }
        }
        whole.sort_unstable();
        whole.dedup();
        numbers.retain(|protocol, _| !whole.contains(protocol));
        named.sort_unstable();
        named.dedup();
        let numbers = numbers.into_iter().filter_map(|(protocol, ranges)| {
            let ranges = Some(merged(ranges)).filter(|ranges| !ranges.is_empty())?;
            self.ranges += ranges.len();
            Some(Ports::Numbers(protocol, Arc::new(SetSpec::Ports(ranges))))
        });
        let named = Some(named).filter(|named| !named.is_empty());
        let named = named.map(|named| Ports::Named(Arc::new(SetSpec::Named(named))));
        let whole = whole.into_iter().map(Ports::Protocol);
        whole.chain(numbers).chain(named).collect()
    }
}

/// A protocol by name; TCP if there is none.
fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name {
        None | Some("" | "TCP") => Some(Protocol::Tcp),
        Some("UDP") => Some(Protocol::Udp),
        Some("SCTP") => Some(Protocol::Sctp),
        Some(_) => None,
    }
}

/// What matters of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodFacts {
    pub namespace: String,
    pub labels: Labels,
    /// Whether it is, or is to be, on this node.
    pub here: bool,
    /// It has the node's network.
    pub host_network: bool,
    /// The addresses that the API tells, none once it has ended.
    pub addresses: Vec<IpAddr>,
    pub named_ports: Vec<(Protocol, String, u16)>,
}

impl PodFacts {
    pub fn of(pod: &Pod, node: &str) -> Self {
        let spec = pod.spec.as_ref();
        let status = pod.status.as_ref();
        let phase = status.and_then(|status| status.phase.as_deref());
        let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
        let ips = status.and_then(|status| status.pod_ips.as_ref());
        let ips = ips.into_iter().flatten().map(|ip| ip.ip.as_str());
        let first = status.and_then(|status| status.pod_ip.as_deref());
        let mut addresses: Vec<IpAddr> = ips
            .chain(first)
            .filter(|_| !has_ended)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        // Containers that only prepare the others may not be reached by name, but those that stay may.
        let sidecars = spec.and_then(|spec| spec.init_containers.as_ref());
        let sidecars = sidecars.into_iter().flatten();
        let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
        let ports = spec
            .into_iter()
            .flat_map(|spec| &spec.containers)
            .chain(sidecars);
        let ports = ports.flat_map(|container| container.ports.iter().flatten());
        let named_ports = ports
            .filter_map(|port| {
                let number = u16::try_from(port.container_port).ok()?;
                Some((
                    protocol(port.protocol.as_deref())?,
                    port.name.clone()?,
                    number,
                ))
            })
            .collect();
        Self {
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            here: spec.and_then(|spec| spec.node_name.as_deref()) == Some(node),
            host_network: spec.and_then(|spec| spec.host_network) == Some(true),
            addresses,
            named_ports,
        }
    }
}

#[cfg(test)]
mod tests;
