//! PodTopologySpread: pods of a kind are spread over parts of the cluster.
//!
//! A part is the nodes with the same value of a label. `DoNotSchedule` constraints rule nodes out whose part would have too
//! many pods more than the part with the fewest; `ScheduleAnyway` constraints rank. Pods without constraints of their own
//! that belong to a Service or a controller are ranked by upstream's defaults: over hosts and over zones.

mod constraint;
mod owners;
mod parts;
mod score;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, TopologySpreadConstraint};

use constraint::{Constraint, DO_NOT_SCHEDULE};
pub use owners::Owners;
use parts::Parts;
pub use score::ScoreState;

use crate::{
    config::args::{LIST, PodTopologySpreadArgs},
    framework::{Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot, taints_of},
    tally::Scope,
};

const SKEWED: &str = "node(s) didn't match pod topology spread constraints";
const UNLABELLED: &str =
    "node(s) didn't match pod topology spread constraints (missing required label)";

/// The plugin.
#[derive(Clone)]
pub struct PodTopologySpread {
    owners: Owners,
    /// For pods that have none of their own.
    defaults: Arc<Defaults>,
}

/// Constraints of pods that have none.
enum Defaults {
    /// Upstream's.
    System,
    /// Those of the profile, whose selectors are the pods' owners'.
    List(Vec<TopologySpreadConstraint>),
}

/// The pods in each part of the cluster.
#[derive(Clone)]
pub struct State {
    constraints: Arc<[Constraint]>,
    /// Of each constraint.
    parts: Vec<Parts>,
}

impl State {
    fn new(constraints: Vec<Constraint>, pod: &PodInfo, cluster: &Snapshot) -> Self {
        let tallies: Vec<_> = constraints.iter().map(|c| c.tally(cluster)).collect();
        let keys = constraints.iter().map(|c| &*c.topology_key);
        let mut parts: Vec<_> = keys.map(|key| Parts::new(cluster.domains(key))).collect();
        for node in cluster.nodes() {
            if !in_all(node, &parts) {
                continue;
            }
            for ((constraint, tally), parts) in constraints.iter().zip(&tallies).zip(&mut parts) {
                if constraint.includes(pod, node) {
                    parts.add(node, tally.on(node.slot));
                }
            }
        }
        parts.iter_mut().for_each(Parts::find_fewest);
        Self {
            constraints: constraints.into(),
            parts,
        }
    }

    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        if other.namespace != pod.namespace || !in_all(node, &self.parts) {
            return;
        }
        for (constraint, parts) in self.constraints.iter().zip(&mut self.parts) {
            if constraint.scope.contains(other) && constraint.includes(pod, node) {
                parts.add(node, by);
                parts.note(node);
            }
        }
    }
}

/// Whether a node is in a part by each constraint.
fn in_all(node: &NodeInfo, parts: &[Parts]) -> bool {
    parts.iter().all(|parts| parts.has(node))
}

/// Whether a node has the labels of all constraints.
fn has_all(node: &NodeInfo, constraints: &[Constraint]) -> bool {
    let has = |c: &Constraint| node.label(&c.topology_key).is_some();
    constraints.iter().all(has)
}

impl PodTopologySpread {
    pub fn new(owners: Owners, args: &PodTopologySpreadArgs) -> Self {
        let defaults = match args.defaulting_type.as_str() {
            LIST => Defaults::List(args.default_constraints.clone()),
            _ => Defaults::System,
        };
        Self {
            owners,
            defaults: Arc::new(defaults),
        }
    }

    /// The constraints of a pod that rule nodes out. Upstream's defaults do not.
    fn hard(&self, pod: &PodInfo) -> Result<Vec<Constraint>, Reason> {
        let own = Constraint::own(pod);
        let found = match &*self.defaults {
            Defaults::List(defaults) if own.is_empty() => {
                Ok(self.defaulted(defaults, DO_NOT_SCHEDULE, pod))
            }
            _ => Constraint::all(own, DO_NOT_SCHEDULE, pod),
        };
        found.map_err(|error| {
            format!("obtaining pod's hard topology spread constraints: {error}").into()
        })
    }

