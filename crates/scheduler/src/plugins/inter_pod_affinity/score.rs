//! What pods prefer of each other.

use super::{Counts, InterPodAffinity, keys};
use crate::{
    framework::{self, MAX_SCORE, Score},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// The sum of weights for each part of the cluster.
pub struct ScoreState {
    weights: Counts,
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
        let own = rules.map_or(&[][..], |rules| &rules.preferred);
        let theirs = &cluster.standing;
        let terms = own.iter().map(|(term, _)| term);
        let terms = terms
            .chain(theirs.near.terms())
            .chain(theirs.preferred.terms());
        let mut weights = Counts::by(keys(terms), cluster);
        // What the pod prefers of those that are there.
        for (term, weight) in own {
            let tally = cluster.tally(&term.scope(&self.namespaces));
            let sums = tally
                .all()
                .map(|(slot, pods)| (slot, weight.saturating_mul(pods)));
            weights.add_all(&term.topology_key, sums);
        }
        // What those prefer of it.
        if !theirs.is_empty() {
            let namespace = self.namespace_labels(pod);
            for (term, pods) in theirs.near.about(pod, &namespace) {
                let weight = |(slot, pods)| (slot, self.required_weight.saturating_mul(pods));
                weights.add_all(&term.topology_key, pods.map(weight));
            }
            for (term, sums) in theirs.preferred.about(pod, &namespace) {
                weights.add_all(&term.topology_key, sums);
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
