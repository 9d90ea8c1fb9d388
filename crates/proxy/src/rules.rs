//! What one service wants in the table.

mod sticky;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use knarr_meta::prefix::Prefix;
use knarr_nft::{Contents, Element, Family, Protocol, Rule, Selector, Set, Verdict};

use crate::{
    conntrack::Flows,
    model::{Endpoint, Frontend, ServiceKey, ServicePort},
};

/// Longest chain name we make; the kernel's limit is higher, a person's is not.
const NAME_LIMIT_BYTES: usize = 120;

/// Set on packets that must leave under the node's address; upstream's bit.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// Where new connections to a frontend go: to any endpoint, each with the same chance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balanced {
    pub all: Arc<[Endpoint]>,
    /// Where clients from outside the cluster go instead, whose address is kept: endpoints of this node, or nowhere.
    pub local: Option<Arc<[Endpoint]>>,
    /// Endpoints see the node's address instead of the client's.
    pub masquerade: bool,
}

/// What a service wants in the table of a family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRules {
    pub balanced: BTreeMap<Frontend, Balanced>,
    /// Frontends whose clients keep their endpoint, each with its chain.
    pub sticky: BTreeMap<Frontend, String>,
    /// The chains before frontends that not everyone may use.
    pub guards: BTreeMap<Frontend, String>,
    /// Rules of these chains.
    pub chains: BTreeMap<String, Vec<Rule>>,
    /// Affinity sets by name, with the seconds their elements live.
    pub sets: BTreeMap<String, i32>,
    /// Elements of the set `unserved`: addresses outside the service range that have no endpoint.
    pub unserved: BTreeSet<Frontend>,
    /// Elements of the set `dropped`: cluster addresses that may only lead to endpoints of this node, which has none.
    pub dropped: BTreeSet<Frontend>,
    /// Pods that may be sent to themselves.
    pub hairpins: BTreeSet<IpAddr>,
    /// Where UDP flows may lead that were begun earlier; nowhere, where nobody serves.
    pub flows: Flows,
}

impl ServiceRules {
    pub fn is_empty(&self) -> bool {
        let led = self.balanced.is_empty() && self.sticky.is_empty();
        let ended = self.unserved.is_empty() && self.dropped.is_empty();
        led && ended && self.flows.is_empty()
    }
}

impl ServiceRules {
    /// Refuses what is for addresses of the service without endpoints that are not of the cluster's own range, which is refused as a
    /// whole.
    pub fn refuse_beyond(&mut self, cluster: Prefix, ports: &[ServicePort]) {
        for port in ports {
            if !port.all.is_empty() || !port.local.is_empty() {
                continue;
            }
            let addresses = port.cluster_ips.iter();
            let beyond = addresses.filter(|address| !cluster.contains(**address));
            let of = |address: &IpAddr| frontend(Some(*address), port.protocol, port.port);
            self.unserved.extend(beyond.map(of));
        }
    }
}

/// Makes the rules of a service in one family. Ports without endpoints get none: what stays untranslated is rejected, outside of
/// the service range by an element of its own.
pub fn build(key: &ServiceKey, ports: &[ServicePort], family: Family) -> ServiceRules {
    let mut rules = ServiceRules::default();
    for port in ports {
        add_port(&mut rules, key, port, family);
    }
    rules
}

