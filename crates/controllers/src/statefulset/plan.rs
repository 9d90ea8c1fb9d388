//! Which of a StatefulSet's pods are made, put right or deleted next, and what its status is. Pure functions.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::{Pod, PodTemplateSpec};

use super::identity;
use crate::deployment::rollout::scaled;
use crate::pods;
use crate::revisions::HASH_LABEL;

/// Pods made in one reconciliation at most, as other workloads do; the pods' events bring the next.
const BURST_PODS: usize = 500;

/// A template and the name of its revision.
#[derive(Debug)]
pub(crate) struct Version {
    pub name: String,
    pub template: PodTemplateSpec,
}

/// A StatefulSet and what there is of it.
pub(crate) struct Observed<'a> {
    pub set: &'a StatefulSet,
    /// What pods are rolled from, and to; the same one where nothing is rolled out.
    pub current: &'a Version,
    pub update: &'a Version,
    pub pods: &'a [Arc<Pod>],
    pub now: Timestamp,
}

#[derive(Debug)]
pub(crate) enum Op {
    /// Its claims first.
    Create(Box<Pod>),
    /// Claims of a pod that waits for them.
    Claims(Arc<Pod>),
    /// The pod has lost what makes it this one.
    Repair(Box<Pod>),
    Delete(Arc<Pod>),
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub ops: Vec<Op>,
    pub status: StatefulSetStatus,
}

/// One of the set's numbers.
enum Replica {
    There(Arc<Pod>),
    Missing(i32),
}

pub(crate) fn plan(observed: &Observed<'_>) -> Plan {
    let (replicas, condemned) = observed.sort();
    let mut status = observed.status(&replicas, &condemned);
    let mut ops = Vec::new();
    if observed.set.metadata.deletion_timestamp.is_none() {
        let scaled = observed.scale(&replicas, &condemned, &mut ops);
        if scaled {
            let rolled = observed.roll(&replicas);
            let count = i32::try_from(rolled.len()).unwrap_or(0);
            let current = status.current_replicas.unwrap_or(0) - count;
            status.current_replicas = Some(current).filter(|n| *n != 0);
            ops.extend(rolled.into_iter().map(Op::Delete));
        }
    }
    observed.complete(&mut status);
    Plan { ops, status }
}

