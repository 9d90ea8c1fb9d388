//! NodeResourcesFit: the node has room for the pod's requests; the emptier node is better (LeastAllocated).

use crate::{
    framework::{
        Change, ClusterEvent, CycleState, Filter, MAX_SCORE, Reason, Refusal, Score, ScoreState,
    },
    pod_info::PodInfo,
    resources::{Amount, Resources},
    snapshot::{NodeInfo, allocatable_of},
};

pub struct NodeResourcesFit;

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal> {
        let devices = state.devices.as_deref();
        let by_devices = |name: &str| devices.is_some_and(|devices| devices.stand_for(name));
        check(
            &pod.requests,
            &node.requested,
            &node.allocatable,
            by_devices,
        )
    }

    fn changes(&self) -> &'static [Change] {
        &[
            Change::NodeAdded,
            Change::NodeAllocatable,
            Change::PodRemoved,
        ]
    }

    /// The node must have room now, or have it once pods of a lower priority have gone, and not have had it before. Room that
    /// others hold is none.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let node = event.node;
        let stays = |other: &&PodInfo| other.priority >= pod.priority;
        let mut held = Resources::default();
        let nominated = event.nominated.iter().map(AsRef::as_ref).filter(stays);
        for other in nominated.filter(|other| other.uid != pod.uid) {
            held.add(&other.requests);
        }
        let mut used = held.clone();
        used.add(&node.requested);
        if gains(pod, event, &used, event.freed()) {
            return true;
        }
        let mut others = node.pods.values();
        if !pod.may_preempt() || others.all(|other| other.priority >= pod.priority) {
            return false;
        }
        let mut used = held;
        for other in node.pods.values().map(AsRef::as_ref).filter(stays) {
            used.add(&other.requests);
        }
        gains(pod, event, &used, event.freed().filter(stays))
    }
}

/// Whether the pod fits beside what is used, and did not before the event.
fn gains(
    pod: &PodInfo,
    event: &ClusterEvent<'_>,
    used: &Resources,
    freed: Option<&PodInfo>,
) -> bool {
    let (want, have) = (&pod.requests, &event.node.allocatable);
    let fitted_before = match (freed, event.before) {
        (Some(freed), _) => {
            let mut used = used.clone();
            used.add(&freed.requests);
            fits(want, &used, have)
        }
        (None, Some(before)) => fits(want, used, &allocatable_of(before)),
        // Nothing of this changed, or it is a new node.
        (None, None) => event.change != Change::NodeAdded,
    };
    !fitted_before && fits(want, used, have)
}

/// What the node does not have at all devices may stand for.
fn fits(want: &Resources, used: &Resources, have: &Resources) -> bool {
    check(want, used, have, |_| true).is_ok()
}

/// Refuses with a reason for each resource of which a node has not enough. Other pods are in the way where an empty node
/// would have enough of all of them. Of extended resources that the node does not have some are had `by_devices`.
fn check(
    want: &Resources,
    used: &Resources,
    have: &Resources,
    by_devices: impl Fn(&str) -> bool,
) -> Result<(), Refusal> {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut resolvable = true;
    if used.pods.saturating_add(1) > have.pods {
        reasons.push("Too many pods".into());
    }
    let amounts = [
        (
            "Insufficient cpu",
            want.milli_cpu,
            used.milli_cpu,
            have.milli_cpu,
        ),
        (
            "Insufficient memory",
            want.memory_bytes,
            used.memory_bytes,
            have.memory_bytes,
        ),
        (
            "Insufficient ephemeral-storage",
            want.ephemeral_bytes,
            used.ephemeral_bytes,
            have.ephemeral_bytes,
        ),
    ];
    for (reason, want, used, have) in amounts {
        if want > 0 && want > have.saturating_sub(used) {
            reasons.push(reason.into());
            resolvable &= want <= have;
        }
    }
    for (name, want) in &want.scalars {
        let have = have.scalars.get(name).copied().unwrap_or(0);
        let used = used.scalars.get(name).copied().unwrap_or(0);
        if have == 0 && by_devices(name) {
            continue;
        }
        if *want > 0 && *want > have.saturating_sub(used) {
            reasons.push(format!("Insufficient {name}").into());
            resolvable &= *want <= have;
        }
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Refusal {
            reasons,
            resolvable,
        }),
    }
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let (want, used, have) = (
            &pod.score_requests,
            &node.score_requested,
            &node.allocatable,
        );
        // What a node has not at all does not count.
        let shares = [
            free_share(want.milli_cpu, used.milli_cpu, have.milli_cpu),
            free_share(want.memory_bytes, used.memory_bytes, have.memory_bytes),
        ];
        let shares = shares.into_iter().flatten();
        let (sum, count) = shares.fold((0, 0), |(sum, count): (Amount, Amount), share| {
            (sum.saturating_add(share), count.saturating_add(1))
        });
        // Each is a share of 100.
        let mean = sum.checked_div(count).unwrap_or(0);
        i64::try_from(mean).unwrap_or(0)
    }
}

/// What is left of a resource, of 100; `None` where the node has none of it.
fn free_share(want: Amount, used: Amount, have: Amount) -> Option<Amount> {
    let free = have.saturating_sub(used.saturating_add(want)).max(0);
    free.saturating_mul(Amount::from(MAX_SCORE))
        .checked_div(have)
}
