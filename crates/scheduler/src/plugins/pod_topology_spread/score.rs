//! Ranks nodes by how few pods of a kind are in their parts of the cluster.

use std::{collections::HashSet, sync::Arc};

use super::{
    Constraint, Defaults, PodTopologySpread,
    constraint::{Counted, SCHEDULE_ANYWAY},
    has_all,
};
use crate::{
    domains::Domains,
    framework::{self, MAX_SCORE, Score},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
    tally::Scope,
};

const HOST: &str = "kubernetes.io/hostname";
const ZONE: &str = "topology.kubernetes.io/zone";
/// Upstream's default constraints: labels, and how much more one part may have.
const DEFAULTS: [(&str, i64); 2] = [(HOST, 3), (ZONE, 5)];

/// The pods in the parts of the cluster that the candidates are in.
pub struct ScoreState {
    constraints: Vec<Ranked>,
    /// Slots of candidates that lack a label, and get nothing.
    ignored: HashSet<usize>,
}

struct Ranked {
    constraint: Constraint,
    counted: Counted,
    domains: Arc<Domains>,
    /// By part; `None` where no candidate is in it. Of hosts, whose parts are single nodes, there are none.
    parts: Vec<Option<i64>>,
    /// More parts mean that each has fewer pods: this makes up for it.
    weight: f64,
}

impl PodTopologySpread {
    /// The constraints that rank the nodes of a pod, and whether nodes need the labels of all of them.
    fn ranking(&self, pod: &PodInfo) -> (Vec<Constraint>, bool) {
        let own = Constraint::own(pod);
        if !own.is_empty() {
            // A selector that cannot be read has ruled out every node.
            let own = Constraint::all(own, SCHEDULE_ANYWAY, pod).unwrap_or_default();
            return (own, true);
        }
        if let Defaults::List(defaults) = &*self.defaults {
            return (self.defaulted(defaults, SCHEDULE_ANYWAY, pod), true);
        }
        let selector = self.owners.selector(pod);
        if selector.is_empty() {
            return (Vec::new(), false);
        }
        let scope = Scope::within(&pod.namespace, selector);
        let defaults = DEFAULTS.map(|(key, skew)| Constraint::soft(key, skew, scope.clone()));
        (defaults.into(), false)
    }
}

impl ScoreState {
    fn new(
        constraints: Vec<Constraint>,
        need_all: bool,
        pod: &PodInfo,
        cluster: &Snapshot,
        nodes: &[&NodeInfo],
    ) -> Self {
        let lacking = |node: &&&NodeInfo| need_all && !has_all(node, &constraints);
        let ignored: HashSet<usize> = nodes.iter().filter(lacking).map(|n| n.slot).collect();
        let candidates = || nodes.iter().filter(|node| !ignored.contains(&node.slot));
        let ranked = constraints.iter().map(|constraint| {
            let counted = constraint.tally(cluster);
            let domains = cluster.domains(&constraint.topology_key);
            if constraint.topology_key == HOST {
                let weight = weight_of(candidates().count());
                return Ranked {
                    constraint: constraint.clone(),
                    counted,
                    domains,
                    parts: Vec::new(),
                    weight,
                };
            }
            // The last is of nodes without the label.
            let mut parts = vec![None; domains.bound().saturating_add(1)];
            let unlabelled = domains.bound();
            let part_of = |slot: usize| domains.of(slot).unwrap_or(unlabelled);
            for node in candidates() {
                parts[part_of(node.slot)] = Some(0_i64);
            }
            let weight = weight_of(parts.iter().flatten().count());
            for (slot, count) in counted.iter() {
                let Some(node) = cluster.at(slot) else {
                    continue;
                };
                let counts =
                    (!need_all || has_all(node, &constraints)) && constraint.includes(pod, node);
                if let (true, Some(part)) = (counts, &mut parts[part_of(slot)]) {
                    *part = part.saturating_add(count);
                }
            }
            Ranked {
                constraint: constraint.clone(),
                counted,
                domains,
                parts,
                weight,
            }
        });
        let ranked = ranked.collect();
        Self {
            constraints: ranked,
            ignored,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "numbers of nodes")]
fn weight_of(parts: usize) -> f64 {
    (parts.saturating_add(2) as f64).ln()
}

impl Score for PodTopologySpread {
    fn name(&self) -> &'static str {
        "PodTopologySpread"
    }

    fn pre_score(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        nodes: &[&NodeInfo],
        state: &mut framework::ScoreState,
    ) -> bool {
        let (constraints, own) = self.ranking(pod);
        if constraints.is_empty() {
            return false;
        }
        // Nodes without a zone are still ranked by the default constraint on hosts.
        state.spread = Some(ScoreState::new(constraints, own, pod, cluster, nodes));
        true
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "numbers of pods"
    )]
    fn score(&self, _: &PodInfo, node: &NodeInfo, state: &framework::ScoreState) -> i64 {
        let Some(state) = &state.spread else {
            return 0;
        };
        if state.ignored.contains(&node.slot) {
            return 0;
        }
        let mut score = 0.0;
        for ranked in &state.constraints {
            let Some(domain) = ranked.domains.of(node.slot) else {
                continue;
            };
            let count = match ranked.constraint.topology_key == HOST {
                true => ranked.counted.on(node.slot),
                false => ranked.parts.get(domain).copied().flatten().unwrap_or(0),
            };
            let tolerated = ranked.constraint.max_skew.saturating_sub(1);
            score += count as f64 * ranked.weight + tolerated as f64;
        }
        score.round() as i64
    }

    /// Fewer pods are better; nodes that lack a label get nothing.
    fn normalize(&self, nodes: &[&NodeInfo], state: &framework::ScoreState, scores: &mut [i64]) {
        let Some(state) = &state.spread else {
            return;
        };
        let ranked = |node: &NodeInfo| !state.ignored.contains(&node.slot);
        let pairs = nodes.iter().zip(scores.iter());
        let known = pairs
            .filter(|(node, _)| ranked(node))
            .map(|(_, score)| *score);
        let (least, most) = known.fold((i64::MAX, 0), |(least, most), score| {
            (score.min(least), score.max(most))
        });
        for (node, score) in nodes.iter().zip(scores) {
            *score = if !ranked(node) {
                0
            } else if most == 0 {
                MAX_SCORE
            } else {
                let better = most.saturating_add(least).saturating_sub(*score);
                MAX_SCORE
                    .saturating_mul(better)
                    .checked_div(most)
                    .unwrap_or(0)
            };
        }
    }
}
