//! A DaemonSet and what there is of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};

use super::placement::{Fit, Placement, target};
use crate::pods;
use crate::revisions::HASH_LABEL;

/// Counts templates; on DaemonSets that are older than revisions it is what tells pods' templates.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// The same on pods.
pub(crate) const TEMPLATE_GENERATION_LABEL: &str = "pod-template-generation";

/// A DaemonSet and what there is of it.
pub(crate) struct Observed<'a> {
    pub set: &'a DaemonSet,
    /// Of the revision that the template is.
    pub hash: &'a str,
    /// All nodes.
    pub nodes: BTreeMap<String, Fit>,
    /// Its pods by the node they are on or will be; the one that counts first.
    pub pods: BTreeMap<String, Vec<Arc<Pod>>>,
    pub now: Timestamp,
}

impl<'a> Observed<'a> {
    pub(crate) fn new(
        set: &'a DaemonSet,
        hash: &'a str,
        nodes: &[Arc<Node>],
        pods: &[Arc<Pod>],
        now: Timestamp,
    ) -> Self {
        let placement = Placement::of(set);
        let fit = |node: &Arc<Node>| {
            let name = node.metadata.name.clone().unwrap_or_default();
            (name, placement.fit(node))
        };
        Self {
            set,
            hash,
            nodes: nodes.iter().map(fit).collect(),
            pods: by_node(pods),
            now,
        }
    }
}

/// Sorts pods by node. Those that have ended and are being deleted leave their node free already.
fn by_node(pods: &[Arc<Pod>]) -> BTreeMap<String, Vec<Arc<Pod>>> {
    let mut by_node: BTreeMap<String, Vec<Arc<Pod>>> = BTreeMap::new();
    for pod in pods {
        if pods::is_terminal(pod) && pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        if let Some(node) = target(pod) {
            by_node
                .entry(node.to_owned())
                .or_default()
                .push(pod.clone());
        }
    }
    for pods in by_node.values_mut() {
        pods.sort_by_key(|pod| {
            let created = pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
            (
                pods::node_name(pod).is_empty(),
                created,
                pod.metadata.name.clone(),
            )
        });
    }
    by_node
}

impl Observed<'_> {
    pub(crate) fn is_available(&self, pod: &Pod) -> bool {
        let available = pods::available_at(pod, min_ready_seconds(self.set));
        available.is_some_and(|at| at <= self.now)
    }

    /// Whether the pod is of the set's template.
    pub(crate) fn is_updated(&self, pod: &Pod) -> bool {
        let hash = label(pod, HASH_LABEL).filter(|hash| !hash.is_empty());
        let generation = template_generation(self.set).map(|number| number.to_string());
        hash == Some(self.hash)
            || generation.is_some_and(|g| label(pod, TEMPLATE_GENERATION_LABEL) == Some(&g))
    }

    /// Nodes that should have a pod.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = &str> {
        let wanted = self.nodes.iter().filter(|(_, fit)| fit.run);
        wanted.map(|(node, _)| node.as_str())
    }

    /// The status that follows. `decided`: what the spec asks for was looked at, not only counted.
    pub(crate) fn status(&self, decided: bool) -> DaemonSetStatus {
        let mut status = self.set.status.clone().unwrap_or_default();
        let [mut desired, mut current, mut misscheduled, mut ready] = [0; 4];
        let [mut updated, mut available] = [0; 2];
        for (name, fit) in &self.nodes {
            let pod = self.pods.get(name).and_then(|pods| pods.first());
            match (fit.run, pod) {
                (false, pod) => misscheduled += i32::from(pod.is_some()),
                (true, None) => desired += 1,
                (true, Some(pod)) => {
                    desired += 1;
                    current += 1;
                    ready += i32::from(pods::is_ready(pod));
                    available += i32::from(self.is_available(pod));
                    updated += i32::from(self.is_updated(pod));
                }
            }
        }
        let some = |count: i32| Some(count).filter(|count| *count != 0);
        status.desired_number_scheduled = desired;
        status.current_number_scheduled = current;
        status.number_misscheduled = misscheduled;
        status.number_ready = ready;
        status.updated_number_scheduled = some(updated);
        status.number_available = some(available);
        status.number_unavailable = some(desired - available);
        if decided {
            status.observed_generation = self.set.metadata.generation;
        }
        status
    }
}

pub(crate) fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.labels.as_ref()?.get(key).map(String::as_str)
}

/// The number of the set's template, where it has one.
pub(crate) fn template_generation(set: &DaemonSet) -> Option<i64> {
    let annotations = set.metadata.annotations.as_ref()?;
    annotations.get(TEMPLATE_GENERATION)?.parse().ok()
}

pub(crate) fn min_ready_seconds(set: &DaemonSet) -> i32 {
    let spec = set.spec.as_ref();
    spec.and_then(|s| s.min_ready_seconds).unwrap_or(0)
}
