//! What a node's silence means: conditions, taints and how fast pods may be evicted. Pure functions.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

pub(crate) const NO_SCHEDULE: &str = "NoSchedule";
pub(crate) const NO_EXECUTE: &str = "NoExecute";
pub(crate) const NOT_READY: &str = "node.kubernetes.io/not-ready";
pub(crate) const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// Taints that follow from conditions: type, state, key.
const BY_CONDITION: [(&str, &str, &str); 6] = [
    ("Ready", "False", NOT_READY),
    ("Ready", "Unknown", UNREACHABLE),
    (
        "MemoryPressure",
        "True",
        "node.kubernetes.io/memory-pressure",
    ),
    ("DiskPressure", "True", "node.kubernetes.io/disk-pressure"),
    (
        "NetworkUnavailable",
        "True",
        "node.kubernetes.io/network-unavailable",
    ),
    ("PIDPressure", "True", "node.kubernetes.io/pid-pressure"),
];

/// Conditions a kubelet reports; unknown when it does not.
const REPORTED: [&str; 4] = ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"];

pub(crate) fn condition<'a>(node: &'a Node, type_: &str) -> Option<&'a NodeCondition> {
    node.status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == type_)
}

/// The state of the Ready condition: `True`, `False`, `Unknown`, or empty when there is none.
pub(crate) fn readiness(node: &Node) -> &str {
    condition(node, "Ready").map_or("", |c| c.status.as_str())
}

/// The conditions of a node that was not heard of for too long; empty when they say so already.
pub(crate) fn silent_conditions(node: &Node, now: Timestamp) -> Vec<NodeCondition> {
    let mut changed = Vec::new();
    for type_ in REPORTED {
        let (reason, message, heartbeat) = match condition(node, type_) {
            Some(c) if c.status == "Unknown" => continue,
            Some(c) => (
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
                c.last_heartbeat_time.clone(),
            ),
            None => (
                "NodeStatusNeverUpdated",
                "Kubelet never posted node status.",
                node.metadata.creation_timestamp.clone(),
            ),
        };
        changed.push(NodeCondition {
            type_: type_.to_owned(),
            status: "Unknown".to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message.to_owned()),
            last_heartbeat_time: heartbeat,
            last_transition_time: Some(Time(now)),
        });
    }
    changed
}

/// The key of the NoExecute taint that a node's readiness asks for.
pub(crate) fn eviction_taint(node: &Node) -> Option<&'static str> {
    match readiness(node) {
        "False" => Some(NOT_READY),
        "Unknown" => Some(UNREACHABLE),
        _ => None,
    }
}

fn is_ours(taint: &Taint) -> bool {
    match taint.effect.as_str() {
        NO_EXECUTE => taint.key == NOT_READY || taint.key == UNREACHABLE,
        NO_SCHEDULE => {
            taint.key == UNSCHEDULABLE || BY_CONDITION.iter().any(|row| row.2 == taint.key)
        }
        _ => false,
    }
}

/// It has one of the two NoExecute taints of this controller: its pods' time is running.
pub(crate) fn is_evicting(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .any(|taint| taint.effect == NO_EXECUTE && is_ours(taint))
}

/// The taints the node is to have, with `evict` as its NoExecute taint; `None` when it has them. Taints of others stay, and
/// those that stay keep their time.
pub(crate) fn taints(node: &Node, evict: Option<&str>, now: Timestamp) -> Option<Vec<Taint>> {
    let spec = node.spec.clone().unwrap_or_default();
    let before = spec.taints.unwrap_or_default();
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    for (type_, state, key) in BY_CONDITION {
        if condition(node, type_).is_some_and(|c| c.status == state) {
            wanted.push((key, NO_SCHEDULE));
        }
    }
    if spec.unschedulable == Some(true) {
        wanted.push((UNSCHEDULABLE, NO_SCHEDULE));
    }
    wanted.extend(evict.map(|key| (key, NO_EXECUTE)));
    let is_wanted = |taint: &Taint| wanted.contains(&(taint.key.as_str(), taint.effect.as_str()));
    let mut after: Vec<Taint> = before
        .iter()
        .filter(|taint| !is_ours(taint) || is_wanted(taint))
        .cloned()
        .collect();
    for (key, effect) in wanted {
        if !after
            .iter()
            .any(|taint| taint.key == key && taint.effect == effect)
        {
            let (key, effect) = (key.to_owned(), effect.to_owned());
            after.push(Taint {
                key,
                effect,
                time_added: Some(Time(now)),
                value: None,
            });
        }
    }
    (after != before).then_some(after)
}

/// How much of a zone is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disruption {
    Normal,
    /// More than two nodes, and at least 55 % of the zone.
    Partial,
    Full,
}

/// Ready and not ready nodes of a zone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Zone {
    pub ready: usize,
    pub not_ready: usize,
}

impl Zone {
    pub(crate) fn disruption(self) -> Disruption {
        match (self.ready, self.not_ready) {
            (0, not_ready) if not_ready > 0 => Disruption::Full,
            (ready, not_ready) if not_ready > 2 && is_most(not_ready, ready) => Disruption::Partial,
            _ => Disruption::Normal,
        }
    }
}

/// Upstream's `--unhealthy-zone-threshold`: 55 of 100.
fn is_most(not_ready: usize, ready: usize) -> bool {
    let all = ready.saturating_add(not_ready);
    not_ready.saturating_mul(100) >= all.saturating_mul(55)
}

/// What may happen to the pods of a node that is not ready.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Eviction {
    /// So many nodes a second.
    Rate(f64),
    /// Most of a small zone is lost: more likely the network between is. Wait.
    Wait,
    /// All nodes are lost: it is this side that is cut off. Evict nothing, and take back what was begun.
    Cancel,
}

/// Nodes a second in a healthy zone, and in one that is partly lost and large (upstream `--node-eviction-rate`,
/// `--secondary-node-eviction-rate`, `--large-cluster-size-threshold`).
const RATE: f64 = 0.1;
const SECONDARY_RATE: f64 = 0.01;
const LARGE_ZONE_NODES: usize = 50;

pub(crate) fn eviction(zones: &BTreeMap<String, Zone>, zone: &str) -> Eviction {
    if zones
        .values()
        .all(|zone| zone.disruption() == Disruption::Full)
    {
        return Eviction::Cancel;
    }
    let zone = zones.get(zone).copied().unwrap_or_default();
    match zone.disruption() {
        Disruption::Normal | Disruption::Full => Eviction::Rate(RATE),
        Disruption::Partial if zone.ready.saturating_add(zone.not_ready) > LARGE_ZONE_NODES => {
            Eviction::Rate(SECONDARY_RATE)
        }
        Disruption::Partial => Eviction::Wait,
    }
}

/// What may happen in each zone.
pub(crate) fn evictions(zones: &BTreeMap<String, Zone>) -> BTreeMap<String, Eviction> {
    let decided = zones
        .keys()
        .map(|zone| (zone.clone(), eviction(zones, zone)));
    decided.collect()
}

/// Names a node's zone: region and zone, either may be empty.
pub(crate) fn zone_of(node: &Node) -> String {
    let label = |key: &str| {
        node.metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(key))
            .map_or("", String::as_str)
    };
    format!(
        "{}/{}",
        label("topology.kubernetes.io/region"),
        label("topology.kubernetes.io/zone")
    )
}

#[cfg(test)]
mod tests;
