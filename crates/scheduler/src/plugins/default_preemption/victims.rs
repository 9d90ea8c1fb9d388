//! Who has to go from one node.

use std::{cmp::Reverse, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use knarr_meta::labels::Selector;

use super::Trial;
use crate::{
    framework::{CycleState, Plugins, Reason},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// The pods that have to go from a node.
pub struct Victims {
    /// The most important one first. Never empty.
    pub pods: Vec<Arc<PodInfo>>,
    /// How many of them a disruption budget protects.
    pub violations: usize,
}

/// The more important a pod, the less it sorts: by priority, then by how long it has been running (upstream
/// `MoreImportantVictim`).
fn importance(pod: &PodInfo, now: Timestamp) -> (Reverse<i32>, Timestamp, &str) {
    (
        Reverse(pod.priority),
        pod.started().unwrap_or(now),
        &pod.uid,
    )
}

/// The pods of lower priority whose end lets the pod fit on the node. First all of them go, then as many as possible come
/// back: those that budgets protect before others, important ones before others (upstream `SelectVictimsOnNode`).
///
/// # Errors
/// Why none of it helps.
pub fn select(
    plugins: &Plugins,
    cluster: &Snapshot,
    pod: &PodInfo,
    node: &NodeInfo,
    state: &CycleState,
    budgets: &[Arc<PodDisruptionBudget>],
) -> Result<Victims, Vec<Reason>> {
    let lower = |other: &&Arc<PodInfo>| other.priority < pod.priority;
    let mut lower: Vec<_> = node.pods.values().filter(lower).cloned().collect();
    if lower.is_empty() {
        return Err(vec!["No preemption victims found for incoming pod".into()]);
    }
    let mut trial = Trial {
        plugins,
        cluster,
        pod,
        node: node.clone(),
        state: state.clone(),
    };
    for other in &lower {
        trial.remove(other);
    }
    trial.fits()?;
    let now = knarr_meta::clock::now();
    lower.sort_by(|a, b| importance(a, now).cmp(&importance(b, now)));
    let (protected, others) = by_protection(lower, budgets);
    let mut pods = Vec::new();
    let mut stays = |other: &Arc<PodInfo>| {
        trial.add(other);
        let fits = trial.fits().is_ok();
        if !fits {
            trial.remove(other);
            pods.push(other.clone());
        }
        fits
    };
    let violations = protected.iter().filter(|other| !stays(other)).count();
    for other in &others {
        stays(other);
    }
    if pods.is_empty() {
        let name = node.name();
        let why = format!("expected at least one victim pod on node \"{name}\"");
        return Err(vec![why.into()]);
    }
    pods.sort_by(|a, b| importance(a, now).cmp(&importance(b, now)));
    Ok(Victims { pods, violations })
}

/// A budget as it is used up while pods are looked at.
struct Budget<'a> {
    namespace: &'a str,
    selector: Selector,
    allowed: i32,
    budget: &'a PodDisruptionBudget,
}

/// Those whose end a disruption budget does not allow, and the others (upstream `FilterVictimsWithPDBViolation`).
fn by_protection(
    pods: Vec<Arc<PodInfo>>,
    budgets: &[Arc<PodDisruptionBudget>],
) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let read = |budget: &'_ Arc<PodDisruptionBudget>| {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        // One that cannot be read, or is empty, protects nothing.
        let selector = Selector::from_optional(selector).ok()?;
        (!selector.is_empty()).then_some(selector)
    };
    let mut budgets: Vec<Budget<'_>> = budgets
        .iter()
        .filter_map(|budget| {
            let status = budget.status.as_ref();
            Some(Budget {
                namespace: budget.metadata.namespace.as_deref().unwrap_or_default(),
                selector: read(budget)?,
                allowed: status.map_or(0, |status| status.disruptions_allowed),
                budget,
            })
        })
        .collect();
    pods.into_iter()
        .partition(|pod| budgets.iter_mut().any(|budget| budget.forbids(pod)))
}

impl Budget<'_> {
    /// Whether the pod's end exceeds it; it counts otherwise.
    fn forbids(&mut self, pod: &PodInfo) -> bool {
        let labelled = !pod.labels.is_empty();
        let selects = self.namespace == pod.namespace
            && self.selector.matches_with(|key| pod.labels.get(key));
        if !labelled || !selects {
            return false;
        }
        // The API server has counted it already.
        let status = self.budget.status.as_ref();
        let disrupted = status.and_then(|status| status.disrupted_pods.as_ref());
        if disrupted.is_some_and(|pods| pods.contains_key(&pod.name)) {
            return false;
        }
        self.allowed = self.allowed.saturating_sub(1);
        self.allowed < 0
    }
}
