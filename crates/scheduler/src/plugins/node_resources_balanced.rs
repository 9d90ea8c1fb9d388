//! NodeResourcesBalancedAllocation: cpu and memory should fill up together.

use crate::{
    framework::{MAX_SCORE, Score},
    pod_info::PodInfo,
    resources::Amount,
    snapshot::NodeInfo,
};

pub struct NodeResourcesBalancedAllocation;

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "shares of 100"
    )]
    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let share = |want: Amount, used: Amount, have: Amount| {
            if have <= 0 {
                1.0
            } else {
                (used.saturating_add(want) as f64 / have as f64).min(1.0)
            }
        };
        let (want, used, have) = (&pod.requests, &node.requested, &node.allocatable);
        let cpu = share(want.milli_cpu, used.milli_cpu, have.milli_cpu);
        let memory = share(want.memory_bytes, used.memory_bytes, have.memory_bytes);
        // The standard deviation of two values is half their distance.
        ((1.0 - (cpu - memory).abs() / 2.0) * MAX_SCORE as f64) as i64
    }
}
