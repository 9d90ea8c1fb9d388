//! InterPodAffinity: pods that require or prefer to be near other pods, or not to be.
//!
//! Both sides speak: the rules of the pod about those that are there, and the rules of those that are there about the pod.
//! The former are answered by tallies, the latter by the snapshot's index of such rules.

mod counts;
mod score;
mod terms;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use knarr_client::Informer;

use counts::Counts;
pub use score::ScoreState;
use terms::all_of;
pub use terms::{Labels, PodAffinity, Term};

use crate::{
    config::args::InterPodAffinityArgs,
    framework::{Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
    tally::Scope,
};

const EXISTING_ANTI: &str = "node(s) didn't satisfy existing pods anti-affinity rules";
const AFFINITY: &str = "node(s) didn't match pod affinity rules";
const ANTI: &str = "node(s) didn't match pod anti-affinity rules";

/// The plugin.
#[derive(Clone)]
pub struct InterPodAffinity {
    namespaces: Informer<Namespace>,
    /// What a pod that is there adds if it requires such a pod as this one near.
    required_weight: i64,
    /// Whether what pods that are there prefer counts for pods that prefer nothing.
    heeds_others: bool,
}

/// The rules of the pod, with what they mean by now.
struct Required {
    /// Pods that all its affinity terms mean: one such pod near is asked for.
    near: Option<Scope>,
    /// The pods of each anti-affinity term.
    apart: Vec<Scope>,
    /// Of the pod's namespace.
    namespace: Labels,
    /// Whether the pod is one that it wants near: then the first of them may go anywhere.
    wants_own_kind: bool,
}

/// What is in the way, and what is asked for, by parts of the cluster.
#[derive(Clone)]
pub struct State {
    required: Arc<Required>,
    /// Pods that require that no pod such as this one be near.
    existing_anti: Counts,
    /// Pods that are meant by all affinity terms.
    near: Counts,
    /// Pods that are meant by anti-affinity terms.
    apart: Counts,
}

impl InterPodAffinity {
    pub fn new(namespaces: Informer<Namespace>, args: &InterPodAffinityArgs) -> Self {
        Self {
            namespaces,
            required_weight: i64::from(args.hard_pod_affinity_weight),
            heeds_others: !args.ignore_preferred_terms_of_existing_pods,
        }
    }

    fn namespace_labels(&self, pod: &PodInfo) -> Labels {
        let namespace = self.namespaces.get("", &pod.namespace)?;
        namespace.metadata.labels.clone()
    }

    fn required(&self, pod: &PodInfo) -> Required {
        let scopes = |terms: &[Term]| -> Vec<Scope> {
            terms.iter().map(|t| t.scope(&self.namespaces)).collect()
        };
        let near = all_of(scopes(near_terms(pod)));
        Required {
            wants_own_kind: near.as_ref().is_some_and(|near| near.contains(pod)),
            near,
            apart: scopes(apart_terms(pod)),
            namespace: self.namespace_labels(pod),
        }
    }
}

fn near_terms(pod: &PodInfo) -> &[Term] {
    pod.affinity.as_ref().map_or(&[], |a| &a.required)
}

fn apart_terms(pod: &PodInfo) -> &[Term] {
    pod.affinity.as_ref().map_or(&[], |a| &a.required_anti)
}

fn keys<'t>(terms: impl IntoIterator<Item = &'t Term>) -> impl Iterator<Item = &'t str> {
    terms.into_iter().map(|term| &*term.topology_key)
}

impl State {
    fn new(required: Required, pod: &PodInfo, cluster: &Snapshot) -> Self {
        let rules = &cluster.standing.apart;
        let nominated = cluster.nominated.all().flat_map(apart_terms);
        let mut existing_anti = Counts::by(keys(rules.terms().chain(nominated)), cluster);
        for (term, weights) in rules.about(pod, &required.namespace) {
            existing_anti.add_all(&term.topology_key, weights);
        }
        let mut near = Counts::by(keys(near_terms(pod)), cluster);
        if let Some(scope) = &required.near {
            let tally = cluster.tally(scope);
            for term in near_terms(pod) {
                near.add_all(&term.topology_key, tally.all());
            }
        }
        let mut apart = Counts::by(keys(apart_terms(pod)), cluster);
        for (term, scope) in apart_terms(pod).iter().zip(&required.apart) {
            apart.add_all(&term.topology_key, cluster.tally(scope).all());
        }
        Self {
            required: Arc::new(required),
            existing_anti,
            near,
            apart,
        }
    }

    fn is_empty(&self) -> bool {
        let required = &self.required;
        let asks = required.near.is_some() || !required.apart.is_empty();
        !asks && self.existing_anti.is_empty()
    }

    fn count_existing(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        for term in apart_terms(other) {
            if term.selects(pod, &self.required.namespace) {
                self.existing_anti.add(&term.topology_key, node, by);
            }
        }
    }

