//! What pods prefer of each other.

use super::{Counts, InterPodAffinity, Labels, PodAffinity};
use crate::{
    framework::{self, MAX_SCORE, Score},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// The sum of weights for each part of the cluster.
pub struct ScoreState {
    weights: Counts,
}

impl InterPodAffinity {
    /// What the pod prefers of those that are there.
    fn weigh_own(&self, rules: &PodAffinity, cluster: &Snapshot, weights: &mut Counts) {
        for (term, weight) in &rules.preferred {
            let tally = cluster.tally(&term.scope(&self.namespaces));
            for (slot, count) in tally.iter() {
                if let Some(node) = cluster.at(slot) {
                    let sum = weight.saturating_mul(count.all);
                    weights.add(&term.topology_key, node, sum);
                }
            }
        }
    }
}

/// What a pod that is there prefers of this one.
fn weigh_other(
    pod: &PodInfo,
    namespace: &Labels,
    rules: &PodAffinity,
    required_weight: i64,
    node: &NodeInfo,
    weights: &mut Counts,
) {
    let required = rules.required.iter().map(|term| (term, required_weight));
    let preferred = rules.preferred.iter().map(|(term, weight)| (term, *weight));
    for (term, weight) in required.chain(preferred) {
        if term.selects(pod, namespace) {
            weights.add(&term.topology_key, node, weight);
        }
    }
}

impl Score for InterPodAffinity {
    fn name(&self) -> &'static str {
        "InterPodAffinity"
    }

    fn pre_score(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        _: &[&NodeInfo],
        state: &mut framework::ScoreState,
    ) -> bool {
        let rules = pod.affinity.as_ref();
        if !self.heeds_others && rules.is_none_or(|rules| rules.preferred.is_empty()) {
            return false;
        }
        let mut weights = Counts::default();
        if let Some(rules) = rules {
            self.weigh_own(rules, cluster, &mut weights);
        }
        let mut nodes = cluster.nodes_with_affinity().peekable();
        if nodes.peek().is_some() {
            let namespace = self.namespace_labels(pod);
            for node in nodes {
                let rules = node
                    .pods
                    .values()
                    .filter_map(|other| other.affinity.as_ref());
                for rules in rules {
                    let weight = self.required_weight;
                    weigh_other(pod, &namespace, rules, weight, node, &mut weights);
                }
            }
        }
        let any = !weights.is_empty();
        state.affinity = Some(ScoreState { weights });
        any
    }

    fn score(&self, _: &PodInfo, node: &NodeInfo, state: &framework::ScoreState) -> i64 {
        let weights = state.affinity.as_ref().map(|state| &state.weights);
        let sums = weights.into_iter().flat_map(|weights| weights.all_of(node));
        sums.fold(0, i64::saturating_add)
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "shares of 100"
    )]
    fn normalize(&self, _: &[&NodeInfo], _: &framework::ScoreState, scores: &mut [i64]) {
        let least = scores.iter().copied().min().unwrap_or(0);
        let most = scores.iter().copied().max().unwrap_or(0);
        let range = most.saturating_sub(least) as f64;
        for score in scores {
            let above = score.saturating_sub(least) as f64;
            *score = if range > 0.0 {
                (MAX_SCORE as f64 * (above / range)) as i64
            } else {
                0
            };
        }
    }
}
