//! The cluster's zones: what a name means, read from the informers.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use hickory_proto::{
    ProtoError,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT},
    },
};
use k8s_openapi::api::{
    core::v1::{Namespace, Service},
    discovery::v1::EndpointSlice,
};
use knarr_client::{IndexKey, Informer, Informers};

/// How long clients may keep an answer; CoreDNS' default for the kubernetes plugin.
pub const TTL_SECONDS: u32 = 5;
/// The version of the specification that we follow.
const SCHEMA_VERSION: &str = "1.1.0";
/// The service by which the zones' servers are reached.
const SERVERS: (&str, &str) = ("kube-system", "kube-dns");

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// What a name is.
#[derive(Debug)]
pub enum Answer {
    /// Not under our zones: somebody else knows.
    Foreign,
    /// No such name.
    NoName,
    /// Others are not asked for what is not there, and it is not told that there is none.
    Failure,
    /// The name exists; there may be no records of the type that was asked for.
    Records(Vec<Record>),
}

/// The names of one cluster.
pub struct Zone {
    origin: Name,
    pub(crate) services: Informer<Service>,
    pub(crate) slices: Informer<EndpointSlice>,
    pub(crate) namespaces: Informer<Namespace>,
}

impl Zone {
    pub fn new(domain: &str, informers: &Informers) -> Result<Self, ProtoError> {
        Self::with(
            domain,
            informers.informer(),
            informers.informer(),
            informers.informer(),
        )
    }

    /// Over informers that somebody else fills.
    pub(crate) fn with(
        domain: &str,
        services: Informer<Service>,
        slices: Informer<EndpointSlice>,
        namespaces: Informer<Namespace>,
    ) -> Result<Self, ProtoError> {
        Ok(Self {
            origin: self::domain(domain)?,
            services,
            slices,
            namespaces,
        })
    }

    /// The informers have their first lists: before, a missing name may be one that is not known yet.
    pub fn is_synced(&self) -> bool {
        self.services.is_synced() && self.slices.is_synced() && self.namespaces.is_synced()
    }

    /// Waits for [`Self::is_synced`].
    pub async fn synced(&self) {
        tokio::join!(
            self.services.synced(),
            self.slices.synced(),
            self.namespaces.synced()
        );
    }

    /// For the authority section of negative answers.
    pub fn soa(&self) -> Option<Record> {
        let server = self.child(&["dns", "ns"])?;
        let contact = self.child(&["hostmaster"])?;
        let soa = SOA::new(server, contact, 1, 7200, 1800, 86_400, TTL_SECONDS);
        Some(record(&self.origin, RData::SOA(soa)))
    }

    /// What is known of `name`.
    pub fn lookup(&self, name: &Name, kind: RecordType) -> Answer {
        let name = name.to_lowercase();
        if !self.origin.zone_of(&name) {
            return self.reverse(&name, kind).unwrap_or(Answer::Foreign);
        }
        let depth = name.num_labels().saturating_sub(self.origin.num_labels());
        let depth = usize::from(depth);
        let labels: Vec<String> = name
            .iter()
            .take(depth)
            .map(|label| String::from_utf8_lossy(label).into_owned())
            .collect();
        // From the zone's apex downwards.
        let path: Vec<&str> = labels.iter().rev().map(String::as_str).collect();
        let found = match path.as_slice() {
            [] => Some(self.apex(kind)),
            ["dns-version"] => Some(match kind {
                RecordType::TXT => vec![RData::TXT(TXT::new(vec![SCHEMA_VERSION.to_owned()]))],
                _ => Vec::new(),
            }),
            ["dns", "ns"] => {
                let servers = self.services.get(SERVERS.0, SERVERS.1);
                Some(addresses(kind, servers.iter().flat_map(|s| cluster_ips(s))))
            }
            ["svc"] | ["pod"] => Some(Vec::new()),
            ["svc" | "pod", namespace] => self.namespace(namespace).map(|()| Vec::new()),
            ["pod", namespace, pod] => self.pod(namespace, pod, kind),
            ["svc", namespace, service] => self.service(namespace, service, kind),
            ["svc", namespace, service, endpoint] => {
                self.endpoint(namespace, service, endpoint, kind)
            }
            ["svc", namespace, service, protocol, port] => {
                self.port(namespace, service, protocol, port, kind)
            }
            _ => None,
        };
        match found {
            None => Answer::NoName,
            Some(data) => Answer::Records(data.into_iter().map(|d| record(&name, d)).collect()),
        }
    }

