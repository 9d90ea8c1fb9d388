//! Where a DaemonSet's pods belong, and how a pod says where.

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
    Toleration,
};
use knarr_meta::{node_selector::RequiredNodes, taints};

use crate::pods;

const NAME_FIELD: &str = "metadata.name";

/// Taints that a node gets for its condition, which daemons live with: an agent has to be there when a node is in trouble.
const TOLERATED: [(&str, &str); 6] = [
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
];
/// For pods that need no network of the cluster's.
const WITHOUT_NETWORK: (&str, &str) = ("node.kubernetes.io/network-unavailable", "NoSchedule");

/// What a node is to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fit {
    /// It should have the pod.
    pub run: bool,
    /// A pod that is there may stay.
    pub stay: bool,
}

/// A DaemonSet's rules about nodes (upstream `NodeShouldRunDaemonPod`).
#[derive(Debug)]
pub(crate) struct Placement {
    node_name: String,
    nodes: RequiredNodes,
    tolerations: Vec<Toleration>,
}

impl Placement {
    pub(crate) fn of(set: &DaemonSet) -> Self {
        let spec = set.spec.as_ref().and_then(|s| s.template.spec.clone());
        let mut spec = spec.unwrap_or_default();
        add_tolerations(&mut spec);
        Self {
            nodes: RequiredNodes::new(&spec),
            node_name: spec.node_name.unwrap_or_default(),
            tolerations: spec.tolerations.unwrap_or_default(),
        }
    }

    pub(crate) fn fit(&self, node: &Node) -> Fit {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let named = self.node_name.is_empty() || self.node_name == name;
        if !named || !self.nodes.matches(node) {
            return Fit {
                run: false,
                stay: false,
            };
        }
        Fit {
            run: self.tolerates(node, &["NoSchedule", "NoExecute"]),
            stay: self.tolerates(node, &["NoExecute"]),
        }
    }

    fn tolerates(&self, node: &Node, effects: &[&str]) -> bool {
        let taints = node.spec.as_ref().and_then(|s| s.taints.as_deref());
        taints::untolerated(&self.tolerations, taints.unwrap_or_default(), effects).is_none()
    }
}

fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    let nodes = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    nodes
        .required_during_scheduling_ignored_during_execution
        .as_ref()
}

/// Makes a pod's spec tolerate what daemons live with.
pub(crate) fn add_tolerations(spec: &mut PodSpec) {
    let network = spec.host_network.unwrap_or(false);
    let wanted = TOLERATED
        .into_iter()
        .chain(network.then_some(WITHOUT_NETWORK));
    let tolerations = spec.tolerations.get_or_insert_default();
    for (key, effect) in wanted {
        let toleration = Toleration {
            key: Some(key.to_owned()),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            ..Toleration::default()
        };
        let empty = |value: &Option<String>| value.as_deref().unwrap_or_default().is_empty();
        let same = |other: &&mut Toleration| {
            (&other.key, &other.operator, &other.effect)
                == (&toleration.key, &toleration.operator, &toleration.effect)
                && empty(&other.value)
        };
        match tolerations.iter_mut().find(same) {
            // One that ends after some time.
            Some(other) => *other = toleration,
            None => tolerations.push(toleration),
        }
    }
}

/// Makes a pod's spec go to the node and nowhere else. What it required of nodes before holds for this one.
pub(crate) fn pin(spec: &mut PodSpec, node: &str) {
    let term = NodeSelectorTerm {
        match_fields: Some(vec![NodeSelectorRequirement {
            key: NAME_FIELD.to_owned(),
            operator: "In".to_owned(),
            values: Some(vec![node.to_owned()]),
        }]),
        match_expressions: None,
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let nodes = affinity.node_affinity.get_or_insert_default();
    nodes.required_during_scheduling_ignored_during_execution = Some(NodeSelector {
        node_selector_terms: vec![term],
    });
}

/// The node that a pod is on, or that it is pinned to.
pub(crate) fn target(pod: &Pod) -> Option<&str> {
    let bound = pods::node_name(pod);
    if !bound.is_empty() {
        return Some(bound);
    }
    let terms = &required(pod.spec.as_ref()?)?.node_selector_terms;
    let mut fields = terms
        .iter()
        .flat_map(|t| t.match_fields.as_deref().unwrap_or_default());
    let field = fields.find(|field| field.key == NAME_FIELD && field.operator == "In")?;
    match field.values.as_deref() {
        Some([name]) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
