//! Which node has which addresses, as far as nodes may say so themselves.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use k8s_openapi::{api::core::v1::Node, jiff::Timestamp};
use knarr_meta::prefix::Prefix;

/// Most ranges of pods of one node: one a family, and some to spare.
const RANGES_LIMIT: usize = 8;

/// What is the cluster's, and what this node's.
#[derive(Clone, Debug)]
pub struct Ground {
    pub node: String,
    pub addresses: Vec<IpAddr>,
    pub cluster: Vec<Prefix>,
    pub services: Vec<Prefix>,
}

/// What a node says that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub node: String,
    pub uid: String,
    pub created: Option<Timestamp>,
    pub addresses: Vec<IpAddr>,
    pub pods: Vec<Prefix>,
}

impl Claim {
    /// What of a node matters here. Texts that are no addresses or ranges drop out.
    pub fn of(node: &Node) -> Self {
        let metadata = &node.metadata;
        let addresses = node
            .status
            .iter()
            .flat_map(|s| s.addresses.iter().flatten());
        let internal = addresses.filter(|address| address.type_ == "InternalIP");
        let mut ranges = BTreeSet::new();
        if let Some(spec) = &node.spec {
            let texts = spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr);
            let parsed = texts.filter_map(|text| text.parse::<Prefix>().ok());
            ranges.extend(parsed.take(RANGES_LIMIT));
        }
        Self {
            node: metadata.name.clone().unwrap_or_default(),
            uid: metadata.uid.clone().unwrap_or_default(),
            created: metadata.creation_timestamp.as_ref().map(|time| time.0),
            addresses: internal.filter_map(|a| a.address.parse().ok()).collect(),
            pods: ranges.into_iter().collect(),
        }
    }
}

/// Whether a node is on no machine: its pods are nowhere, and what is sent to its address would leave for a stranger.
pub fn is_simulated(node: &Node) -> bool {
    let labels = node.metadata.labels.as_ref();
    labels.is_some_and(|labels| labels.contains_key(knarr_client::SIMULATED_LABEL))
}

/// A node that is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub uid: String,
    pub addresses: Vec<IpAddr>,
    pub pods: Vec<Prefix>,
}

impl Peer {
    /// Its first address of the family of another.
    pub fn address_for(&self, other: IpAddr) -> Option<IpAddr> {
        let same = |address: &&IpAddr| address.is_ipv4() == other.is_ipv4();
        self.addresses.iter().find(same).copied()
    }
}

/// A node that is not believed, and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub node: String,
    pub uid: String,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// This node's own ranges.
    pub own: Vec<Prefix>,
    pub peers: BTreeMap<String, Peer>,
    pub refused: BTreeSet<Refusal>,
}

/// Who is believed. Nobody gets what another has: of two that want the same the one that has had it so far stays, after a start
/// the older node. What this node has nobody else gets.
pub fn settle(ground: &Ground, claims: &[Claim], before: &Claims) -> Claims {
    let mut order: Vec<&Claim> = claims.iter().collect();
    order.sort_by_key(|claim| {
        let own = claim.node == ground.node;
        (
            !own,
            !had(claim, before),
            claim.created.is_none(),
            claim.created,
            &claim.node,
        )
    });
    let mut settled = Claims::default();
    // The API may not know this node's addresses yet.
    let own = ground.addresses.iter();
    let mut addresses: BTreeMap<IpAddr, String> =
        own.map(|address| (*address, ground.node.clone())).collect();
    let mut ranges: BTreeMap<Prefix, String> = BTreeMap::new();
    for claim in order {
        if claim.node == ground.node {
            settled.own.clone_from(&claim.pods);
            ranges.extend(claim.pods.iter().map(|range| (*range, claim.node.clone())));
            continue;
        }
        if claim.addresses.is_empty() || claim.pods.is_empty() {
            // Not yet.
            continue;
        }
        let refusal = odd(ground, claim).or_else(|| taken(claim, &addresses, &ranges));
        if let Some(reason) = refusal {
            settled.refused.insert(Refusal {
                node: claim.node.clone(),
                uid: claim.uid.clone(),
                reason,
            });
            continue;
        }
        let name = || claim.node.clone();
        addresses.extend(claim.addresses.iter().map(|address| (*address, name())));
        ranges.extend(claim.pods.iter().map(|range| (*range, name())));
        let peer = Peer {
            uid: claim.uid.clone(),
            addresses: claim.addresses.clone(),
            pods: claim.pods.clone(),
        };
        settled.peers.insert(name(), peer);
    }
    settled
}

/// Whether a node was believed in all of this before.
fn had(claim: &Claim, before: &Claims) -> bool {
    before.peers.get(&claim.node).is_some_and(|peer| {
        peer.uid == claim.uid && peer.addresses == claim.addresses && peer.pods == claim.pods
    })
}

/// What no node may have.
fn odd(ground: &Ground, claim: &Claim) -> Option<String> {
    for range in &claim.pods {
        if !ground.cluster.iter().any(|cluster| cluster.covers(range)) {
            return Some(format!("its pods' range {range} is not the cluster's"));
        }
        if ground
            .services
            .iter()
            .any(|services| services.overlaps(range))
        {
            return Some(format!("its pods' range {range} is of Services"));
        }
    }
    for address in &claim.addresses {
        let mut inside = ground.cluster.iter().chain(&ground.services);
        if inside.any(|range| range.contains(*address)) {
            return Some(format!("its address {address} is of pods or Services"));
        }
        if address.is_loopback() || address.is_unspecified() || address.is_multicast() {
            return Some(format!("its address {address} is no machine's"));
        }
    }
    None
}

fn taken(
    claim: &Claim,
    addresses: &BTreeMap<IpAddr, String>,
    ranges: &BTreeMap<Prefix, String>,
) -> Option<String> {
    for address in &claim.addresses {
        if let Some(owner) = addresses.get(address) {
            return Some(format!("its address {address} is the node {owner}'s"));
        }
    }
    for range in &claim.pods {
        if let Some((other, owner)) = overlapping(range, ranges) {
            let other = format!("{other} of the node {owner}");
            return Some(format!("its pods' range {range} overlaps {other}"));
        }
    }
    None
}

/// Of ranges that do not overlap each other, only two neighbours can overlap another one: that before it, which may cover it, and
/// that behind it, which it may cover.
fn overlapping<'a>(
    range: &Prefix,
    ranges: &'a BTreeMap<Prefix, String>,
) -> Option<(&'a Prefix, &'a String)> {
    let before = ranges.range(..range).next_back();
    let behind = ranges.range(range..).next();
    before
        .into_iter()
        .chain(behind)
        .find(|(other, _)| other.overlaps(range))
}

#[cfg(test)]
mod tests;