    /// Whether a name is one of those that addresses have.
    pub fn is_pods(&self, name: &Name) -> bool {
        let name = name.to_lowercase();
        let pods = self.child(&["pod"]);
        pods.is_some_and(|pods| pods.zone_of(&name))
    }

    fn apex(&self, kind: RecordType) -> Vec<RData> {
        match kind {
            RecordType::SOA => self.soa().map(|r| r.data).into_iter().collect(),
            RecordType::NS => {
                let (namespace, name) = SERVERS;
                let servers = match self.services.get(namespace, name) {
                    Some(_) => self.child(&["svc", namespace, name]),
                    None => self.child(&["dns", "ns"]),
                };
                servers
                    .map(|name| RData::NS(NS(name)))
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }

    fn namespace(&self, name: &str) -> Option<()> {
        self.namespaces.get("", name).map(drop)
    }

    /// `10-42-0-7.ns.pod`, `fd00-42--7.ns.pod`: the address is in the name; that the namespace exists is all that is checked (CoreDNS'
    /// "insecure").
    fn pod(&self, namespace: &str, pod: &str, kind: RecordType) -> Option<Vec<RData>> {
        self.namespace(namespace)?;
        let is_ipv4 = pod.matches('-').count() == 3 && !pod.contains("--");
        let address = pod.replace('-', if is_ipv4 { "." } else { ":" });
        Some(addresses(kind, [address.parse().ok()?]))
    }

    fn service(&self, namespace: &str, name: &str, kind: RecordType) -> Option<Vec<RData>> {
        let service = self.services.get(namespace, name)?;
        let spec = service.spec.as_ref()?;
        if spec.type_.as_deref() == Some("ExternalName") {
            let target = spec.external_name.as_deref()?;
            // An address is no name, and an alias of one leads nowhere.
            if target.parse::<IpAddr>().is_ok() {
                return None;
            }
            let mut target = Name::from_ascii(target).ok()?;
            target.set_fqdn(true);
            // The alias is one of addresses: of other types there is nothing, as in CoreDNS.
            let is_asked = matches!(kind, RecordType::A | RecordType::AAAA | RecordType::CNAME);
            let alias = is_asked.then_some(RData::CNAME(CNAME(target)));
            return Some(alias.into_iter().collect());
        }
        if is_headless(&service) {
            let endpoints = self.endpoints(namespace, name);
            let found: BTreeSet<IpAddr> = endpoints.iter().map(|e| e.address).collect();
            // A headless service without endpoints has no name: clients should not cache "no records" of one that is
            // about to come up. One whose endpoints lack ports has: who hears that it has none does not ask for addresses any more.
            if found.is_empty() {
                return None;
            }
            return Some(match kind {
                RecordType::SRV => self.srv(&service, namespace, name, None),
                _ => addresses(kind, found),
            });
        }
        Some(match kind {
            RecordType::SRV => self.srv(&service, namespace, name, None),
            _ => addresses(kind, cluster_ips(&service)),
        })
    }

    /// A pod behind a service, by its hostname or by its address with dashes; as in CoreDNS not of headless ones only.
    fn endpoint(
        &self,
        namespace: &str,
        service: &str,
        endpoint: &str,
        kind: RecordType,
    ) -> Option<Vec<RData>> {
        if endpoint.starts_with('_') {
            // `_tcp.web`: nothing itself, but ports are below.
            self.services.get(namespace, service)?;
            return matches!(endpoint, "_tcp" | "_udp" | "_sctp").then(Vec::new);
        }
        self.services.get(namespace, service)?;
        let endpoints = self.endpoints(namespace, service);
        let found: BTreeSet<IpAddr> = endpoints
            .iter()
            .filter(|e| e.label() == endpoint)
            .map(|e| e.address)
            .collect();
        (!found.is_empty()).then(|| addresses(kind, found))
    }

    /// `_http._tcp.web`: the port, and as in CoreDNS the addresses that have it.
    fn port(
        &self,
        namespace: &str,
        service: &str,
        protocol: &str,
        port: &str,
        kind: RecordType,
    ) -> Option<Vec<RData>> {
        let object = self.services.get(namespace, service)?;
        let wanted = (port.strip_prefix('_')?, protocol.strip_prefix('_')?);
        let data = self.srv(&object, namespace, service, Some(wanted));
        if data.is_empty() {
            return None;
        }
        if kind == RecordType::SRV {
            return Some(data);
        }
        if !is_headless(&object) {
            return Some(addresses(kind, cluster_ips(&object)));
        }
        let endpoints = self.endpoints(namespace, service);
        let having = endpoints.iter().filter(|e| {
            let mut ports = e.ports.iter();
            ports.any(|(name, protocol, _)| is_port(wanted, name, protocol))
        });
        let found: BTreeSet<IpAddr> = having.map(|e| e.address).collect();
        Some(addresses(kind, found))
    }

    fn srv(
        &self,
        service: &Service,
        namespace: &str,
        name: &str,
        wanted: Option<(&str, &str)>,
    ) -> Vec<RData> {
        let fits = |port: &str, protocol: &str| {
            wanted.is_none_or(|wanted| is_port(wanted, port, protocol))
        };
        // What shares the weight: each port of each address, also where several of them are one record.
        let mut offered = 0_usize;
        let mut targets: BTreeSet<(u16, Vec<String>)> = BTreeSet::new();
        let path = |first: Option<&str>| -> Vec<String> {
            let rest = [name, namespace, "svc"];
            first.into_iter().chain(rest).map(str::to_owned).collect()
        };
        if is_headless(service) {
            for endpoint in self.endpoints(namespace, name) {
                for (port, protocol, number) in &endpoint.ports {
                    if fits(port, protocol) {
                        offered = offered.saturating_add(1);
                        targets.insert((*number, path(Some(&endpoint.label()))));
                    }
                }
            }
        } else {
            let ports = service.spec.iter().flat_map(|s| s.ports.iter().flatten());
            for port in ports {
                let name = port.name.as_deref().unwrap_or_default();
                let protocol = port.protocol.as_deref().unwrap_or("TCP");
                if fits(name, protocol)
                    && let Ok(number) = u16::try_from(port.port)
                {
                    offered = offered.saturating_add(cluster_ips(service).count());
                    targets.insert((number, path(None)));
                }
            }
        }
        // Weights share 100 evenly, as CoreDNS' do.
        let weight = 100_usize.checked_div(offered).unwrap_or(100);
        let weight = u16::try_from(weight).unwrap_or(1).max(1);
        let data = targets.into_iter().filter_map(|(port, labels)| {
            let labels: Vec<&str> = labels.iter().rev().map(String::as_str).collect();
            let target = self.child(&labels)?;
            Some(RData::SRV(SRV::new(0, weight, port, target)))
        });
        data.collect()
    }

    /// `7.0.42.10.in-addr.arpa`, or 32 digits below `ip6.arpa`: the service of that cluster address, or the endpoint of each service
    /// that has one there, headless or not, as CoreDNS answers.
    fn reverse(&self, name: &Name, kind: RecordType) -> Option<Answer> {
        let network = name.parse_arpa_name().ok()?;
        let address = network.addr();
        if network.prefix_len() != network.max_prefix_len() {
            return None;
        }
        let key = Address(address);
        let mut targets = Vec::new();
        for service in self.services.by_index(&key) {
            let meta = &service.metadata;
            if let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) {
                targets.extend(self.child(&["svc", namespace, name]));
            }
        }
        for slice in self.slices.by_index(&key) {
            let Some(ServiceKey(key)) = service_key(&slice) else {
                continue;
            };
            let Some((namespace, service)) = key.split_once('/') else {
                continue;
            };
            for endpoint in self.endpoints(namespace, service) {
                if endpoint.address == address {
                    targets.extend(self.child(&["svc", namespace, service, &endpoint.label()]));
                }
            }
        }
        targets.sort();
        targets.dedup();
        if targets.is_empty() {
            return None;
        }
        let records = targets.into_iter().filter(|_| kind == RecordType::PTR);
        Some(Answer::Records(
            records.map(|t| record(name, RData::PTR(PTR(t)))).collect(),
        ))
    }

    /// The endpoints of a service that clients should find: ready ones (which is what the slices say of all pods where the
    /// service publishes not-ready addresses).
    fn endpoints(&self, namespace: &str, service: &str) -> Vec<Endpoint> {
        let slices = self
            .slices
            .by_index(&ServiceKey(format!("{namespace}/{service}")));
        slices.iter().flat_map(endpoints_of).collect()
    }

    /// A name below the apex, its labels from the apex downwards.
    fn child(&self, path: &[&str]) -> Option<Name> {
        let labels = path.iter().rev().copied();
        let name = Name::from_labels(labels.map(str::as_bytes)).ok()?;
        name.append_domain(&self.origin).ok()
    }
}

struct Endpoint {
    address: IpAddr,
    hostname: Option<String>,
    /// Name, protocol and number.
    ports: Vec<(String, String, u16)>,
}

impl Endpoint {
    fn label(&self) -> String {
        self.hostname
            .clone()
            .unwrap_or_else(|| self.address.to_string().replace(['.', ':'], "-"))
    }
}

fn endpoints_of(slice: &Arc<EndpointSlice>) -> Vec<Endpoint> {
    let is_of_type: fn(&IpAddr) -> bool = match slice.address_type.as_str() {
        "IPv4" => IpAddr::is_ipv4,
        "IPv6" => IpAddr::is_ipv6,
        _ => return Vec::new(),
    };
    let ports: Vec<_> = (slice.ports.iter().flatten())
        .filter_map(|port| {
            Some((
                port.name.clone().unwrap_or_default(),
                port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                u16::try_from(port.port?).ok()?,
            ))
        })
        .collect();
    let ready = slice.endpoints.iter().filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.is_none_or(|c| c.ready.unwrap_or(true))
    });
    let found = ready.flat_map(|endpoint| {
        let addresses = endpoint.addresses.iter().filter_map(|a| a.parse().ok());
        addresses.filter(is_of_type).map(|address| Endpoint {
            address,
            hostname: endpoint.hostname.clone().filter(|h| !h.is_empty()),
            ports: ports.clone(),
        })
    });
    found.collect()
}

