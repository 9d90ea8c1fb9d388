//! Which endpoints serve a service port, and for whom.

mod range;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::api::{
    core::v1::{Service, ServicePort as ApiPort, ServiceSpec},
    discovery::v1::{Endpoint as ApiEndpoint, EndpointSlice},
};

use knarr_meta::prefix::Prefix;
use knarr_nft::{Family, Protocol};

use range::disjoint;

/// Services with this label belong to another proxy.
const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// Upstream's default of `sessionAffinityConfig.clientIP.timeoutSeconds`: three hours.
const DEFAULT_AFFINITY_SECONDS: i32 = 10_800;

/// Namespace and name of a Service.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceKey {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// An address and port that answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    pub address: IpAddr,
    pub port: u16,
}

/// What clients address: an address of a service, or a port of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Frontend {
    /// None for a port on every address of the node.
    pub address: Option<IpAddr>,
    pub protocol: Protocol,
    pub port: u16,
}

/// As nft writes it.
impl fmt::Display for Frontend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address} . ")?;
        }
        write!(f, "{} . {}", self.protocol, self.port)
    }
}

/// One port of a Service in one family, ready to be made into rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The port's name, or its number where it has none.
    pub name: String,
    pub protocol: Protocol,
    pub port: u16,
    /// Cluster addresses: reached from inside.
    pub cluster_ips: Vec<IpAddr>,
    /// External and load balancer addresses.
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses that only clients of `source_ranges` may use.
    pub guarded_ips: Vec<IpAddr>,
    pub source_ranges: Vec<Prefix>,
    pub node_port: Option<u16>,
    /// Seconds a client keeps its endpoint.
    pub affinity_seconds: Option<i32>,
    pub internal_local: bool,
    pub external_local: bool,
    /// Endpoints anywhere, and those of this node.
    pub all: Vec<Endpoint>,
    pub local: Vec<Endpoint>,
    /// Where flows that exist may go on: every endpoint that serves, whatever the policies say of new ones.
    pub serving: BTreeSet<Endpoint>,
}

/// What a load balancer is told of a service by this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Where it asks.
    pub port: u16,
    /// Ready endpoints of this node.
    pub local_endpoints: usize,
}

/// Where this proxy is.
#[derive(Clone, Debug, Default)]
pub struct Place {
    pub node: String,
    /// The node's; empty where it has none.
    pub zone: String,
}

/// The ports that this proxy serves at addresses of a family: none for headless and ExternalName services, for those of another proxy, and
/// for those that have no cluster address of that family, whatever other addresses they name.
pub fn service_ports(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    place: &Place,
    family: Family,
) -> Vec<ServicePort> {
    let Some((spec, cluster_ips)) = served(service, family) else {
        return Vec::new();
    };
    let balancer = service.status.iter().flat_map(|s| &s.load_balancer);
    let balancer = balancer.flat_map(|b| b.ingress.iter().flatten());
    let ingress: Vec<String> = balancer
        .filter(|i| i.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|i| i.ip.clone())
        .collect();
    let guarded = spec
        .load_balancer_source_ranges
        .as_deref()
        .unwrap_or_default();
    let (open, closed) = match guarded {
        [] => (ingress.as_slice(), [].as_slice()),
        _ => ([].as_slice(), ingress.as_slice()),
    };
    let external_ips = addresses(spec.external_ips.iter().flatten().chain(open), family);
    let guarded_ips = addresses(closed.iter(), family);
    // Upstream takes them with spaces around.
    let source_ranges = guarded
        .iter()
        .filter_map(|range| range.trim().parse::<Prefix>().ok())
        .filter(|range| Family::of(range.address()) == family);
    let source_ranges = disjoint(source_ranges.collect());
    let affinity = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref();
        config
            .and_then(|c| c.client_ip.as_ref()?.timeout_seconds)
            .unwrap_or(DEFAULT_AFFINITY_SECONDS)
    });
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let protocol = protocol(port.protocol.as_deref())?;
        let found = endpoints(port, slices, place, family);
        Some(ServicePort {
            name: match port.name.as_deref() {
                None | Some("") => port.port.to_string(),
                Some(name) => name.to_owned(),
            },
            protocol,
            port: u16::try_from(port.port).ok()?,
            cluster_ips: cluster_ips.clone(),
            external_ips: external_ips.clone(),
            guarded_ips: guarded_ips.clone(),
            source_ranges: source_ranges.clone(),
            node_port: port
                .node_port
                .and_then(|p| u16::try_from(p).ok())
                .filter(|p| *p != 0),
            affinity_seconds: affinity,
            internal_local: is_local(&spec.internal_traffic_policy),
            external_local: is_local(&spec.external_traffic_policy),
            all: anywhere(&found),
            local: here(&found),
            serving: found.keys().copied().collect(),
        })
    });
    ports.collect()
}

