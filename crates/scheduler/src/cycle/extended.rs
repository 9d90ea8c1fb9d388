//! The cycle of a pod about which extenders are asked: the state is free meanwhile, and looked at anew with their answers.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::Node;
use tokio::time::Instant;
use tracing::warn;

use super::{Cycle, Failure, Rejection, Step, best_with, look, search_room, set_aside, settle};
use crate::{
    extender::{Error, Filtered},
    plugins::default_preemption::{Nomination, Search},
    queue::Attempt,
};

/// Reason of a waiting pod's condition: it could not be told whether a node fits it.
const ERROR: &str = "SchedulerError";

impl Cycle {
    /// Decides about a pod with its extenders.
    pub(super) async fn ask(&self, attempt: Attempt) -> Step {
        let info = attempt.info.clone();
        // The node that it is nominated to, and where extenders do not want it there, all of them.
        for heed_nomination in [true, false] {
            let (nodes, rejection, alone) = self.fitting(&attempt, heed_nomination);
            if nodes.is_empty() {
                return self.refuse(attempt, rejection).await;
            }
            match self.shared.extenders.filter(&info, nodes).await {
                Err(error) => return self.failed(attempt, &error),
                Ok(filtered) if !filtered.nodes.is_empty() => {
                    let extenders = &self.shared.extenders;
                    let scores = match filtered.nodes.len() {
                        1 => HashMap::new(),
                        _ => extenders.prioritize(&info, &filtered.nodes).await,
                    };
                    return self.choose(attempt, &filtered.nodes, &scores);
                }
                Ok(_) if alone => {}
                Ok(filtered) => {
                    let rejection = self.with_refusals(rejection, filtered);
                    return self.refuse(attempt, rejection).await;
                }
            }
        }
        Step::Again
    }

    /// The nodes that the plugins let the pod go to, why they do not let it go to others, and whether it is only about the one that
    /// it is nominated to.
    fn fitting(
        &self,
        attempt: &Attempt,
        heed_nomination: bool,
    ) -> (Vec<Arc<Node>>, Box<Rejection>, bool) {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let (pod, snapshot) = (&attempt.info, &state.snapshot);
        let nominated = snapshot.nominated.node_of(&pod.uid);
        let nominated = nominated.or_else(|| pod.nominated_node());
        let nominated = nominated.filter(|_| heed_nomination);
        let plugins = self.shared.profiles.of(pod);
        let (found, rejection) = look(plugins, snapshot, pod, nominated, &mut state.next_node);
        let alone = matches!(&found[..], [only] if Some(only.name()) == nominated);
        let nodes = found.iter().filter_map(|node| node.node.clone());
        (nodes.collect(), rejection, alone)
    }

    /// Adds what extenders say of nodes.
    fn with_refusals(&self, mut rejection: Box<Rejection>, filtered: Filtered) -> Box<Rejection> {
        let state = self.shared.state.lock();
        for (name, (reason, resolvable)) in filtered.refused {
            if let Some(node) = state.snapshot.node(&name) {
                if resolvable {
                    rejection.resolvable.push(node.slot);
                }
                rejection.add_reason(reason, 1);
            }
        }
        rejection.rejectors.insert_extender();
        rejection
    }

    /// Puts the pod back, once extenders have agreed to who ends for it.
    async fn refuse(&self, attempt: Attempt, rejection: Box<Rejection>) -> Step {
        let (info, profiles) = (attempt.info.clone(), &self.shared.profiles);
        let search = {
            let state = self.shared.state.lock();
            search_room(profiles, &state, &info, &rejection, fastrand::usize(..))
        };
        let search = match search {
            Some(Search::Candidates {
                candidates,
                refused,
            }) if self.shared.extenders.concern_preemption(&info) => {
                let whole =
                    |pod: &crate::pod_info::PodInfo| self.pods.get(&pod.namespace, &pod.name);
                let agreed = self.shared.extenders.preempt(&info, candidates, whole);
                match agreed.await {
                    Ok(candidates) => Some(Search::Candidates {
                        candidates,
                        refused,
                    }),
                    Err(error) => return self.failed(attempt, &error),
                }
            }
            other => other,
        };
        let mut state = self.shared.state.lock();
        if !state.queue.is_tried(&info.uid) {
            return Step::Again;
        }
        let failure = settle(profiles, &mut state, &info, &rejection, search);
        self.count_preemption(&info, &failure);
        set_aside(&mut state, attempt, rejection.rejectors, failure)
    }

    /// Takes the best node of those that are left and still fit.
    fn choose(&self, attempt: Attempt, nodes: &[Arc<Node>], scores: &HashMap<String, i64>) -> Step {
        let mut state = self.shared.state.lock();
        let state = &mut *state;
        let info = &attempt.info;
        if !state.queue.is_tried(&info.uid) {
            return Step::Again;
        }
        let (plugins, snapshot) = (self.shared.profiles.of(info), &state.snapshot);
        let Ok(prepared) = plugins.pre_filter(info, snapshot) else {
            state.queue.failed(info, Instant::now());
            return Step::Again;
        };
        let names = nodes
            .iter()
            .filter_map(|node| node.metadata.name.as_deref());
        let known = names.filter_map(|name| snapshot.node(name));
        let fitting: Vec<_> = known
            .filter(|node| node.node.is_some())
            .filter(|node| {
                let verdict = plugins.filter_with_nominated(info, node, &prepared.state, snapshot);
                verdict.is_ok()
            })
            .collect();
        if fitting.is_empty() {
            state.queue.failed(info, Instant::now());
            return Step::Again;
        }
        let more = |node: &str| scores.get(node).copied().unwrap_or(0);
        let winners = best_with(plugins, snapshot, info, &fitting, more);
        let winner = winners[fastrand::usize(..winners.len())].name().to_owned();
        self.take(state, attempt, winner)
    }

    /// Has the pod tried again: an extender that is needed does not answer.
    fn failed(&self, attempt: Attempt, error: &Error) -> Step {
        let (info, timing) = (attempt.info, attempt.timing);
        let message = error.to_string();
        warn!(pod = %format_args!("{}/{}", info.namespace, info.name), message, "cannot be scheduled");
        let mut state = self.shared.state.lock();
        let nomination = Nomination::Cleared;
        let displaced = state.nominate(&self.shared.profiles, &info, &nomination);
        state.queue.failed(&info, Instant::now());
        Step::Unschedulable(
            info,
            Failure {
                reason: ERROR,
                message,
                nomination,
                victims: Vec::new(),
                displaced,
                stale: None,
            },
            timing,
        )
    }
}