    /// Counts a pod more (or less) on a node.
    fn count(&mut self, pod: &PodInfo, other: &PodInfo, node: &NodeInfo, by: i64) {
        self.count_existing(pod, other, node, by);
        let required = self.required.clone();
        if required
            .near
            .as_ref()
            .is_some_and(|near| near.contains(other))
        {
            for term in near_terms(pod) {
                self.near.add(&term.topology_key, node, by);
            }
        }
        for (term, scope) in apart_terms(pod).iter().zip(&required.apart) {
            if scope.contains(other) {
                self.apart.add(&term.topology_key, node, by);
            }
        }
    }

    /// Whether one that the pod wants near is near, for each of its terms. Where there is none anywhere, the first of its
    /// own kind may be alone.
    fn has_near(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let terms = near_terms(pod);
        let labelled = terms.iter().all(|t| node.label(&t.topology_key).is_some());
        let found = |t: &Term| self.near.of(&t.topology_key, node) > 0;
        let first = || self.near.is_empty() && self.required.wants_own_kind;
        labelled && (terms.iter().all(found) || first())
    }
}

impl Filter for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        state: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        let nobody = cluster.standing.apart.is_empty();
        if nobody && near_terms(pod).is_empty() && apart_terms(pod).is_empty() {
            return Ok(PreFilter::Skip);
        }
        let found = State::new(self.required(pod), pod, cluster);
        if found.is_empty() {
            return Ok(PreFilter::Skip);
        }
        state.affinity = Some(found);
        Ok(PreFilter::All)
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal> {
        let Some(state) = &state.affinity else {
            return Ok(());
        };
        if !near_terms(pod).is_empty() && !state.has_near(pod, node) {
            return Err(Refusal::unresolvable(AFFINITY));
        }
        let near = |t: &Term| state.apart.of(&t.topology_key, node) > 0;
        if apart_terms(pod).iter().any(near) {
            return Err(Refusal::resolvable(ANTI));
        }
        if state.existing_anti.all_of(node).any(|count| count > 0) {
            return Err(Refusal::resolvable(EXISTING_ANTI));
        }
        Ok(())
    }

    fn add_pod(&self, pod: &PodInfo, added: &PodInfo, node: &NodeInfo, state: &mut CycleState) {
        if let Some(state) = &mut state.affinity {
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
        if let Some(state) = &mut state.affinity {
            state.count(pod, removed, node, -1);
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[
            Change::NodeAdded,
            Change::NodeLabels,
            Change::PodAdded,
            Change::PodLabels,
            Change::PodRemoved,
        ]
    }

    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        // Only the one pod is asked about, whatever others the terms mean: this runs for each pod that waits.
        let near = |other: &PodInfo| {
            let namespace = self.namespace_labels(other);
            let mut terms = near_terms(pod).iter().peekable();
            terms.peek().is_some() && terms.all(|term| term.selects(other, &namespace))
        };
        let apart = |other: &PodInfo| {
            let namespace = self.namespace_labels(other);
            apart_terms(pod)
                .iter()
                .any(|term| term.selects(other, &namespace))
        };
        match (event.change, event.pod) {
            (Change::PodAdded, Some(other)) => near(other),
            (Change::PodLabels, Some(other)) => {
                let before = event.pod_before.unwrap_or(other);
                (!near(before) && near(other)) || (apart(before) && !apart(other))
            }
            (Change::PodRemoved, Some(other)) => {
                let namespace = self.namespace_labels(pod);
                let mut theirs = apart_terms(other).iter();
                apart(other) || theirs.any(|term| term.selects(pod, &namespace))
            }
            _ => self.node_helps(pod, event),
        }
    }
}

impl InterPodAffinity {
    /// A node that came, or is in another part of the cluster than it was. Every new node may take a pod that is to be apart.
    fn node_helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let now = |term: &Term| event.node.label(&term.topology_key);
        let labels = |before: &'_ k8s_openapi::api::core::v1::Node| before.metadata.labels.clone();
        let Some(before) = event.before.map(labels) else {
            let labelled = near_terms(pod).iter().any(|term| now(term).is_some());
            // Whoever was ruled out by the rules of others has none of its own.
            return labelled || near_terms(pod).is_empty();
        };
        let was = |term: &Term| {
            let labels = before.as_ref();
            labels.and_then(|labels| labels.get(&term.topology_key))
        };
        let changed = |term: &Term| was(term).map(String::as_str) != now(term);
        let near = |term: &Term| now(term).is_some() && changed(term);
        let apart = |term: &Term| was(term).is_some() && changed(term);
        let none = near_terms(pod).is_empty() && apart_terms(pod).is_empty();
        none || near_terms(pod).iter().any(near) || apart_terms(pod).iter().any(apart)
    }
}