/// Those that a load balancer has given the Service, of both families.
pub fn balanced_addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let balancer = service.status.iter().flat_map(|s| &s.load_balancer);
    let ingress = balancer.flat_map(|b| b.ingress.iter().flatten());
    ingress.filter_map(|i| i.ip.as_ref()?.parse().ok())
}

/// What load balancers may ask about a service, of those that keep the client's address. Endpoints are counted in the family that has
/// more of them: a pod may have an address in each.
pub fn health(
    service: &Service,
    slices: &[Arc<EndpointSlice>],
    place: &Place,
    families: impl IntoIterator<Item = Family>,
) -> Option<Health> {
    let served = families
        .into_iter()
        .filter_map(|family| Some((served(service, family)?.0, family)));
    let mut served = served.peekable();
    let spec = served.peek()?.0;
    let balanced = spec.type_.as_deref() == Some("LoadBalancer");
    if !balanced || !is_local(&spec.external_traffic_policy) {
        return None;
    }
    let port = u16::try_from(spec.health_check_node_port?).ok()?;
    let here = |family| {
        let here = spec.ports.iter().flatten().flat_map(|port| {
            let found = endpoints(port, slices, place, family);
            let ready = found
                .into_iter()
                .filter(|(_, found)| found.condition == Condition::Ready && found.here);
            ready.map(|(endpoint, _)| endpoint.address)
        });
        here.collect::<BTreeSet<IpAddr>>().len()
    };
    (port != 0).then(|| Health {
        port,
        local_endpoints: served
            .map(|(_, family)| here(family))
            .max()
            .unwrap_or_default(),
    })
}

/// A service's spec and cluster addresses of a family, if it is for this proxy.
fn served(service: &Service, family: Family) -> Option<(&ServiceSpec, Vec<IpAddr>)> {
    let spec = service.spec.as_ref()?;
    let labels = service.metadata.labels.as_ref();
    let foreign = labels.is_some_and(|l| l.contains_key(PROXY_NAME_LABEL));
    let external_name = spec.type_.as_deref() == Some("ExternalName");
    let cluster_ips = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    let cluster_ips = addresses(cluster_ips, family);
    (!foreign && !external_name && !cluster_ips.is_empty()).then_some((spec, cluster_ips))
}

fn is_local(policy: &Option<String>) -> bool {
    policy.as_deref() == Some("Local")
}

/// The addresses of a family among `texts`, each once. "None" and those of the other family drop out.
fn addresses<'a>(texts: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpAddr> {
    let found = texts.filter_map(|text| text.parse().ok());
    let set: BTreeSet<IpAddr> = found.filter(|a| Family::of(*a) == family).collect();
    set.into_iter().collect()
}

fn protocol(name: Option<&str>) -> Option<Protocol> {
    match name.unwrap_or("TCP") {
        "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        "SCTP" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// What is known of an endpoint.
#[derive(Clone, Copy)]
struct Known {
    condition: Condition,
    /// On this node.
    here: bool,
    /// Whether it is meant for clients of this node, and of this node's zone.
    for_node: Hint,
    for_zone: Hint,
}

/// Whom an endpoint is meant for, as its slice says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hint {
    Missing,
    Others,
    Us,
}

impl Hint {
    fn of<'a>(names: impl Iterator<Item = &'a String>, own: &str) -> Self {
        let mut hint = Self::Missing;
        for name in names {
            if name == own {
                return Self::Us;
            }
            hint = Self::Others;
        }
        hint
    }
}