/// A service as its slices name it, with its namespace.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ServiceKey(String);

impl IndexKey<EndpointSlice> for ServiceKey {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        service_key(slice).into_iter().collect()
    }
}

/// What has an address, for reverse questions.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Address(IpAddr);

impl Address {
    fn of(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl IndexKey<Service> for Address {
    fn keys_of(service: &Service) -> Vec<Self> {
        let spec = service.spec.as_ref();
        let addresses = spec.and_then(|s| s.cluster_ips.as_ref()).into_iter();
        addresses
            .flatten()
            .filter_map(|text| Address::of(text))
            .collect()
    }
}

impl IndexKey<EndpointSlice> for Address {
    fn keys_of(slice: &EndpointSlice) -> Vec<Self> {
        let addresses = slice.endpoints.iter().flat_map(|e| e.addresses.iter());
        addresses.filter_map(|text| Address::of(text)).collect()
    }
}

fn service_key(slice: &EndpointSlice) -> Option<ServiceKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?;
    let namespace = slice.metadata.namespace.as_ref()?;
    Some(ServiceKey(format!("{namespace}/{name}")))
}

fn is_headless(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    spec.and_then(|s| s.cluster_ip.as_deref()) == Some("None")
}

fn cluster_ips(service: &Service) -> impl Iterator<Item = IpAddr> {
    let spec = service.spec.iter();
    let ips = spec.flat_map(|spec| spec.cluster_ips.iter().flatten());
    ips.filter_map(|ip| ip.parse().ok())
}

/// Whether a port is the one of that name and protocol.
fn is_port((name, protocol): (&str, &str), port: &str, of: &str) -> bool {
    name == port && protocol.eq_ignore_ascii_case(of)
}

/// Those that are of the type that was asked for. `ANY` is none: as in CoreDNS, and by RFC 8482 nobody has to tell all.
fn addresses(kind: RecordType, found: impl IntoIterator<Item = IpAddr>) -> Vec<RData> {
    let data = found.into_iter().filter_map(|address| match address {
        IpAddr::V4(address) => (kind == RecordType::A).then_some(RData::A(A(address))),
        IpAddr::V6(address) => (kind == RecordType::AAAA).then_some(RData::AAAA(AAAA(address))),
    });
    let mut data: Vec<_> = data.collect();
    // Many clients take the first.
    fastrand::shuffle(&mut data);
    data
}

/// A domain in lower case, with the dot at its end.
pub fn domain(text: &str) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(text)?.to_lowercase();
    name.set_fqdn(true);
    Ok(name)
}

fn record(name: &Name, data: RData) -> Record {
    Record::from_rdata(name.clone(), TTL_SECONDS, data)
}

#[cfg(test)]
pub(crate) mod tests;
