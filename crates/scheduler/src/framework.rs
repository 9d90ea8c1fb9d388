//! The extension points a plugin may fill, named as upstream's.

use k8s_openapi::api::core::v1::Node;

use crate::{pod_info::PodInfo, snapshot::NodeInfo};

/// Scores go from 0 to this (upstream `framework.MaxNodeScore`).
pub const MAX_SCORE: i64 = 100;

/// Rules a node out, with reasons as upstream words them: they are what `kubectl describe pod` shows.
pub trait Filter: Send + Sync {
    fn name(&self) -> &'static str;
    /// Adds a reason for each thing that does not fit.
    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>);
    /// What can let a pod fit that was ruled out here (upstream `EventsToRegister`). Nothing else has it tried again.
    fn changes(&self) -> &'static [Change];
    /// Whether such a change does so for this pod (upstream's queueing hints). At least its node must pass; plugins that
    /// can tell cheaply also ask whether it did not before.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let mut reasons = Vec::new();
        self.filter(pod, event.node, &mut reasons);
        reasons.is_empty()
    }
}

/// What happened to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    NodeAdded,
    NodeLabels,
    NodeTaints,
    NodeUncordoned,
    NodeAllocatable,
    /// A pod on it ended, was deleted, could not be bound, or takes less than before.
    PodRemoved,
}

/// Something that may let a pod fit that did not before.
pub struct ClusterEvent<'a> {
    pub change: Change,
    /// As it is now.
    pub node: &'a NodeInfo,
    /// As it was, where the node itself changed.
    pub before: Option<&'a Node>,
    /// The pod that was removed.
    pub freed: Option<&'a PodInfo>,
}

/// The filters that ruled out a node, by their place among a scheduler's filters (upstream `UnschedulablePlugins`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rejectors(u64);

impl Rejectors {
    /// Filters a scheduler may have.
    const FILTERS_MAX: usize = 64;

    pub fn insert(&mut self, filter: usize) {
        debug_assert!(filter < Self::FILTERS_MAX, "a bit for each filter");
        self.0 |= 1 << filter;
    }

    fn contains(self, filter: usize) -> bool {
        self.0 & (1 << filter) != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// Ranks the nodes that fit.
pub trait Score: Send + Sync {
    fn name(&self) -> &'static str;
    /// Any number; [`Score::normalize`] brings them into range.
    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64;
    /// Brings the scores of all nodes into 0..=[`MAX_SCORE`].
    fn normalize(&self, _scores: &mut [i64]) {}
    fn weight(&self) -> i64 {
        1
    }
}

/// Scales so that the highest score becomes [`MAX_SCORE`]; `reverse` where fewer is better.
pub fn normalize_by_max(scores: &mut [i64], reverse: bool) {
    let max = scores.iter().copied().max().unwrap_or(0);
    for score in scores {
        let scaled = if max == 0 {
            0
        } else {
            *score * MAX_SCORE / max
        };
        *score = if reverse { MAX_SCORE - scaled } else { scaled };
    }
}

/// The plugins of a scheduler.
pub struct Plugins {
    pub filters: Vec<Box<dyn Filter>>,
    pub scores: Vec<Box<dyn Score>>,
}

impl Plugins {
    fn of(&self, rejectors: Rejectors) -> impl Iterator<Item = &dyn Filter> {
        let filters = self.filters.iter().enumerate();
        filters
            .filter(move |(index, _)| rejectors.contains(*index))
            .map(|(_, filter)| filter.as_ref())
    }

    /// Whether such a change may help any pod that `rejectors` ruled out. Where nobody did there was no node at all, and
    /// anything may help.
    pub fn may_help(&self, rejectors: Rejectors, change: Change) -> bool {
        rejectors.is_empty() || self.of(rejectors).any(|f| f.changes().contains(&change))
    }

    /// Whether an event helps a pod that `rejectors` ruled out.
    pub fn helps(&self, rejectors: Rejectors, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let asks = |f: &dyn Filter| f.changes().contains(&event.change) && f.helps(pod, event);
        rejectors.is_empty() || self.of(rejectors).any(asks)
    }
}
