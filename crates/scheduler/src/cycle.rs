//! The scheduling cycle: one pod after the other gets a node, or a reason why not.

mod extended;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use knarr_client::Informer;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, trace};

use crate::{
    Shared,
    binder::Binder,
    framework::{Plugins, Profiles, Rejectors, Reservation},
    metrics::{AttemptResult, Timing},
    outcome::{Chosen, Failure},
    plugins::{
        default_preemption::{DefaultPreemption, Nomination, Search},
        dynamic_resources::State as Devices,
    },
    pod_info::PodInfo,
    queue::Attempt,
    rejection::Rejection,
    snapshot::{NodeInfo, Snapshot},
    state::State,
};

pub struct Cycle {
    pub shared: Arc<Shared>,
    /// Whole pods, which extenders may want to see.
    pub pods: Informer<Pod>,
    pub binder: Binder,
}

/// What came of a pod.
pub enum Decision {
    Node(String),
    None(Box<Rejection>),
}

impl Cycle {
    /// Never returns; dropped at shutdown.
    pub async fn run(self) {
        loop {
            // Before anything is decided: a full pipeline must not let assumptions pile up.
            let permit = self.binder.permit().await;
            let step = match self.step() {
                Step::Ask(attempt) => self.ask(attempt).await,
                step => step,
            };
            match step {
                Step::Bind(chosen, reserved) if reserved.is_empty() => {
                    self.binder.bind(chosen, permit);
                }
                Step::Bind(chosen, reserved) => {
                    drop(permit);
                    self.binder.bind_reserved(chosen, reserved);
                }
                Step::Unschedulable(info, failure, timing) => {
                    let result = match failure.reason {
                        UNSCHEDULABLE => AttemptResult::Unschedulable,
                        _ => AttemptResult::Error,
                    };
                    let metrics = &self.shared.metrics;
                    metrics.attempted(result, info.scheduler_name(), timing);
                    self.binder.report_unschedulable(info, failure, permit);
                }
                Step::Again | Step::Ask(_) => {}
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
    ) -> Result<Vec<Box<dyn Reservation>>, String> {
        match state.snapshot.node(node) {
            Some(node) => self.shared.profiles.of(info).reserve(info, node),
            None => Ok(Vec::new()),
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
        let plugins = profiles.of(&attempt.info);
        if let Err((filter, _)) = plugins.pre_enqueue(&attempt.info) {
            let mut rejectors = Rejectors::default();
            rejectors.insert(filter);
            state.queue.not_ready(&attempt, rejectors, Instant::now());
            return Step::Again;
        }
        if self.shared.extenders.concern(&attempt.info) {
            return Step::Ask(attempt);
        }
        let started = std::time::Instant::now();
        let decision = decide(
            plugins,
            &state.snapshot,
            &attempt.info,
            &mut state.next_node,
        );
        let metrics = &self.shared.metrics;
        match decision {
            Decision::Node(node) => {
                metrics.decided(started.elapsed());
                self.take(state, attempt, node)
            }
            Decision::None(rejection) => {
                let start = fastrand::usize(..);
                let failure = fail(profiles, state, &attempt.info, &rejection, start);
                metrics.decided(started.elapsed());
                self.count_preemption(&attempt.info, &failure);
                set_aside(state, attempt, rejection.rejectors, failure)
            }
        }
    }

    fn count_preemption(&self, info: &PodInfo, failure: &Failure) {
        if self.shared.profiles.of(info).preemption.is_some() {
            self.shared.metrics.preempted(failure.victims.len());
        }
    }

    /// Takes the place on a node for a pod.
    fn take(&self, state: &mut State, attempt: Attempt, node: String) -> Step {
        let (info, timing) = (attempt.info, attempt.timing);
        match self.reserve(state, &info, &node) {
            Ok(reserved) => {
                state.assume(&self.shared.profiles, info.clone(), &node);
                Step::Bind(Chosen { info, node, timing }, reserved)
            }
            Err(why) => {
                debug!(pod = %format_args!("{}/{}", info.namespace, info.name), why, "overtaken");
                state.queue.failed(&info, Instant::now());
                Step::Again
            }
        }
    }
}

/// Puts a pod back that fits nowhere.
fn set_aside(state: &mut State, attempt: Attempt, rejectors: Rejectors, failure: Failure) -> Step {
    let info = attempt.info.clone();
    debug!(pod = %format_args!("{}/{}", info.namespace, info.name), failure.message, "no node fits");
    state
        .queue
        .unschedulable(&attempt, rejectors, Instant::now());
    if !failure.victims.is_empty() {
        state.queue.hold(&info.uid);
    }
    Step::Unschedulable(info, failure, attempt.timing)
}

/// Reason of a waiting pod's condition: no node fits it.
const UNSCHEDULABLE: &str = "Unschedulable";

/// Looks for room that the end of other pods makes, on the node of the slot `start` first, and notes what is found.
pub fn fail(
    profiles: &Profiles,
    state: &mut State,
    info: &Arc<PodInfo>,
    why: &Rejection,
    start: usize,
) -> Failure {
    let search = search_room(profiles, state, info, why, start);
    settle(profiles, state, info, why, search)
}

/// `None` where nobody is ended for a pod.
fn search_room(
    profiles: &Profiles,
    state: &State,
    info: &PodInfo,
    why: &Rejection,
    start: usize,
) -> Option<Search> {
    let (plugins, snapshot) = (profiles.of(info), &state.snapshot);
    let preemption = plugins.preemption.as_ref().filter(|_| snapshot.len() > 0)?;
    Some(preemption.search(plugins, snapshot, info, why, start))
}

fn settle(
    profiles: &Profiles,
    state: &mut State,
    info: &Arc<PodInfo>,
    why: &Rejection,
    search: Option<Search>,
) -> Failure {
    let nodes = state.snapshot.len();
    let mut message = why.message(nodes);
    let decided_from = why.state.as_ref();
    let devices = decided_from.and_then(|state| state.devices.as_deref());
    let (mut nomination, mut victims) = (Nomination::Cleared, Vec::new());
    if let Some(search) = search {
        let found = DefaultPreemption::conclude(search, nodes);
        message.push(' ');
        message.push_str(&found.message);
        (nomination, victims) = (found.nomination, found.victims);
    }
    Failure {
        reason: UNSCHEDULABLE,
        message,
        displaced: state.nominate(profiles, info, &nomination),
        nomination,
        victims,
        stale: devices.and_then(Devices::stale),
    }
}

enum Step {
    /// With what is to be made ready first.
    Bind(Chosen, Vec<Box<dyn Reservation>>),
    Unschedulable(Arc<PodInfo>, Failure, Timing),
    /// Extenders have a say.
    Ask(Attempt),
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
    let nominated = snapshot.nominated.node_of(&pod.uid);
    let nominated = nominated.or_else(|| pod.nominated_node());
    let (found, rejection) = look(plugins, snapshot, pod, nominated, start);
    match found.is_empty() {
        true => Err(rejection),
        false => Ok(found),
    }
}

/// The nodes that the pod fits on, `first` alone where it does there; and why it does not on others.
fn look<'a>(
    plugins: &Plugins,
    snapshot: &'a Snapshot,
    pod: &PodInfo,
    first: Option<&str>,
    start: &mut usize,
) -> (Vec<&'a NodeInfo>, Box<Rejection>) {
    let mut rejection = Box::<Rejection>::default();
    let prepared = match plugins.pre_filter(pod, snapshot) {
        Ok(prepared) => prepared,
        Err((filter, why)) => {
            rejection.rejectors.insert(filter);
            rejection.everywhere = Some(why);
            return (Vec::new(), rejection);
        }
    };
    let fits =
        |node: &NodeInfo| plugins.filter_with_nominated(pod, node, &prepared.state, snapshot);
    if let Some(node) = first.and_then(|name| snapshot.node(name))
        && node.node.is_some()
        && fits(node).is_ok()
    {
        return (vec![node], rejection);
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
        let enough = match plugins.first_is_best {
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
    rejection.state = Some(prepared.state);
    (found, rejection)
}

/// The nodes with the highest score; all of them are equal. `nodes`: not empty.
pub fn best<'a>(
    plugins: &Plugins,
    snapshot: &Snapshot,
    pod: &PodInfo,
    nodes: &[&'a NodeInfo],
) -> Vec<&'a NodeInfo> {
    best_with(plugins, snapshot, pod, nodes, |_| 0)
}

/// As [`best`]; `more` is added to the score of a node.
fn best_with<'a>(
    plugins: &Plugins,
    snapshot: &Snapshot,
    pod: &PodInfo,
    nodes: &[&'a NodeInfo],
    more: impl Fn(&str) -> i64,
) -> Vec<&'a NodeInfo> {
    if nodes.len() < 2 {
        return nodes.to_vec();
    }
    let mut totals = plugins.score(pod, snapshot, nodes, |plugin, scores| {
        trace!(plugin, ?scores, "scored");
    });
    for (total, node) in totals.iter_mut().zip(nodes) {
        *total = total.saturating_add(more(node.name()));
    }
    let top = totals.iter().copied().max().unwrap_or(0);
    let pairs = nodes.iter().zip(totals);
    pairs
        .filter(|(_, total)| *total == top)
        .map(|(node, _)| *node)
        .collect()
}

#[cfg(test)]
mod tests;
