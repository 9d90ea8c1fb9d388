//! The scheduling cycle: one pod after the other gets a node, or a reason why not.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, trace};

use crate::{
    Shared,
    binder::Binder,
    framework::{CycleState, Plugins, Profiles, Reason, Refusal, Rejectors},
    plugins::{default_preemption::Nomination, volume_binding::Reservation},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
    state::State,
};

pub struct Cycle {
    pub shared: Arc<Shared>,
    pub binder: Binder,
}

/// What came of a pod.
pub enum Decision {
    Node(String),
    None(Box<Rejection>),
}

/// Why no node fits.
#[derive(Default)]
pub struct Rejection {
    /// What ruled out all nodes, whatever they are.
    pub everywhere: Option<Reason>,
    /// How many nodes each reason ruled out.
    pub reasons: BTreeMap<Reason, usize>,
    /// Who did: what they wait for has the pod tried again.
    pub rejectors: Rejectors,
    /// Slots of the nodes that only other pods keep it from.
    pub resolvable: Vec<usize>,
    /// What it was decided from.
    pub state: Option<CycleState>,
}

impl Rejection {
    /// Upstream's `FitError.Error`, of a cluster with so many nodes.
    pub fn message(&self, nodes: usize) -> String {
        match &self.everywhere {
            Some(why) if nodes > 0 => format!("0/{nodes} nodes are available: {why}."),
            _ => failure_message(nodes, &self.reasons),
        }
    }

    fn add(&mut self, node: &NodeInfo, filter: usize, refusal: Refusal) {
        self.rejectors.insert(filter);
        if refusal.resolvable {
            self.resolvable.push(node.slot);
        }
        for reason in refusal.reasons {
            self.add_reason(reason, 1);
        }
    }

    fn add_reason(&mut self, reason: Reason, nodes: usize) {
        let count = self.reasons.entry(reason).or_default();
        *count = count.saturating_add(nodes);
    }
}

impl Cycle {
    /// Never returns; dropped at shutdown.
    pub async fn run(self) {
        loop {
            // Before anything is decided: a full pipeline must not let assumptions pile up.
            let permit = self.binder.permit().await;
            let step = self.step();
            match step {
                Step::Bind(info, node, None) => self.binder.bind(info, node, permit),
                Step::Bind(info, node, Some(volumes)) => {
                    drop(permit);
                    self.binder.bind_with_volumes(info, node, volumes);
                }
                Step::Unschedulable(info, failure) => {
                    self.binder.report_unschedulable(info, failure, permit);
                }
                Step::Again => {}
                Step::Wait(until) => {
                    drop(permit);
                    let woken = self.shared.wake.notified();
                    match until {
                        Some(at) => tokio::select! {
                            () = woken => {}
                            () = sleep_until(at) => {}
                        },
                        None => woken.await,
                    }
                }
            }
        }
    }

    /// Takes what the pod needs besides room on the node.
    fn reserve(
        &self,
        state: &State,
        info: &PodInfo,
        node: &str,
    ) -> Result<Option<Reservation>, String> {
        let plugins = self.shared.profiles.of(info);
        match (&plugins.volumes, state.snapshot.node(node)) {
            (Some(volumes), Some(node)) => volumes.reserve(info, node),
            _ => Ok(None),
        }
    }

    fn step(&self) -> Step {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let profiles = &self.shared.profiles;
        let attempt = match state.queue.pop(Instant::now()) {
            Ok(attempt) => attempt,
            Err(until) => return Step::Wait(until),
        };
        let info = attempt.info.clone();
        let plugins = profiles.of(&info);
        let pod = format_args!("{}/{}", info.namespace, info.name);
        match decide(plugins, &state.snapshot, &info, &mut state.next_node) {
            Decision::Node(node) => {
                let volumes = match self.reserve(state, &info, &node) {
                    Ok(volumes) => volumes,
                    Err(why) => {
                        debug!(%pod, why, "overtaken");
                        state.queue.failed(&info, Instant::now());
                        return Step::Again;
                    }
                };
                state.assume(profiles, info.clone(), &node);
                Step::Bind(info, node, volumes)
            }
            Decision::None(rejection) => {
                let start = fastrand::usize(..);
                let failure = fail(profiles, state, &info, &rejection, start);
                debug!(%pod, failure.message, "no node fits");
                let rejectors = rejection.rejectors;
                state
                    .queue
                    .unschedulable(&attempt, rejectors, Instant::now());
                if !failure.victims.is_empty() {
                    state.queue.hold(&info.uid);
                }
                Step::Unschedulable(info, failure)
            }
        }
    }
}

/// What is to be told of a pod that fits nowhere, and done for it.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub nomination: Nomination,
    /// Pods that have to end for it.
    pub victims: Vec<Arc<PodInfo>>,
    /// Pods of lower priority that are nominated to its node no longer.
    pub displaced: Vec<Arc<PodInfo>>,
}

/// Looks for room that the end of other pods makes, on the node of the slot `start` first, and notes what is found.
pub fn fail(
    profiles: &Profiles,
    state: &mut State,
    info: &Arc<PodInfo>,
    why: &Rejection,
    start: usize,
) -> Failure {
    let (plugins, snapshot) = (profiles.of(info), &state.snapshot);
    let mut message = why.message(snapshot.len());
    let (mut nomination, mut victims) = (Nomination::Cleared, Vec::new());
    if let Some(preemption) = &plugins.preemption
        && snapshot.len() > 0
    {
        let found = preemption.run(plugins, snapshot, info, why, start);
        message.push(' ');
        message.push_str(&found.message);
        (nomination, victims) = (found.nomination, found.victims);
    }
    Failure {
        message,
        displaced: state.nominate(profiles, info, &nomination),
        nomination,
        victims,
    }
}

