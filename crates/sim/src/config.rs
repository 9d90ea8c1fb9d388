//! What is simulated.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Taint, apimachinery::pkg::api::resource::Quantity};

use crate::{latency::Latency, range::Range, share::Share};

/// Nodes, their pods, and what goes wrong with them.
#[derive(Clone, Debug)]
pub struct Config {
    /// What names of nodes begin with, and the value of their label [`knarr_client::SIMULATED_LABEL`].
    pub name: String,
    pub count: u32,
    /// What each says that it is, such as `v1.37.0`.
    pub version: String,
    /// Over how many zones they are spread; 0 for none.
    pub zones: u32,
    /// Labels of all nodes beside a kubelet's own.
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    /// What each node has of each resource.
    pub capacity: BTreeMap<String, Quantity>,
    /// Where nodes' own addresses are from.
    pub node_range: Range,
    /// Where pods' addresses are from on nodes that were given no range.
    pub pod_range: Range,
    /// From a pod's being bound to its being ready.
    pub start: Latency,
    /// From a pod's deletion to its end; its grace period at most.
    pub stop: Latency,
    /// How long pods of Jobs run until they succeed.
    pub job: Latency,
    /// Nodes whose container runtime does not work.
    pub not_ready: Share,
    /// Pods whose containers fail.
    pub failing: Share,
    /// Nodes that are down at any time, each for `outage`.
    pub outages: Share,
    pub outage: Latency,
    /// Of all that is left to chance.
    pub seed: u64,
}
