//! The chains and map elements of one service.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use crate::{
    conntrack::Flows,
    model::{Endpoint, Frontend, ServiceKey, ServicePort},
    range::Range,
};

/// Longest chain name we make; the kernel's limit is higher, a person's is not.
const NAME_LIMIT_BYTES: usize = 120;

/// Up to so many endpoints are tried rule by rule. A map picks among any number in one step, but the kernel compares the name
/// of every new anonymous map with those of all others: with a map for each of 10 000 services the table took nft 19 s, and
/// every change 150 ms; without, 1.2 s and 40 ms.
const CASCADE_LIMIT: usize = 8;

/// Set on packets that must leave under the node's address; upstream's bit.
pub const MASQUERADE_MARK: u32 = 0x4000;

/// What a service wants in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceRules {
    /// Rules by chain name.
    pub chains: BTreeMap<String, Vec<String>>,
    /// Affinity sets by name, with the seconds their elements live.
    pub sets: BTreeMap<String, i32>,
    /// Elements of the map `services`, each to a chain.
    pub services: BTreeMap<Frontend, String>,
    /// Elements of the map `nodeports`, each to a chain.
    pub node_ports: BTreeMap<Frontend, String>,
    /// Elements of the set `unserved`: addresses outside the service range that have no endpoint.
    pub unserved: BTreeSet<Frontend>,
    /// Pods that may be sent to themselves.
    pub hairpins: BTreeSet<Ipv4Addr>,
    /// Where UDP flows may lead that were begun earlier.
    pub flows: Flows,
}

impl ServiceRules {
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && self.node_ports.is_empty() && self.unserved.is_empty()
    }
}

/// Makes the rules of a service. Ports without endpoints get none: what stays untranslated is rejected, outside of
/// the service range by an element of its own.
pub fn build(key: &ServiceKey, ports: &[ServicePort]) -> ServiceRules {
    let mut rules = ServiceRules::default();
    for port in ports {
        add_port(&mut rules, key, port);
    }
    rules
}

fn add_port(rules: &mut ServiceRules, key: &ServiceKey, port: &ServicePort) {
    note_flows(&mut rules.flows, port);
    let id = format!("{key}/{}/{}", port.protocol, port.name);
    let beyond = port.external_ips.iter().chain(&port.guarded_ips);
    let external = beyond.clone().next().is_some() || port.node_port.is_some();
    let internal_endpoints = if port.internal_local {
        &port.local
    } else {
        &port.all
    };
    let external_endpoints = if port.external_local {
        &port.local
    } else {
        &port.all
    };

    let of = |address: &Ipv4Addr| frontend(Some(*address), port.protocol, port.port);
    if let Some(chain) = balance(rules, "svc", &id, port, internal_endpoints) {
        let elements = port.cluster_ips.iter().map(|a| (of(a), chain.clone()));
        rules.services.extend(elements);
    }
    if !external {
        return;
    }
    let outer = if port.all.is_empty() && port.local.is_empty() {
        None
    } else if port.external_local {
        // The client's address is kept, so only this node's pods may answer. Clients of the cluster itself may go anywhere.
        let local = balance(rules, "local", &id, port, external_endpoints);
        let anywhere = balance(rules, "svc", &id, port, &port.all);
        let mut body = Vec::new();
        if let Some(chain) = anywhere {
            body.push(format!("ip saddr @cluster goto {chain}"));
            body.push(format!("fib saddr type local goto {chain}"));
        }
        // No endpoint here: dropped, so that a load balancer looks elsewhere.
        body.push(local.map_or("drop".to_owned(), |chain| format!("goto {chain}")));
        Some(body)
    } else {
        balance(rules, "svc", &id, port, external_endpoints).map(|chain| {
            vec![
                format!("meta mark set meta mark or {MASQUERADE_MARK:#x}"),
                format!("goto {chain}"),
            ]
        })
    };
    let outer = outer.map(|body| {
        let name = chain_name("ext", &id);
        rules.chains.insert(name.clone(), body);
        name
    });
    let Some(outer) = outer else {
        rules.unserved.extend(beyond.map(of));
        return;
    };
    if !port.guarded_ips.is_empty() {
        let guard = guard(rules, &id, port, &outer);
        let elements = port.guarded_ips.iter().map(|a| (of(a), guard.clone()));
        rules.services.extend(elements);
    }
    let elements = port.external_ips.iter().map(|a| (of(a), outer.clone()));
    rules.services.extend(elements);
    if let Some(number) = port.node_port {
        rules
            .node_ports
            .insert(frontend(None, port.protocol, number), outer);
    }
}