enum Step {
    /// With the volumes that are to be bound first.
    Bind(Arc<PodInfo>, String, Option<Reservation>),
    Unschedulable(Arc<PodInfo>, Failure),
    /// What was decided from has changed meanwhile.
    Again,
    Wait(Option<Instant>),
}

/// Filters, scores and picks; among equals at random, as upstream does. `start`: the slot that is looked at first, and
/// where the next pod goes on; of many nodes not all are looked at.
pub fn decide(
    plugins: &Plugins,
    snapshot: &Snapshot,
    pod: &PodInfo,
    start: &mut usize,
) -> Decision {
    match feasible(plugins, snapshot, pod, start) {
        Err(rejection) => Decision::None(rejection),
        Ok(nodes) => {
            let winners = best(plugins, snapshot, pod, &nodes);
            let winner = winners[fastrand::usize(..winners.len())];
            Decision::Node(winner.name().to_owned())
        }
    }
}

/// Of fewer nodes than this all are looked at (upstream's `minFeasibleNodesToFind`).
const FEASIBLE_MIN: usize = 100;
/// Of more of them so many of 100, at least (upstream's `minFeasibleNodesPercentageToFind`).
const FEASIBLE_MIN_PERCENT: usize = 5;

/// How many nodes that fit are enough (upstream `numFeasibleNodesToFind`); `percent`: of 100, 0 where nobody says.
fn enough(nodes: usize, percent: usize) -> usize {
    let percent = match percent {
        0 => (50_usize.saturating_sub(nodes / 125)).max(FEASIBLE_MIN_PERCENT),
        said => said,
    };
    let some = nodes.saturating_mul(percent) / 100;
    some.max(FEASIBLE_MIN)
}

/// The nodes that the pod fits on, never none: the one that it is nominated to, otherwise enough of them.
///
/// # Errors
/// Why there is none.
pub fn feasible<'a>(
    plugins: &Plugins,
    snapshot: &'a Snapshot,
    pod: &PodInfo,
    start: &mut usize,
) -> Result<Vec<&'a NodeInfo>, Box<Rejection>> {
    let mut rejection = Box::<Rejection>::default();
    let prepared = match plugins.pre_filter(pod, snapshot) {
        Ok(prepared) => prepared,
        Err((filter, why)) => {
            rejection.rejectors.insert(filter);
            rejection.everywhere = Some(why);
            return Err(rejection);
        }
    };
    let fits =
        |node: &NodeInfo| plugins.filter_with_nominated(pod, node, &prepared.state, snapshot);
    let nominated = snapshot.nominated.node_of(&pod.uid);
    let nominated = nominated.or_else(|| pod.nominated_node());
    if let Some(node) = nominated.and_then(|name| snapshot.node(name))
        && node.node.is_some()
        && fits(node).is_ok()
    {
        return Ok(vec![node]);
    }
    let mut found = Vec::new();
    let mut look = |node: &'a NodeInfo| {
        match fits(node) {
            Ok(()) => found.push(node),
            Err((filter, refusal)) => {
                let plugin = plugins.filters[filter].name();
                trace!(node = node.name(), plugin, reasons = ?refusal.reasons, "ruled out");
                rejection.add(node, filter, refusal);
            }
        }
        found.len()
    };
    if let Some((names, by)) = &prepared.only {
        let nodes = names.iter().filter_map(|name| snapshot.node(name));
        let mut others = snapshot.len();
        for node in nodes.filter(|node| node.node.is_some()) {
            look(node);
            others = others.saturating_sub(1);
        }
        if others > 0 {
            rejection.rejectors = rejection.rejectors.and(*by);
            let plugins: Vec<_> = plugins.of(*by).map(|filter| filter.name()).collect();
            let reason = format!("node(s) didn't satisfy plugin(s) [{}]", plugins.join(" "));
            rejection.add_reason(reason.into(), others);
        }
    } else {
        let enough = match plugins.scores.is_empty() {
            // None of them is better than another one.
            true => 1,
            false => enough(snapshot.len(), plugins.percentage_of_nodes_to_score),
        };
        let slots = snapshot.slots();
        let first = start.checked_rem(slots).unwrap_or(0);
        for slot in (first..slots).chain(0..first) {
            *start = slot.saturating_add(1);
            if snapshot.at(slot).map(&mut look) >= Some(enough) {
                break;
            }
        }
    }
    if found.is_empty() {
        rejection.state = Some(prepared.state);
        return Err(rejection);
    }
    Ok(found)
}

/// The nodes with the highest score; all of them are equal. `nodes`: not empty.
pub fn best<'a>(
    plugins: &Plugins,
    snapshot: &Snapshot,
    pod: &PodInfo,
    nodes: &[&'a NodeInfo],
) -> Vec<&'a NodeInfo> {
    if nodes.len() < 2 {
        return nodes.to_vec();
    }
    let totals = plugins.score(pod, snapshot, nodes, |plugin, scores| {
        trace!(plugin, ?scores, "scored");
    });
    let top = totals.iter().copied().max().unwrap_or(0);
    let pairs = nodes.iter().zip(totals);
    pairs
        .filter(|(_, total)| *total == top)
        .map(|(node, _)| *node)
        .collect()
}

/// Upstream's `FitError.Error`: reasons sorted as text, each with the number of nodes it ruled out.
pub fn failure_message(nodes: usize, reasons: &BTreeMap<Reason, usize>) -> String {
    if nodes == 0 {
        return "no nodes available to schedule pods".to_owned();
    }
    let mut parts: Vec<_> = reasons
        .iter()
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    parts.sort();
    format!("0/{nodes} nodes are available: {}.", parts.join(", "))
}

#[cfg(test)]
mod tests;
