//! NodeAffinity: `nodeSelector` and node affinity, of the pod and of the profile.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PodSpec, PreferredSchedulingTerm};
use knarr_meta::node_selector::Term;

use crate::{
    config::args::NodeAffinityArgs,
    framework::{
        Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal, Score, ScoreState,
        normalize_by_max,
    },
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const POD: &str = "node(s) didn't match Pod's node affinity/selector";
const ENFORCED: &str = "node(s) didn't match scheduler-enforced node affinity";

/// The plugin.
#[derive(Clone)]
pub struct NodeAffinity {
    added: Arc<Added>,
}

/// What holds for all pods of a profile.
struct Added {
    /// Any of them; `None`: no rule.
    required: Option<Vec<Term>>,
    preferred: Vec<Preferred>,
}

impl NodeAffinity {
    pub fn new(args: &NodeAffinityArgs) -> Self {
        let added = args.added_affinity.as_ref();
        let required = added.and_then(|added| {
            let required = &added.required_during_scheduling_ignored_during_execution;
            let terms = &required.as_ref()?.node_selector_terms;
            Some(terms.iter().map(Term::new).collect())
        });
        let preferred = added.and_then(|added| {
            let preferred = &added.preferred_during_scheduling_ignored_during_execution;
            preferred.as_deref()
        });
        let preferred = preferred.unwrap_or_default().iter().map(Preferred::new);
        Self {
            added: Arc::new(Added {
                required,
                preferred: preferred.collect(),
            }),
        }
    }

    /// Whether the profile lets pods go to a node.
    fn admits(&self, node: &Node) -> bool {
        let required = self.added.required.as_ref();
        required.is_none_or(|terms| terms.iter().any(|term| term.matches(node)))
    }
}

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
        preferred.into_iter().flatten().map(Self::new).collect()
    }

    fn new(from: &PreferredSchedulingTerm) -> Self {
        Self {
            term: Term::new(&from.preference),
            weight: i64::from(from.weight),
        }
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
            return Ok(match self.added.required.is_some() {
                true => PreFilter::All,
                false => PreFilter::Skip,
            });
        };
        match required.names() {
            Some(names) if names.is_empty() => Err("pod affinity terms conflict".into()),
            Some(names) => Ok(PreFilter::Only(names)),
            None => Ok(PreFilter::All),
        }
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        if !node.node.as_deref().is_some_and(|node| self.admits(node)) {
            return Err(Refusal::unresolvable(ENFORCED));
        }
        match matches(pod, node) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(POD)),
        }
    }

    fn remedies(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let selector = pod.spec().and_then(|spec| spec.node_selector.as_ref());
        let wanted = selector.into_iter().flatten();
        let missing = wanted.filter(|(key, value)| node.label(key) != Some(value.as_str()));
        missing
            .map(|(key, value)| format!("the label {key}={value}"))
            .collect()
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeLabels]
    }

    /// The node must match since its labels changed, not since ever.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let did_not_match = |before: &Node| !self.admits(before) || !pod.may_go_to(before);
        let admitted = event.node.node.as_deref().is_some_and(|n| self.admits(n));
        admitted && event.before.is_none_or(did_not_match) && matches(pod, event.node)
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo], _: &mut ScoreState) -> bool {
        !pod.preferred_nodes().is_empty() || !self.added.preferred.is_empty()
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let Some(node) = node.node.as_deref() else {
            return 0;
        };
        let preferred = pod.preferred_nodes().iter().chain(&self.added.preferred);
        let fitting = preferred.filter(|p| p.term.matches(node));
        fitting.map(|p| p.weight).sum()
    }

    fn normalize(&self, _: &[&NodeInfo], _: &ScoreState, scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }
}