fn revision(pod: &Pod) -> &str {
    let labels = pod.metadata.labels.as_ref();
    let hash = labels.and_then(|labels| labels.get(HASH_LABEL));
    hash.map_or("", String::as_str)
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

pub(crate) fn min_ready_seconds(set: &StatefulSet) -> i32 {
    let spec = set.spec.as_ref();
    spec.and_then(|s| s.min_ready_seconds).unwrap_or(0)
}

/// The set's numbers: the first, and how many.
pub(crate) fn range(set: &StatefulSet) -> (i32, i32) {
    let spec = set.spec.as_ref();
    let start = spec.and_then(|s| s.ordinals.as_ref()).and_then(|o| o.start);
    let count = spec.and_then(|s| s.replicas).unwrap_or(1);
    (start.unwrap_or(0), count.max(0))
}

pub(crate) fn in_range(set: &StatefulSet, ordinal: i32) -> bool {
    let (start, count) = range(set);
    ordinal >= start && i64::from(ordinal) < i64::from(start) + i64::from(count)
}

impl Observed<'_> {
    fn spec(&self) -> Option<&StatefulSetSpec> {
        self.set.spec.as_ref()
    }

    /// One pod after the other; otherwise all at once.
    fn ordered(&self) -> bool {
        let policy = self.spec().and_then(|s| s.pod_management_policy.as_deref());
        policy != Some("Parallel")
    }

    fn strategy(&self) -> Option<&str> {
        self.spec()?.update_strategy.as_ref()?.type_.as_deref()
    }

    /// Numbers from the first on that keep the current template; `None` where the strategy has no parameters.
    fn partition(&self) -> Option<i32> {
        let rolling = self
            .spec()?
            .update_strategy
            .as_ref()?
            .rolling_update
            .as_ref()?;
        Some(rolling.partition.unwrap_or(0))
    }

    fn max_unavailable(&self) -> usize {
        let strategy = self.spec().and_then(|s| s.update_strategy.as_ref());
        let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
        let share = rolling.and_then(|r| r.max_unavailable.as_ref());
        let number = scaled(share, range(self.set).1, false);
        usize::try_from(number).unwrap_or(0).max(1)
    }

    fn is_available(&self, pod: &Pod) -> bool {
        let available = pods::available_at(pod, min_ready_seconds(self.set));
        !is_going(pod) && available.is_some_and(|at| at <= self.now)
    }

    /// The set's pods in the order of their numbers, with as many of those that are missing as one look makes; and pods beyond the
    /// set's numbers, highest first.
    fn sort(&self) -> (Vec<Replica>, Vec<Arc<Pod>>) {
        let (start, count) = range(self.set);
        let mut by_ordinal: BTreeMap<i32, Arc<Pod>> = BTreeMap::new();
        for pod in self.pods {
            if let Some(ordinal) = identity::ordinal(pod) {
                by_ordinal.insert(ordinal, pod.clone());
            }
        }
        let end = start.saturating_add(count);
        let mut beyond = by_ordinal.split_off(&end);
        let mut replicas = Vec::new();
        let mut next = start;
        // A set may ask for billions: what is made in one look is bounded, and what it costs with it.
        let mut left = BURST_PODS;
        let mut fill = |replicas: &mut Vec<Replica>, numbers: Range<i32>| {
            let before = replicas.len();
            replicas.extend(numbers.take(left).map(Replica::Missing));
            left -= replicas.len() - before;
        };
        for (ordinal, pod) in by_ordinal.split_off(&start) {
            fill(&mut replicas, next..ordinal);
            replicas.push(Replica::There(pod));
            next = ordinal.saturating_add(1);
        }
        fill(&mut replicas, next..end);
        beyond.append(&mut by_ordinal);
        let condemned = beyond.into_values().rev().collect();
        (replicas, condemned)
    }

    fn new_pod(&self, ordinal: i32) -> Pod {
        let (start, _) = range(self.set);
        let kept = match (self.strategy(), self.partition()) {
            (_, Some(partition)) => partition,
            (Some("RollingUpdate"), None) => {
                let status = self.set.status.as_ref();
                status.and_then(|s| s.current_replicas).unwrap_or(0)
            }
            _ => 0,
        };
        let version = if ordinal < start.saturating_add(kept) {
            self.current
        } else {
            self.update
        };
        identity::new_pod(self.set, &version.template, &version.name, ordinal)
    }

    /// Makes what is missing and deletes what is too much. Whether all of that is done, so that a template can be rolled out.
    fn scale(&self, replicas: &[Replica], condemned: &[Arc<Pod>], ops: &mut Vec<Op>) -> bool {
        let ordered = self.ordered();
        for replica in replicas {
            if self.replica(replica, ops) && ordered {
                return false;
            }
        }
        // The unhealthy pod of the lowest number may go though it is not ready: it would be waited for for ever.
        let missing = replicas.iter().any(|r| matches!(r, Replica::Missing(_)));
        let unhealthy = |pod: &&Arc<Pod>| !self.is_available(pod);
        let there = replicas.iter().filter_map(|replica| match replica {
            Replica::There(pod) => Some(pod),
            Replica::Missing(_) => None,
        });
        let first = there.chain(condemned.iter().rev()).find(unhealthy);
        for pod in condemned {
            let is_first = !missing && first.is_some_and(|first| Arc::ptr_eq(first, pod));
            if is_going(pod) {
                if ordered {
                    return false;
                }
                continue;
            }
            if ordered && !self.is_available(pod) && !is_first {
                return false;
            }
            ops.push(Op::Delete(pod.clone()));
            if ordered {
                return false;
            }
        }
        true
    }

    /// What one number needs. Whether the next ones have to wait for it.
    fn replica(&self, replica: &Replica, ops: &mut Vec<Op>) -> bool {
        let pod = match replica {
            Replica::Missing(ordinal) => {
                ops.push(Op::Create(Box::new(self.new_pod(*ordinal))));
                return true;
            }
            Replica::There(pod) => pod,
        };
        if pods::is_terminal(pod) {
            if !is_going(pod) {
                ops.push(Op::Delete(pod.clone()));
            }
            return true;
        }
        let has_claims = self
            .spec()
            .is_some_and(|s| s.volume_claim_templates.is_some());
        if pods::phase(pod) == "Pending" && has_claims {
            ops.push(Op::Claims(pod.clone()));
        }
        if self.ordered() && !self.is_available(pod) {
            return true;
        }
        if !identity::is_right(self.set, pod) {
            ops.push(Op::Repair(Box::new(identity::repaired(self.set, pod))));
        }
        false
    }

    /// Pods of other templates that go now, highest number first.
    fn roll(&self, replicas: &[Replica]) -> Vec<Arc<Pod>> {
        if self.strategy() != Some("RollingUpdate") {
            return Vec::new();
        }
        let is_old = |pod: &Pod| revision(pod) != self.update.name && !is_going(pod);
        let (start, count) = range(self.set);
        let there = || {
            replicas.iter().filter_map(|replica| match replica {
                Replica::There(pod) => Some(pod),
                Replica::Missing(_) => None,
            })
        };
        let wanted = usize::try_from(count).unwrap_or(0);
        let available = there().filter(|pod| self.is_available(pod)).count();
        let budget = self
            .max_unavailable()
            .saturating_sub(wanted.saturating_sub(available));
        let first = start.saturating_add(self.partition().unwrap_or(0));
        let is_rolled = |pod: &Pod| identity::ordinal(pod).is_some_and(|n| n >= first);
        let all: Vec<_> = there().collect();
        let rolled = all.into_iter().rev().filter(|pod| is_rolled(pod));
        let old = rolled.filter(|pod| is_old(pod)).cloned();
        if self.ordered() {
            return old.take(budget).collect();
        }
        // Old pods that are not available go whatever the limit: that makes nothing worse.
        let (available, mut going): (Vec<_>, Vec<_>) = old.partition(|pod| self.is_available(pod));
        going.extend(available.into_iter().take(budget));
        going
    }

    fn status(&self, replicas: &[Replica], condemned: &[Arc<Pod>]) -> StatefulSetStatus {
        let there = replicas.iter().filter_map(|replica| match replica {
            Replica::There(pod) => Some(pod),
            Replica::Missing(_) => None,
        });
        let all: Vec<&Arc<Pod>> = there.chain(condemned).collect();
        let count = |matches: &dyn Fn(&Pod) -> bool| {
            let count = all.iter().filter(|pod| matches(pod)).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        let some = |count: i32| Some(count).filter(|count| *count != 0);
        let ready = |pod: &Pod| pods::phase(pod) == "Running" && pods::is_ready(pod);
        let min_ready = min_ready_seconds(self.set);
        let available = |pod: &Pod| {
            ready(pod) && pods::available_at(pod, min_ready).is_some_and(|at| at <= self.now)
        };
        let of = |name: &str| count(&|pod| !is_going(pod) && revision(pod) == name);
        let mut status = self.set.status.clone().unwrap_or_default();
        status.observed_generation = self.set.metadata.generation;
        status.collision_count.get_or_insert_default();
        status.current_revision = Some(self.current.name.clone());
        status.update_revision = Some(self.update.name.clone());
        status.replicas = count(&|_| true);
        status.ready_replicas = some(count(&ready));
        status.available_replicas = Some(count(&available));
        status.current_replicas = some(of(&self.current.name));
        status.updated_replicas = some(of(&self.update.name));
        status
    }

    /// Where every pod is of the new template and ready, that one is the current one.
    fn complete(&self, status: &mut StatefulSetStatus) {
        let wanted = range(self.set).1;
        let counts = [
            status.updated_replicas.unwrap_or(0),
            status.ready_replicas.unwrap_or(0),
            status.replicas,
        ];
        if counts == [wanted; 3] {
            status.current_replicas = status.updated_replicas;
            status.current_revision = status.update_revision.clone();
        }
    }
}

#[cfg(test)]
mod tests;
