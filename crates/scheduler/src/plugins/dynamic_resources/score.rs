//! Nodes that have the alternatives which come first in prioritized lists are better.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim};
use knarr_devices::{MAX_ALTERNATIVES, claim};

use super::{DynamicResources, NAME};
use crate::{
    framework::{Score, ScoreState, normalize_by_max},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// Points of nodes, by their slots.
pub struct Points(HashMap<usize, i64>);

fn has_alternatives(claim: &ResourceClaim) -> bool {
    let devices = claim.spec.devices.iter();
    let mut requests = devices.flat_map(|devices| devices.requests.iter().flatten());
    requests.any(|request| request.first_available.is_some())
}

/// More for each request whose alternative comes early.
fn points(claim: &ResourceClaim, allocation: &AllocationResult) -> i64 {
    let results = claim::results(allocation);
    let devices = claim.spec.devices.iter();
    let requests = devices.flat_map(|devices| devices.requests.iter().flatten());
    let mut sum = 0_i64;
    for request in requests {
        for (place, sub) in request.first_available.iter().flatten().enumerate() {
            let name = format!("{}/{}", request.name, sub.name);
            if results.iter().any(|result| result.request == name) {
                let points = i64::try_from(MAX_ALTERNATIVES.saturating_sub(place)).unwrap_or(0);
                sum = sum.saturating_add(points);
            }
        }
    }
    sum
}

impl DynamicResources {
    /// The points of nodes that a pod fits on; `None` where no claim has alternatives.
    fn points(&self, pod: &PodInfo, nodes: &[&NodeInfo]) -> Option<Points> {
        let state = self.prepare(pod).ok().flatten()?;
        if !state.claims.iter().any(|claim| has_alternatives(claim)) {
            return None;
        }
        let of = |node: &NodeInfo| {
            let allocated = self.allocate(&state, node).ok()?;
            let mut new = allocated.iter().flat_map(|allocated| &allocated.results);
            let mut sum = 0_i64;
            for claim in &state.claims {
                let allocation = claim::allocation(claim).or_else(|| new.next());
                let more = allocation.map_or(0, |allocation| points(claim, allocation));
                sum = sum.saturating_add(more);
            }
            Some((node.slot, sum))
        };
        Some(Points(nodes.iter().filter_map(|node| of(node)).collect()))
    }
}

impl Score for Arc<DynamicResources> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn pre_score(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        nodes: &[&NodeInfo],
        state: &mut ScoreState,
    ) -> bool {
        state.devices = self.points(pod, nodes);
        state.devices.is_some()
    }

    fn score(&self, _: &PodInfo, node: &NodeInfo, state: &ScoreState) -> i64 {
        let points = state.devices.as_ref();
        let points = points.and_then(|points| points.0.get(&node.slot));
        points.copied().unwrap_or(0)
    }

    fn normalize(&self, _: &[&NodeInfo], _: &ScoreState, scores: &mut [i64]) {
        normalize_by_max(scores, false);
    }
}
