//! NodeResourcesBalancedAllocation: a node's resources should fill up together.

use super::scoring::{self, Usage, float};
use crate::{
    config::args::{NodeResourcesBalancedAllocationArgs, ResourceSpec},
    framework::{MAX_SCORE, Score, ScoreState},
    pod_info::PodInfo,
    resources::Amount,
    snapshot::{NodeInfo, Snapshot},
};

/// The plugin.
pub struct NodeResourcesBalancedAllocation {
    resources: Vec<ResourceSpec>,
}

impl NodeResourcesBalancedAllocation {
    pub fn new(args: &NodeResourcesBalancedAllocationArgs) -> Self {
        Self {
            resources: args.resources.clone(),
        }
    }
}

impl Score for NodeResourcesBalancedAllocation {
    fn name(&self) -> &'static str {
        "NodeResourcesBalancedAllocation"
    }

    /// A pod that asks for nothing changes no balance: ranking by it would send all such pods to the same node.
    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo], _: &mut ScoreState) -> bool {
        let mut resources = self.resources.iter();
        resources.any(|resource| pod.requests.of(&resource.name) != 0)
    }

    /// 75 where the pod changes nothing, towards 100 where the node's balance is better with it, towards 50 where it is
    /// worse (upstream `balancedResourceScorer`).
    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let resources = self.resources.iter();
        let usages = resources.map(|resource| scoring::usage(&resource.name, pod, node, false));
        let usages = usages.filter(|usage: &Usage| usage.have != 0);
        let with = balance(usages.clone().map(|usage| (usage.with, usage.have)));
        let without = balance(usages.map(|usage| (usage.without, usage.have)));
        let half = MAX_SCORE / 2;
        let gain = with.saturating_sub(without);
        half.saturating_add(half.saturating_add(gain) / 2)
    }
}

/// How evenly resources are used: 100 less their standard deviation in percent. Each: what is used, and what there is.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "shares of 100"
)]
fn balance(resources: impl Iterator<Item = (Amount, Amount)> + Clone) -> i64 {
    let shares = resources.map(|(used, have)| (float(used) / float(have)).min(1.0));
    let mut first = shares.clone();
    let deviation = match (first.next(), first.next(), first.next()) {
        (_, None, _) => 0.0,
        // As upstream reckons it, so that what is rounded is the same. For every node: without memory of its own.
        (Some(a), Some(b), None) => ((a - b) / 2.0).abs(),
        _ => {
            let shares: Vec<f64> = shares.collect();
            let mean = shares.iter().sum::<f64>() / shares.len() as f64;
            let squares = shares.iter().map(|share| (share - mean) * (share - mean));
            (squares.sum::<f64>() / shares.len() as f64).sqrt()
        }
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}
