//! The extension points a plugin may fill, named as upstream's.
//!
//! PreFilter and PreScore look at the whole snapshot once a pod and keep what they found in a typed state ([`CycleState`],
//! [`ScoreState`]); Filter and Score read it once a node. A state can be told of a pod more or less on a node, so that
//! preemption tries what would be without looking at the whole snapshot again.

mod change;
mod events;
mod profiles;
mod reserve;
mod run;

use std::{borrow::Cow, collections::BTreeSet, sync::Arc};

pub use change::Change;
pub use events::{ClusterEvent, DeviceEvent, VolumeEvent};
pub use profiles::{Parts, Plugins, Profiles};
pub use reserve::{PreBind, Reservation, Reserve};

use crate::{
    plugins::{
        dynamic_resources, image_locality, inter_pod_affinity, pod_topology_spread,
        volume_restrictions,
    },
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// Scores go from 0 to this (upstream `framework.MaxNodeScore`).
pub const MAX_SCORE: i64 = 100;

/// Why a node is ruled out, as upstream words it: it is what `kubectl describe pod` shows.
pub type Reason = Cow<'static, str>;

/// A node is ruled out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reasons: Vec<Reason>,
    /// Whether it may fit once other pods have left it (upstream's `Unschedulable`, in contrast to
    /// `UnschedulableAndUnresolvable`).
    pub resolvable: bool,
}

impl Refusal {
    /// Other pods are in the way.
    pub fn resolvable(reason: impl Into<Reason>) -> Self {
        Self {
            reasons: vec![reason.into()],
            resolvable: true,
        }
    }

    /// It would not fit on an empty node either.
    pub fn unresolvable(reason: impl Into<Reason>) -> Self {
        Self {
            reasons: vec![reason.into()],
            resolvable: false,
        }
    }
}

/// Which nodes a plugin wants to be asked about.
#[derive(Debug, PartialEq, Eq)]
pub enum PreFilter {
    All,
    /// It rules out every other node (upstream's `PreFilterResult`).
    Only(BTreeSet<String>),
    /// It has nothing to say of this pod, and is not asked (upstream's `Skip`).
    Skip,
}

/// What plugins found out about a pod before any node was looked at.
#[derive(Clone, Default)]
pub struct CycleState {
    /// Filters that have nothing to say.
    skipped: FilterSet,
    pub spread: Option<pod_topology_spread::State>,
    pub affinity: Option<inter_pod_affinity::State>,
    pub devices: Option<Arc<dynamic_resources::State>>,
    pub exclusive_claims: Option<volume_restrictions::State>,
}

/// Rules nodes out.
pub trait Filter: Send + Sync {
    fn name(&self) -> &'static str;
    /// Whether the pod is to be tried at all yet.
    ///
    /// # Errors
    /// Why not.
    fn pre_enqueue(&self, _pod: &PodInfo) -> Result<(), Reason> {
        Ok(())
    }
    /// Looks at the pod and at the whole cluster, once, and keeps in `state` what [`Filter::filter`] reads.
    ///
    /// # Errors
    /// Why every node is ruled out.
    fn pre_filter(
        &self,
        _pod: &PodInfo,
        _cluster: &Snapshot,
        _state: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        Ok(PreFilter::All)
    }
    /// Whether the pod may be on the node.
    ///
    /// # Errors
    /// Everything that does not fit.
    fn filter(&self, pod: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal>;
    /// What would have to change for the pod to be on a node that was ruled out here, in people's words; nothing where that cannot be
    /// told of this node alone. Only explanations ask.
    fn remedies(&self, _pod: &PodInfo, _node: &NodeInfo) -> Vec<String> {
        Vec::new()
    }
    /// Makes `state` what it were with a pod more on the node (upstream's `PreFilterExtensions`).
    fn add_pod(&self, _pod: &PodInfo, _added: &PodInfo, _node: &NodeInfo, _state: &mut CycleState) {
    }
    /// Makes `state` what it were with a pod less on the node.
    fn remove_pod(
        &self,
        _pod: &PodInfo,
        _removed: &PodInfo,
        _node: &NodeInfo,
        _state: &mut CycleState,
    ) {
    }
    /// What can let a pod fit that was ruled out here (upstream `EventsToRegister`). Nothing else has it tried again.
    fn changes(&self) -> &'static [Change];
    /// Whether such a change does so for this pod (upstream's queueing hints). At least its node must pass; plugins that
    /// can tell cheaply also ask whether it did not before.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let state = CycleState::default();
        self.filter(pod, event.node, &state).is_ok()
    }
    /// Whether a change of claims, volumes or classes lets a pod fit that was ruled out here.
    fn volumes_help(&self, _pod: &PodInfo, _event: &VolumeEvent<'_>) -> bool {
        false
    }
    /// Whether a change of claims of devices, slices or classes lets a pod fit that was ruled out here.
    fn devices_help(&self, _pod: &PodInfo, _event: &DeviceEvent<'_>) -> bool {
        false
    }
}

/// Some of a scheduler's filters, by their place among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FilterSet(u64);

/// The filters that ruled out a node (upstream `UnschedulablePlugins`).
pub type Rejectors = FilterSet;

impl FilterSet {
    /// Filters a scheduler may have.
    const FILTERS_MAX: usize = 64;
    /// The last of them stands for extenders.
    const EXTENDER: usize = Self::FILTERS_MAX - 1;

    pub fn insert(&mut self, filter: usize) {
        debug_assert!(filter < Self::FILTERS_MAX, "a bit for each filter");
        self.0 |= 1 << filter;
    }

    /// Notes that an extender ruled nodes out: whatever happens then may help.
    pub fn insert_extender(&mut self) {
        self.insert(Self::EXTENDER);
    }

    /// Whether an extender did.
    pub fn has_extender(self) -> bool {
        self.contains(Self::EXTENDER)
    }

    /// Those of both.
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn contains(self, filter: usize) -> bool {
        self.0 & (1 << filter) != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What plugins found out about a pod and the nodes that it fits on, before any of them was ranked.
#[derive(Default)]
pub struct ScoreState {
    pub spread: Option<pod_topology_spread::ScoreState>,
    pub affinity: Option<inter_pod_affinity::ScoreState>,
    pub images: Option<image_locality::ScoreState>,
    pub devices: Option<dynamic_resources::Points>,
}

/// Ranks the nodes that fit.
pub trait Score: Send + Sync {
    fn name(&self) -> &'static str;
    /// Looks at the pod, at the nodes that it fits on and at the whole cluster, once; `false`: all nodes are alike to it
    /// (upstream's `Skip`).
    fn pre_score(
        &self,
        _pod: &PodInfo,
        _cluster: &Snapshot,
        _nodes: &[&NodeInfo],
        _state: &mut ScoreState,
    ) -> bool {
        true
    }
    /// Any number; [`Score::normalize`] brings them into range.
    fn score(&self, pod: &PodInfo, node: &NodeInfo, state: &ScoreState) -> i64;
    /// Brings the scores of all nodes into 0..=[`MAX_SCORE`].
    fn normalize(&self, _nodes: &[&NodeInfo], _state: &ScoreState, _scores: &mut [i64]) {}
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
