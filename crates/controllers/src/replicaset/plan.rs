//! How many pods a ReplicaSet lacks or has too many, which of them go, and what its status is. Pure functions.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::cmp::{Ordering, Reverse};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use knarr_meta::labels::Selector;

use crate::pods::{self, View};

/// Pods created or deleted in one reconciliation at most (upstream `BurstReplicas`).
pub(crate) const BURST_PODS: usize = 500;
const REPLICA_FAILURE: &str = "ReplicaFailure";

/// What to do about the number of pods.
#[derive(Debug)]
pub(crate) enum Op<P> {
    Create { count: usize },
    Delete { pods: Vec<Arc<P>> },
}

pub(crate) fn replicas(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1)
}

/// `active` are the ReplicaSet's pods that count; `related` finds those of all ReplicaSets of its controller (its own too),
/// which tell how crowded nodes are: asked only where pods are to go.
pub(crate) fn plan<P: View>(
    set: &ReplicaSet,
    active: &[Arc<P>],
    related: impl FnOnce() -> Vec<Arc<P>>,
    now: Timestamp,
) -> Option<Op<P>> {
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
pub(crate) fn rank<P: View>(pods: &mut [Arc<P>], related: &[Arc<P>], now: Timestamp) {
    let mut on_node: HashMap<&str, usize> = HashMap::new();
    for pod in related.iter().filter(|pod| pod.is_active()) {
        let count = on_node.entry(pod.node_name()).or_default();
        *count = count.saturating_add(1);
    }
    pods.sort_by_cached_key(|pod| {
        (
            !pod.node_name().is_empty(),
            phase_order(&**pod),
            pod.is_ready(),
            pod.deletion_cost(),
            Reverse(on_node.get(pod.node_name()).copied().unwrap_or(0)),
            pod.ready_since().map(|since| magnitude(since, now)),
            Reverse(pod.restarts()),
            pod.created().map(|since| magnitude(since, now)),
            pod.uid().to_owned(),
        )
    });
}

/// The age's power of two, in nanoseconds; -1 for none.
fn magnitude(since: Timestamp, now: Timestamp) -> i64 {
    let age = u128::try_from(since.duration_until(now).as_nanos()).unwrap_or(0);
    age.checked_ilog2().map_or(-1, i64::from)
}

fn phase_order(pod: &impl View) -> u8 {
    match pod.phase() {
        "Unknown" => 1,
        "Running" => 2,
        _ => 0,
    }
}

/// How many of the ReplicaSet's own pods are on their way out.
pub(crate) fn terminating<P: View>(set: &ObjectMeta, selector: &Selector, pods: &[Arc<P>]) -> i32 {
    let is_own = |pod: &P| {
        let owner = pod.controller();
        owner.is_some_and(|owner| Some(owner.uid) == set.uid.as_deref())
            && selector.matches_with(|key| pod.label(key))
    };
    let leaving = |pod: &P| pod.is_going() && !pod.is_terminal();
    let count = pods
        .iter()
        .filter(|pod| leaving(pod) && is_own(pod))
        .count();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The status that follows from the active pods, and from how many are on their way out. `failure` is why the last creations or
/// deletions failed.
pub(crate) fn status<P: View>(
    set: &ReplicaSet,
    active: &[Arc<P>],
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
    let count = |matches: &dyn Fn(&P) -> bool| {
        let count = active.iter().filter(|pod| matches(pod)).count();
        i32::try_from(count).ok().filter(|n| *n != 0)
    };
    let mut status = set.status.clone().unwrap_or_default();
    status.replicas = count(&|_| true).unwrap_or(0);
    status.fully_labeled_replicas = count(&|pod| template.matches_with(|key| pod.label(key)));
    status.ready_replicas = count(&|pod| pod.is_ready());
    status.available_replicas =
        count(&|pod| pod.available_at(min_ready).is_some_and(|at| at <= now));
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
pub(crate) fn next_available<P: View>(
    set: &ReplicaSet,
    active: &[Arc<P>],
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
