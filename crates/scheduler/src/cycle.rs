//! The scheduling cycle: one pod after the other gets a node, or a reason why not.

use std::{collections::BTreeMap, sync::Arc};

use tokio::time::{Instant, sleep_until};
use tracing::{debug, trace};

use crate::{
    Shared,
    binder::Binder,
    framework::{Plugins, Rejectors},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

pub struct Cycle {
    pub shared: Arc<Shared>,
    pub binder: Binder,
}

/// What came of a pod.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    Node(String),
    None(Rejection),
}

/// Why no node fits.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Rejection {
    /// How many nodes each reason ruled out.
    pub reasons: BTreeMap<String, usize>,
    /// Who did: what they wait for has the pod tried again.
    pub rejectors: Rejectors,
}

impl Cycle {
    /// Never returns; dropped at shutdown.
    pub async fn run(self) {
        loop {
            // Before anything is decided: a full pipeline must not let assumptions pile up.
            let permit = self.binder.permit().await;
            let step = self.step();
            match step {
                Step::Bind(info, node) => self.binder.bind(info, node, permit),
                Step::Unschedulable(info, message) => {
                    self.binder.report_unschedulable(info, message, permit);
                }
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

    fn step(&self) -> Step {
        let mut state = self.shared.state.lock();
        let attempt = match state.queue.pop(Instant::now()) {
            Ok(attempt) => attempt,
            Err(until) => return Step::Wait(until),
        };
        let info = attempt.info.clone();
        match decide(&self.shared.plugins, &state.snapshot, &info) {
            Decision::Node(node) => {
                state.snapshot.assume(info.clone(), &node);
                Step::Bind(info, node)
            }
            Decision::None(rejection) => {
                let nodes = state.snapshot.nodes().len();
                let rejectors = rejection.rejectors;
                state
                    .queue
                    .unschedulable(&attempt, rejectors, Instant::now());
                let message = failure_message(nodes, &rejection.reasons);
                debug!(pod = %format_args!("{}/{}", info.namespace, info.name), message, "no node fits");
                Step::Unschedulable(info, message)
            }
        }
    }
}

enum Step {
    Bind(Arc<PodInfo>, String),
    Unschedulable(Arc<PodInfo>, String),
    Wait(Option<Instant>),
}

/// Filters, scores and picks; among equals at random, as upstream does.
pub fn decide(plugins: &Plugins, snapshot: &Snapshot, pod: &PodInfo) -> Decision {
    let mut rejection = Rejection::default();
    let mut found = Vec::new();
    let mut fitting: Vec<&NodeInfo> = Vec::new();
    for node in snapshot.nodes() {
        for (index, filter) in plugins.filters.iter().enumerate() {
            filter.filter(pod, node, &mut found);
            if !found.is_empty() {
                trace!(node = node.name(), plugin = filter.name(), reasons = ?found, "ruled out");
                rejection.rejectors.insert(index);
                break;
            }
        }
        if found.is_empty() {
            fitting.push(node);
        }
        for reason in found.drain(..) {
            *rejection.reasons.entry(reason).or_default() += 1;
        }
    }
    match fitting.as_slice() {
        [] => Decision::None(rejection),
        [only] => Decision::Node(only.name().to_owned()),
        _ => Decision::Node(best(plugins, pod, &fitting).to_owned()),
    }
}

fn best<'a>(plugins: &Plugins, pod: &PodInfo, nodes: &[&'a NodeInfo]) -> &'a str {
    let mut totals = vec![0; nodes.len()];
    let mut scores = Vec::with_capacity(nodes.len());
    for plugin in &plugins.scores {
        scores.clear();
        scores.extend(nodes.iter().map(|node| plugin.score(pod, node)));
        plugin.normalize(&mut scores);
        trace!(plugin = plugin.name(), ?scores, "scored");
        for (total, score) in totals.iter_mut().zip(&scores) {
            *total += score * plugin.weight();
        }
    }
    let top = totals.iter().copied().max().unwrap_or(0);
    let winners: Vec<_> = (0..nodes.len()).filter(|i| totals[*i] == top).collect();
    nodes[winners[fastrand::usize(..winners.len())]].name()
}

/// Upstream's `FitError.Error`: reasons sorted as text, each with the number of nodes it ruled out.
pub fn failure_message(nodes: usize, reasons: &BTreeMap<String, usize>) -> String {
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