    /// Default constraints that are met in one way; none for a pod that belongs to nobody.
    fn defaulted(
        &self,
        defaults: &[TopologySpreadConstraint],
        when_unsatisfiable: &str,
        pod: &PodInfo,
    ) -> Vec<Constraint> {
        let mut wanted = defaults.iter();
        if !wanted.any(|c| c.when_unsatisfiable == when_unsatisfiable) {
            return Vec::new();
        }
        let selector = self.owners.selector(pod);
        if selector.is_empty() {
            return Vec::new();
        }
        let scope = Scope::within(&pod.namespace, selector);
        let wanted = defaults.iter();
        let wanted = wanted.filter(|c| c.when_unsatisfiable == when_unsatisfiable);
        let read = wanted.map(|from| Constraint::of(from, scope.clone(), pod));
        read.collect()
    }
}

impl Filter for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        state: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        let constraints = self.hard(pod)?;
        if constraints.is_empty() {
            return Ok(PreFilter::Skip);
        }
        state.spread = Some(State::new(constraints, pod, cluster));
        Ok(PreFilter::All)
    }

    fn filter(&self, _: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal> {
        let Some(state) = &state.spread else {
            return Ok(());
        };
        for (constraint, parts) in state.constraints.iter().zip(&state.parts) {
            if !parts.has(node) {
                return Err(Refusal::unresolvable(UNLABELLED));
            }
            let count = parts.of(node).saturating_add(constraint.own);
            let fewest = parts.fewest(constraint.min_domains);
            let fewest = fewest.unwrap_or(i64::from(i32::MAX));
            if count.saturating_sub(fewest) > constraint.max_skew {
                return Err(Refusal::resolvable(SKEWED));
            }
        }
        Ok(())
    }

    fn add_pod(&self, pod: &PodInfo, added: &PodInfo, node: &NodeInfo, state: &mut CycleState) {
        if let Some(state) = &mut state.spread {
            state.count(pod, added, node, 1);
        }
    }

    fn remove_pod(
        &self,
        pod: &PodInfo,
        removed: &PodInfo,
        node: &NodeInfo,
        state: &mut CycleState,
    ) {
        if let Some(state) = &mut state.spread {
            state.count(pod, removed, node, -1);
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[
            Change::NodeAdded,
            Change::NodeRemoved,
            Change::NodeLabels,
            Change::NodeTaints,
            Change::PodAdded,
            Change::PodLabels,
            Change::PodRemoved,
        ]
    }

    /// Pods that a constraint counts came, went, or are counted no longer; a node came to a part, left it, or changed its
    /// taints.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let Ok(constraints) = self.hard(pod) else {
            return true;
        };
        let counted = |other: &PodInfo, c: &Constraint| c.scope.contains(other);
        match (event.pod, event.pod_before) {
            (Some(other), Some(before)) => constraints
                .iter()
                .any(|c| counted(other, c) != counted(before, c)),
            (Some(other), None) => constraints.iter().any(|c| counted(other, c)),
            (None, _) => node_helps(&constraints, event),
        }
    }
}

fn node_helps(constraints: &[Constraint], event: &ClusterEvent<'_>) -> bool {
    let labelled = has_all(event.node, constraints);
    let Some(before) = event.before else {
        return labelled;
    };
    let was = |c: &Constraint| label(before, &c.topology_key);
    let was_labelled = constraints.iter().all(|c| was(c).is_some());
    let moved = |c: &Constraint| was(c) != event.node.label(&c.topology_key);
    let changed = || constraints.iter().any(moved) || taints_of(before) != event.node.taints();
    labelled != was_labelled || (labelled && changed())
}

fn label<'n>(node: &'n Node, key: &str) -> Option<&'n str> {
    let labels = node.metadata.labels.as_ref()?;
    labels.get(key).map(String::as_str)
}