fn add_port(rules: &mut ServiceRules, key: &ServiceKey, port: &ServicePort, family: Family) {
    note_flows(&mut rules.flows, port);
    let id = format!("{key}/{}/{}", port.protocol, port.name);
    let of = |address: &IpAddr| frontend(Some(*address), port.protocol, port.port);
    let beyond = port.external_ips.iter().chain(&port.guarded_ips).map(of);
    let serves = !port.all.is_empty() || !port.local.is_empty();
    if serves {
        for guarded in &port.guarded_ips {
            let name = guard(rules, &id, port, family);
            rules.guards.insert(of(guarded), name);
        }
    } else {
        rules.unserved.extend(beyond.clone());
    }
    let inside: Vec<_> = port.cluster_ips.iter().map(of).collect();
    // As upstream has it: others serve on their nodes, where the client might have been.
    if serves && port.internal_local && port.local.is_empty() {
        rules.dropped.extend(inside.iter().copied());
    }
    let node_port = port.node_port.map(|n| frontend(None, port.protocol, n));
    let outside: Vec<_> = beyond.chain(node_port).filter(|_| serves).collect();
    match port.affinity_seconds {
        None => balance(rules, port, inside, outside),
        Some(seconds) => sticky::add(rules, (family, &id), port, seconds, (inside, outside)),
    }
}

fn balance(
    rules: &mut ServiceRules,
    port: &ServicePort,
    inside: Vec<Frontend>,
    outside: Vec<Frontend>,
) {
    let all: Arc<[Endpoint]> = port.all.as_slice().into();
    let local: Arc<[Endpoint]> = port.local.as_slice().into();
    let internal = Balanced {
        all: if port.internal_local { &local } else { &all }.clone(),
        local: None,
        masquerade: false,
    };
    // Clients of the cluster itself may go anywhere.
    let external = Balanced {
        all,
        local: port.external_local.then_some(local),
        masquerade: !port.external_local,
    };
    for (frontends, balanced) in [(inside, internal), (outside, external)] {
        if frontends.is_empty() || balanced.all.is_empty() {
            continue;
        }
        let endpoints = balanced
            .all
            .iter()
            .chain(balanced.local.iter().flat_map(|l| &**l));
        rules.hairpins.extend(endpoints.map(|e| e.address));
        let each = frontends.into_iter().map(|f| (f, balanced.clone()));
        rules.balanced.extend(each);
    }
}

/// A chain that drops clients of other ranges, as upstream does, and returns for the rest.
fn guard(rules: &mut ServiceRules, id: &str, port: &ServicePort, family: Family) -> String {
    let mut body = Vec::new();
    if !port.source_ranges.is_empty() {
        let ranges = port.source_ranges.iter();
        let ranges = ranges.map(|range| Element::range(range.address(), range.bits()));
        let ranges = Contents::new(Set::ranges("", family.field()), ranges.collect());
        let allowed = Rule::new().within_any([Selector::Source(family)], ranges);
        body.push(allowed.verdict(Verdict::Return));
    }
    body.push(Rule::new().drop());
    let name = chain_name("guard", id);
    rules.chains.insert(name.clone(), body);
    name
}

fn frontend(address: Option<IpAddr>, protocol: Protocol, port: u16) -> Frontend {
    Frontend {
        address,
        protocol,
        port,
    }
}

/// Without an endpoint that serves, all flows end: those that were begun earlier are translated before anything could refuse
/// them, and a client that expects no answer would send to a dead pod's address for ever.
fn note_flows(flows: &mut Flows, port: &ServicePort) {
    if port.protocol != Protocol::Udp {
        return;
    }
    let beyond = port.external_ips.iter().chain(&port.guarded_ips);
    let addresses = port.cluster_ips.iter().chain(beyond);
    let addressed = addresses.map(|a| frontend(Some(*a), port.protocol, port.port));
    let node_port = port.node_port.map(|n| frontend(None, port.protocol, n));
    for frontend in addressed.chain(node_port) {
        flows.insert(frontend, port.serving.clone());
    }
}

/// Readable, unique and within the limit. Names of namespaces, services and ports are DNS labels, all of whose
/// characters nft takes.
fn chain_name(prefix: &str, id: &str) -> String {
    let name = format!("{prefix}-{id}");
    if name.len() <= NAME_LIMIT_BYTES {
        return name;
    }
    // FNV-1a: stable across builds, unlike the standard library's hasher.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let (kept, _) = name.split_at(NAME_LIMIT_BYTES - 17);
    format!("{kept}-{hash:016x}")
}

#[cfg(test)]
mod tests;
