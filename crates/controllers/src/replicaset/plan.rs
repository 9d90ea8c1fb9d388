//! How many pods a ReplicaSet lacks or has too many, which of them go, and what its status is. Pure functions.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use knarr_meta::labels::Selector;

use crate::{owners, pods};

/// Pods created or deleted in one reconciliation at most (upstream `BurstReplicas`).
pub(crate) const BURST_PODS: usize = 500;
/// A lower cost goes first; the default is 0.
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What to do about the number of pods.
#[derive(Debug)]
pub(crate) enum Op {
    Create { count: usize },
    Delete { pods: Vec<Arc<Pod>> },
}

pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// `active` are the ReplicaSet's pods that count; `related` finds those of all ReplicaSets of its controller (its own too),
/// which tell how crowded nodes are: asked only where pods are to go.
pub(crate) fn plan(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    related: impl FnOnce() -> Vec<Arc<Pod>>,
    now: Timestamp,
) -> Option<Op> {
    let wanted = usize::try_from(replicas(set)).unwrap_or(0);
    match active.len().cmp(&wanted) {
        Ordering::Equal => None,
        Ordering::Less => Some(Op::Create {
            count: wanted.saturating_sub(active.len()).min(BURST_PODS),
        }),
        Ordering::Greater => {
            let count = active.len().saturating_sub(wanted).min(BURST_PODS);
            let mut pods = active.to_vec();
            rank(&mut pods, &related(), now);
            pods.truncate(count);
            Some(Op::Delete { pods })
        }
    }
}

/// Sorts by what is missed least (upstream `ActivePodsWithRanks`): without node before with; pending, unknown, running; not
/// ready before ready; lower deletion cost; more siblings on the node; ready for a shorter time; more restarts; younger. Times
/// are compared by powers of two, so that of pods of about one age chance decides (by uid).
///
/// Upstream goes by uid as soon as two ready times are near each other; that is no total order, this is.
pub(crate) fn rank(pods: &mut [Arc<Pod>], related: &[Arc<Pod>], now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pods::is_active(pod)) {
        let count = on_node.entry(pods::node_name(pod)).or_default();
        *count = count.saturating_add(1);
    }
    pods.sort_by_cached_key(|pod| {
        let created = pod.metadata.creation_timestamp.as_ref().map(|t| t.0);
        (
            !pods::node_name(pod).is_empty(),
            phase_order(pod),
            pods::is_ready(pod),
            deletion_cost(pod),
            Reverse(on_node.get(pods::node_name(pod)).copied().unwrap_or(0)),
            pods::ready_since(pod).map(|since| magnitude(since, now)),
            Reverse(restarts(pod)),
            created.map(|since| magnitude(since, now)),
            pod.metadata.uid.clone(),
        )
    });
}

/// The age's power of two, in nanoseconds; -1 for none.
fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = u128::try_from(since.duration_until(now).as_nanos()).unwrap_or(0);
    age.checked_ilog2().map_or(-1, i64::from)
}

fn phase_order(pod: &Pod) -> u8 {
    match pods::phase(pod) {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

fn deletion_cost(pod: &Pod) -> i32 {
    let annotation = pod
        .metadata
        .annotations
        .as_ref()
        .and_then(|a| a.get(DELETION_COST));
    annotation.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|s| s.container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .map(|s| s.restart_count)
        .max()
        .unwrap_or(0)
}

/// How many of the ReplicaSet's own pods are on their way out.
pub(crate) fn terminating(set: &ObjectMeta, selector: &Selector, pods: &[Arc<Pod>]) -> i32 {
    let is_own = |pod: &Pod| {
        let owner = owners::controller_of(&pod.metadata);
        owner.is_some_and(|owner| Some(&owner.uid) == set.uid.as_ref())
            && selector.matches_option(pod.metadata.labels.as_ref())
    };
    let leaving = |pod: &Pod| {
        pod.metadata.deletion_timestamp.is_some()
            && !matches!(pods::phase(pod), "Succeeded" | "Failed")
    };
    let count = pods
        .iter()
        .filter(|pod| leaving(pod) && is_own(pod))
        .count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The status that follows from the active pods, and from how many are on their way out. `failure` is why the last creations or
/// deletions failed.
pub(crate) fn status(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    terminating: i32,
    failure: Option<&str>,
    now: Timestamp,
) -> ReplicaSetStatus {
    let spec = set.spec.clone().unwrap_or_default();
    let template_labels = spec
        .template
        .and_then(|t| t.metadata)
        .and_then(|m| m.labels)
        .unwrap_or_default();
    let template = Selector::from_set(template_labels);
    let min_ready = spec.min_ready_seconds.unwrap_or(0);
    let count = |matches: &dyn Fn(&Pod) -> bool| {
        let count = active.iter().filter(|pod| matches(pod)).count();
        i32::try_from(count).ok().filter(|n| *n != 0)
    };
    let mut status = set.status.clone().unwrap_or_default();
    status.replicas = count(&|_| true).unwrap_or(0);
    status.fully_labeled_replicas =
        count(&|pod| template.matches_option(pod.metadata.labels.as_ref()));
    status.ready_replicas = count(&pods::is_ready);
    status.available_replicas =
        count(&|pod| pods::available_at(pod, min_ready).is_some_and(|at| at <= now));
    status.terminating_replicas = Some(terminating);
    status.observed_generation = set.metadata.generation;
    let failing = status
        .conditions
        .iter()
        .flatten()
        .any(|c| c.type_ == REPLICA_FAILURE);
    match failure {
        Some(message) if !failing => {
            let reason = if active.len() < usize::try_from(replicas(set)).unwrap_or(0) {
                "FailedCreate"
            } else {
                "FailedDelete"
            };
            status
                .conditions
                .get_or_insert_default()
                .push(ReplicaSetCondition {
                    type_: REPLICA_FAILURE.to_owned(),
                    status: "True".to_owned(),
                    reason: Some(reason.to_owned()),
                    message: Some(message.to_owned()),
                    last_transition_time: Some(Time(now)),
                });
        }
        None if failing => {
            let mut conditions = status.conditions.take().unwrap_or_default();
            conditions.retain(|c| c.type_ != REPLICA_FAILURE);
            status.conditions = Some(conditions).filter(|c| !c.is_empty());
        }
        _ => {}
    }
    status
}

/// How long until the next ready pod has been ready for `minReadySeconds`.
pub(crate) fn next_available(
    set: &ReplicaSet,
    active: &[Arc<Pod>],
    now: Timestamp,
) -> Option<Duration> {
    let min_ready = set
        .spec
        .as_ref()
        .and_then(|s| s.min_ready_seconds)
        .unwrap_or(0);
    pods::next_available(active.iter().map(|pod| &**pod), min_ready, now)
}

#[cfg(test)]
mod tests;