/// A port's endpoints.
type Found = BTreeMap<Endpoint, Known>;

/// The endpoints of a port that serve. By address and port: slices may overlap for a moment.
fn endpoints(
    port: &ApiPort,
    slices: &[Arc<EndpointSlice>],
    place: &Place,
    family: Family,
) -> Found {
    let mut found = Found::new();
    let wanted = port.name.as_deref().unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let kind = match family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    };
    for slice in slices.iter().filter(|s| s.address_type == kind) {
        let target = slice.ports.iter().flatten().find(|p| {
            p.name.as_deref().unwrap_or_default() == wanted
                && p.protocol.as_deref().unwrap_or("TCP") == protocol
        });
        let Some(target) = target.and_then(|p| u16::try_from(p.port?).ok()) else {
            continue;
        };
        for endpoint in &slice.endpoints {
            let Some(known) = Known::of(endpoint, place) else {
                continue;
            };
            let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
            for address in addresses.filter(|a| Family::of(*a) == family) {
                let key = Endpoint {
                    address,
                    port: target,
                };
                let entry = found.entry(key).or_insert(known);
                entry.condition = entry.condition.max(known.condition);
            }
        }
    }
    found
}

impl Known {
    fn of(endpoint: &ApiEndpoint, place: &Place) -> Option<Self> {
        let hints = endpoint.hints.as_ref();
        let nodes = hints
            .iter()
            .flat_map(|hints| hints.for_nodes.iter().flatten());
        let zones = hints
            .iter()
            .flat_map(|hints| hints.for_zones.iter().flatten());
        Some(Self {
            condition: Condition::of(endpoint)?,
            here: endpoint.node_name.as_deref() == Some(place.node.as_str()),
            for_node: Hint::of(nodes.map(|hint| &hint.name), &place.node),
            for_zone: Hint::of(zones.map(|hint| &hint.name), &place.zone),
        })
    }
}

/// Where new connections go that may go anywhere: to the ready endpoints that are meant for this node, else to those for its zone,
/// else to all; of either only if every ready one says whom it is meant for. Where none is ready, to those that still serve while
/// they terminate (upstream's ProxyTerminatingEndpoints).
fn anywhere(found: &Found) -> Vec<Endpoint> {
    let ready = || {
        found
            .values()
            .filter(|known| known.condition == Condition::Ready)
    };
    let meant = |hint: fn(&Known) -> Hint| {
        ready().all(|known| hint(known) != Hint::Missing)
            && ready().any(|known| hint(known) == Hint::Us)
    };
    let hints: [fn(&Known) -> Hint; 2] = [|known| known.for_node, |known| known.for_zone];
    match hints.into_iter().find(|hint| meant(*hint)) {
        Some(hint) => best(found, |known| hint(known) == Hint::Us),
        None => best(found, |_| true),
    }
}

/// Where those go that may go to this node's alone, whomever they are meant for.
fn here(found: &Found) -> Vec<Endpoint> {
    best(found, |known| known.here)
}

fn best(found: &Found, fits: impl Fn(&Known) -> bool) -> Vec<Endpoint> {
    let of = |condition| {
        let fitting = found
            .iter()
            .filter(|(_, known)| known.condition == condition && fits(known));
        fitting.map(|(endpoint, _)| *endpoint).collect::<Vec<_>>()
    };
    let ready = of(Condition::Ready);
    if ready.is_empty() {
        of(Condition::Draining)
    } else {
        ready
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    /// Neither ready nor terminating, yet serving, as its slice says: keeps the flows it has.
    Serving,
    /// Terminating but still serving.
    Draining,
    Ready,
}

impl Condition {
    /// None of an endpoint that gets nothing, not even when it is the last.
    fn of(endpoint: &ApiEndpoint) -> Option<Self> {
        let Some(conditions) = endpoint.conditions.as_ref() else {
            return Some(Self::Ready);
        };
        // Unknown readiness is to be read as ready.
        if conditions.ready.unwrap_or(true) {
            return Some(Self::Ready);
        }
        (conditions.serving == Some(true)).then_some(match conditions.terminating {
            Some(true) => Self::Draining,
            _ => Self::Serving,
        })
    }
}

#[cfg(test)]
mod tests;