/// A chain before `outer` that drops clients of other ranges, as upstream does.
fn guard(rules: &mut ServiceRules, id: &str, port: &ServicePort, outer: &str) -> String {
    let ranges: Vec<_> = port.source_ranges.iter().map(Range::to_string).collect();
    let mut body = Vec::new();
    if !ranges.is_empty() {
        let ranges = ranges.join(", ");
        body.push(format!("ip saddr {{ {ranges} }} goto {outer}"));
    }
    body.push("drop".to_owned());
    let name = chain_name("guard", id);
    rules.chains.insert(name.clone(), body);
    name
}

fn frontend(address: Option<Ipv4Addr>, protocol: &'static str, port: u16) -> Frontend {
    Frontend {
        address,
        protocol,
        port,
    }
}

/// Flows without an endpoint that serves are left alone, as upstream does: it may come back.
fn note_flows(flows: &mut Flows, port: &ServicePort) {
    if port.protocol != "udp" || port.serving.is_empty() {
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

/// A chain that picks one of `endpoints` at random, or the one a client had before.
fn balance(
    rules: &mut ServiceRules,
    prefix: &str,
    id: &str,
    port: &ServicePort,
    endpoints: &[Endpoint],
) -> Option<String> {
    if endpoints.is_empty() {
        return None;
    }
    rules.hairpins.extend(endpoints.iter().map(|e| e.address));
    let name = chain_name(prefix, id);
    let body = match port.affinity_seconds {
        None => spread(port.protocol, endpoints),
        Some(seconds) => affinity(rules, id, port.protocol, seconds, endpoints),
    };
    rules.chains.insert(name.clone(), body);
    Some(name)
}

/// Rules that send each new connection to any of `endpoints`.
fn spread(protocol: &str, endpoints: &[Endpoint]) -> Vec<String> {
    if endpoints.len() <= CASCADE_LIMIT {
        let targets = endpoints
            .iter()
            .map(|e| format!("dnat ip to {}:{}", e.address, e.port));
        return cascade(targets)
            .map(|rule| format!("meta l4proto {protocol} {rule}"))
            .collect();
    }
    let targets = endpoints
        .iter()
        .map(|e| format!("{} . {}", e.address, e.port));
    let (count, targets) = (endpoints.len(), listed(targets));
    vec![format!(
        "meta l4proto {protocol} dnat ip to numgen random mod {count} map {targets}"
    )]
}

/// One of `verdicts`, each with the same chance.
fn cascade(verdicts: impl ExactSizeIterator<Item = String>) -> impl Iterator<Item = String> {
    let count = verdicts.len();
    verdicts
        .enumerate()
        .map(move |(i, verdict)| match count - i {
            1 => verdict,
            left => format!("numgen random mod {left} == 0 {verdict}"),
        })
}

/// A set of clients for every endpoint: the sets are looked through first, then one is picked and the client noted.
fn affinity(
    rules: &mut ServiceRules,
    id: &str,
    protocol: &str,
    seconds: i32,
    endpoints: &[Endpoint],
) -> Vec<String> {
    let mut body = Vec::new();
    let mut chains = Vec::new();
    for endpoint in endpoints {
        let target = format!("{}/{}", endpoint.address, endpoint.port);
        // The timeout is part of the name: a set's timeout cannot be changed.
        let set = chain_name(&format!("clients{seconds}"), &format!("{id}/{target}"));
        let chain = chain_name("ep", &format!("{id}/{target}"));
        body.push(format!("ip saddr @{set} goto {chain}"));
        rules.chains.insert(
            chain.clone(),
            vec![
                format!("update @{set} {{ ip saddr }}"),
                format!(
                    "meta l4proto {} dnat ip to {}:{}",
                    protocol, endpoint.address, endpoint.port
                ),
            ],
        );
        rules.sets.insert(set, seconds);
        chains.push(format!("goto {chain}"));
    }
    if chains.len() <= CASCADE_LIMIT {
        body.extend(cascade(chains.into_iter()));
    } else {
        let count = chains.len();
        body.push(format!("numgen random mod {count} vmap {}", listed(chains)));
    }
    body
}

fn listed(values: impl IntoIterator<Item = String>) -> String {
    let pairs: Vec<_> = values
        .into_iter()
        .enumerate()
        .map(|(i, value)| format!("{i} : {value}"))
        .collect();
    format!("{{ {} }}", pairs.join(", "))
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
