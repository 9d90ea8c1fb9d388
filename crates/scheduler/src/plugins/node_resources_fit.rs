//! NodeResourcesFit: the node has room for the pod's requests; the emptier node is better (LeastAllocated).

use crate::{
    framework::{Change, ClusterEvent, Filter, MAX_SCORE, Score},
    pod_info::PodInfo,
    resources::{Amount, Resources},
    snapshot::{NodeInfo, allocatable_of},
};

pub struct NodeResourcesFit;

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>) {
        missing(&pod.requests, &node.requested, &node.allocatable, reasons);
    }

    fn changes(&self) -> &'static [Change] {
        &[
            Change::NodeAdded,
            Change::NodeAllocatable,
            Change::PodRemoved,
        ]
    }

    /// The node must have room now, and not have had it before.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let (want, node) = (&pod.requests, event.node);
        let (used, have) = (&node.requested, &node.allocatable);
        let fitted_before = match (event.freed, event.before) {
            (Some(freed), _) => {
                let mut used = used.clone();
                used.add(&freed.requests);
                fits(want, &used, have)
            }
            (None, Some(before)) => fits(want, used, &allocatable_of(before)),
            (None, None) => false,
        };
        !fitted_before && fits(want, used, have)
    }
}

fn fits(want: &Resources, used: &Resources, have: &Resources) -> bool {
    let mut reasons = Vec::new();
    missing(want, used, have, &mut reasons);
    reasons.is_empty()
}

/// Adds a reason for each resource of which a node has not enough.
fn missing(want: &Resources, used: &Resources, have: &Resources, reasons: &mut Vec<String>) {
    if used.pods.saturating_add(1) > have.pods {
        reasons.push("Too many pods".to_owned());
    }
    let amounts = [
        ("cpu", want.milli_cpu, used.milli_cpu, have.milli_cpu),
        (
            "memory",
            want.memory_bytes,
            used.memory_bytes,
            have.memory_bytes,
        ),
        (
            "ephemeral-storage",
            want.ephemeral_bytes,
            used.ephemeral_bytes,
            have.ephemeral_bytes,
        ),
    ];
    for (name, want, used, have) in amounts {
        if want > 0 && want > have.saturating_sub(used) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
    for (name, want) in &want.scalars {
        let have = have.scalars.get(name).copied().unwrap_or(0);
        let used = used.scalars.get(name).copied().unwrap_or(0);
        if *want > 0 && *want > have.saturating_sub(used) {
            reasons.push(format!("Insufficient {name}"));
        }
    }
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let (want, used, have) = (
            &pod.score_requests,
            &node.score_requested,
            &node.allocatable,
        );
        let free_share = |want: Amount, used: Amount, have: Amount| {
            let after = used.saturating_add(want);
            if have <= 0 || after > have {
                0
            } else {
                let free = have.saturating_sub(after);
                let share = free.saturating_mul(Amount::from(MAX_SCORE));
                share.checked_div(have).unwrap_or(0)
            }
        };
        let cpu = free_share(want.milli_cpu, used.milli_cpu, have.milli_cpu);
        let memory = free_share(want.memory_bytes, used.memory_bytes, have.memory_bytes);
        // Both are shares of 100.
        i64::try_from(cpu.saturating_add(memory) / 2).unwrap_or(0)
    }
}
