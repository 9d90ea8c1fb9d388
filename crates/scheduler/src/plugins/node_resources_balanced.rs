//! NodeResourcesBalancedAllocation: cpu and memory should fill up together.

use crate::{
    framework::{MAX_SCORE, Score, ScoreState},
    pod_info::PodInfo,
    resources::{Amount, Resources},
    snapshot::{NodeInfo, Snapshot},
};

pub struct NodeResourcesBalancedAllocation;

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    /// A pod that asks for nothing changes no balance: ranking by it would send all such pods to the same node.
    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo], _: &mut ScoreState) -> bool {
        pod.requests.milli_cpu != 0 || pod.requests.memory_bytes != 0
    }

    /// 75 where the pod changes nothing, towards 100 where the node's balance is better with it, towards 50 where it is
    /// worse (upstream `balancedResourceScorer`).
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let mut with = node.requested.clone();
        with.add(&pod.requests);
        let gain = balance(&with, &node.allocatable)
            .saturating_sub(balance(&node.requested, &node.allocatable));
        let half = MAX_SCORE / 2;
        half.saturating_add(half.saturating_add(gain) / 2)
    }
}

/// How evenly a node's resources are used: 100 less their standard deviation in percent.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "shares of 100"
)]
fn balance(used: &Resources, have: &Resources) -> i64 {
    let share = |used: Amount, have: Amount| (used as f64 / have as f64).min(1.0);
    // The standard deviation of two values is half their distance; of one there is none.
    let deviation = match (have.milli_cpu, have.memory_bytes) {
        (0, _) | (_, 0) => 0.0,
        (cpu, memory) => {
            (share(used.milli_cpu, cpu) - share(used.memory_bytes, memory)).abs() / 2.0
        }
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}
