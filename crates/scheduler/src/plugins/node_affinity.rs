//! NodeAffinity: `nodeSelector` and node affinity.

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};
use knarr_meta::labels::{Operator, Requirement, Selector};

use crate::{
    framework::{Change, ClusterEvent, Filter, Score, normalize_by_max},
    pod_info::{PodInfo, selector_of},
    snapshot::NodeInfo,
};

pub struct NodeAffinity;

/// A term: all of its expressions and fields.
#[derive(Debug)]
struct Term {
    labels: Vec<Requirement>,
    /// Only `metadata.name` is a field.
    names: Vec<Requirement>,
    /// A term without requirements, or with an unreadable one, matches nothing.
    never: bool,
}

impl Term {
    fn new(term: &NodeSelectorTerm) -> Self {
        let read = |list: &Option<Vec<NodeSelectorRequirement>>| -> Vec<Option<Requirement>> {
            list.iter().flatten().map(requirement).collect()
        };
        let labels = read(&term.match_expressions);
        let fields = read(&term.match_fields);
        let never = (labels.is_empty() && fields.is_empty())
            || labels.iter().chain(&fields).any(Option::is_none);
        Self {
            labels: labels.into_iter().flatten().collect(),
            names: fields.into_iter().flatten().collect(),
            never,
        }
    }

    fn matches(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
        let name_fits = |r: &Requirement| r.key() == "metadata.name" && r.matches(Some(name));
        !self.never
            && self.labels.iter().all(|r| r.matches(label(r.key())))
            && self.names.iter().all(name_fits)
    }
}

fn requirement(from: &NodeSelectorRequirement) -> Option<Requirement> {
    let operator = match from.operator.as_str() {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    };
    Requirement::new(
        from.key.as_str(),
        operator,
        from.values.clone().unwrap_or_default(),
    )
    .ok()
}

/// Where a pod must go.
#[derive(Debug)]
pub struct RequiredNodes {
    selector: Selector,
    /// Any of them; `None`: no rule.
    terms: Option<Vec<Term>>,
}

impl RequiredNodes {
    pub fn new(spec: &PodSpec) -> Self {
        let affinity = spec
            .affinity
            .as_ref()
            .and_then(|a| a.node_affinity.as_ref());
        let required = affinity.and_then(|a| {
            a.required_during_scheduling_ignored_during_execution
                .as_ref()
        });
        Self {
            selector: selector_of(spec.node_selector.as_ref()),
            terms: required.map(|r| r.node_selector_terms.iter().map(Term::new).collect()),
        }
    }

    fn matches(&self, node: &Node) -> bool {
        let labels = node.metadata.labels.as_ref();
        let terms_match = |terms: &Vec<Term>| terms.iter().any(|term| term.matches(node));
        self.selector.matches_option(labels) && self.terms.as_ref().is_none_or(terms_match)
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
        let one = |p: &k8s_openapi::api::core::v1::PreferredSchedulingTerm| Self {
            term: Term::new(&p.preference),
            weight: i64::from(p.weight),
        };
        preferred.into_iter().flatten().map(one).collect()
    }
}

fn matches(pod: &PodInfo, node: &NodeInfo) -> bool {
    let node = node.node.as_deref();
    node.is_some_and(|node| pod.required_nodes.matches(node))
}

impl Filter for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>) {
        if !matches(pod, node) {
            reasons.push("node(s) didn't match Pod's node affinity/selector".to_owned());
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeLabels]
    }

    /// The node must match since its labels changed, not since ever.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let did_not_match = |before: &Node| !pod.required_nodes.matches(before);
        event.before.is_none_or(did_not_match) && matches(pod, event.node)
    }
}

impl Score for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let Some(node) = node.node.as_deref() else {
            return 0;
        };
        let fitting = pod.preferred_nodes.iter().filter(|p| p.term.matches(node));
        fitting.map(|p| p.weight).sum()
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }

    fn weight(&self) -> i64 {
        2
    }
}
