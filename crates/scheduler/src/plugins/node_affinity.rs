//! NodeAffinity: `nodeSelector` and node affinity.

use k8s_openapi::api::core::v1::{Node, PodSpec};
use knarr_meta::node_selector::Term;

use crate::{
    framework::{
        Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal, Score, ScoreState,
        normalize_by_max,
    },
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

pub struct NodeAffinity;

/// Where a pod would rather go.
#[derive(Debug)]
pub struct Preferred {
    term: Term,
    weight: i64,
}

impl Preferred {
    pub fn all(spec: &PodSpec) -> Vec<Self> {
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref());
        let preferred = affinity.and_then(|a| {
            a.preferred_during_scheduling_ignored_during_execution
                .as_ref()
        });
        let one = |p: &k8s_openapi::api::core::v1::PreferredSchedulingTerm| Self {
            term: Term::new(&p.preference),
            weight: i64::from(p.weight),
        };
        preferred.into_iter().flatten().map(one).collect()
    }
}

fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let node = node.node.as_deref();
    node.is_some_and(|node| pod.may_go_to(node))
}

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        let Some(required) = pod.required_nodes() else {
            return Ok(PreFilter::Skip);
        };
        match required.names() {
            Some(names) if names.is_empty() => Err("pod affinity terms conflict".into()),
            Some(names) => Ok(PreFilter::Only(names)),
            None => Ok(PreFilter::All),
        }
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        match matches(pod, node) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(
                "node(s) didn't match Pod's node affinity/selector",
            )),
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeLabels]
    }

    /// The node must match since its labels changed, not since ever.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let did_not_match = |before: &Node| !pod.may_go_to(before);
        event.before.is_none_or(did_not_match) && matches(pod, event.node)
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo], _: &mut ScoreState) -> bool {
        !pod.preferred_nodes().is_empty()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let Some(node) = node.node.as_deref() else {
            return 0;
        };
        let fitting = pod
            .preferred_nodes()
            .iter()
            .filter(|p| p.term.matches(node));
        fitting.map(|p| p.weight).sum()
    }

    fn normalize(&self, _: &[&NodeInfo], _: &ScoreState, scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }

    fn weight(&self) -> i64 {
        2
    }
}
