//! Which nodes lack a DaemonSet's pod, which pods go, and what its status is. Pure functions.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;

use super::observed::{Observed, label};
use super::placement::Fit;
use super::rolling::Rolling;
use crate::pods;
use crate::revisions::HASH_LABEL;

/// Pods created, and pods deleted, in one reconciliation at most (upstream `BurstReplicas`).
pub(crate) const BURST_PODS: usize = 250;

/// A pod that has ended and goes, so that another one can come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    pub node: String,
    /// `namespace/name`.
    pub pod: String,
    pub failed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Names of nodes.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    pub ended: Vec<Ended>,
    /// When a failed pod has stayed for long enough.
    pub again_after: Option<Duration>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        self.create.is_empty() && self.delete.is_empty()
    }
}

/// What is to be done. `waiting` tells for how long a failed pod on a node has to stay still.
pub(crate) fn plan(observed: &Observed<'_>, waiting: impl Fn(&str) -> Option<Duration>) -> Plan {
    let mut plan = Plan::default();
    let rolling = Rolling::of(observed);
    let surges = rolling.as_ref().is_some_and(Rolling::surges);
    for (node, fit) in &observed.nodes {
        if observed.pods.contains_key(node) {
            on_node(observed, (node, *fit), surges, &waiting, &mut plan);
        } else if fit.run {
            plan.create.push(node.clone());
        }
    }
    plan.delete.extend(stranded(observed));
    // A template is rolled out where every node has what it should have.
    if plan.is_empty()
        && let Some(rolling) = rolling
    {
        (plan.create, plan.delete) = rolling.plan(observed);
    }
    plan.create.truncate(BURST_PODS);
    plan.delete.truncate(BURST_PODS);
    plan
}

fn on_node(
    observed: &Observed<'_>,
    (name, fit): (&str, Fit),
    surges: bool,
    waiting: &impl Fn(&str) -> Option<Duration>,
    plan: &mut Plan,
) {
    let pods = observed.pods.get(name);
    let there = pods
        .into_iter()
        .flatten()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    if !fit.stay {
        plan.delete.extend(there.cloned());
        return;
    }
    let mut running = Vec::new();
    for pod in there {
        let failed = match pods::phase(pod) {
            "Failed" => true,
            "Succeeded" => false,
            _ => {
                running.push(pod.clone());
                continue;
            }
        };
        if let Some(left) = waiting(name).filter(|_| failed) {
            let sooner = plan.again_after.map_or(left, |other| other.min(left));
            plan.again_after = Some(sooner);
            continue;
        }
        plan.ended.push(Ended {
            node: name.to_owned(),
            pod: qualified_name(pod),
            failed,
        });
        plan.delete.push(pod.clone());
    }
    if !surges {
        plan.delete.extend(running.into_iter().skip(1));
    } else if running.is_empty() && fit.run {
        plan.create.push(name.to_owned());
    } else {
        plan.delete.extend(too_many(observed, &running));
    }
}

fn qualified_name(pod: &Pod) -> String {
    let part = |text: &Option<String>| text.clone().unwrap_or_default();
    let (namespace, name) = (part(&pod.metadata.namespace), part(&pod.metadata.name));
    format!("{namespace}/{name}")
}

/// Where pods may surge, a node has one of the new template and one of an old one at most, and the old one goes when it is of
/// no use any more or the new one can take over.
fn too_many(observed: &Observed<'_>, running: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
    let (new, old): (Vec<_>, Vec<_>) = running
        .iter()
        .cloned()
        .partition(|pod| label(pod, HASH_LABEL) == Some(observed.hash));
    let replaced = match (new.first(), old.first()) {
        (Some(new), Some(old)) if !pods::is_ready(old) || observed.is_available(new) => {
            Some(old.clone())
        }
        _ => None,
    };
    let surplus = new.into_iter().skip(1).chain(old.into_iter().skip(1));
    surplus.chain(replaced).collect()
}

/// Pods for nodes that are gone, which were never bound: nothing else would delete them.
fn stranded(observed: &Observed<'_>) -> Vec<Arc<Pod>> {
    let exists = |node: &str| observed.nodes.contains_key(node);
    let stranded = observed.pods.iter().filter(|(node, _)| !exists(node));
    stranded
        .flat_map(|(_, pods)| pods)
        .filter(|pod| pods::node_name(pod).is_empty())
        .cloned()
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
