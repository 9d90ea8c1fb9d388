//! DefaultPreemption: where a pod fits nowhere, pods of lower priority are ended so that it does.
//!
//! For each node that other pods keep it from, it is tried which of the pods of lower priority would have to go
//! ([`victims`]); of these candidates the one is taken that costs least ([`choice`]). Whoever is ended has its grace period;
//! the pod waits for that, and holds the room meanwhile ([`crate::nominated`]).

mod choice;
mod victims;

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use knarr_client::Informer;

use crate::{
    config::args::DefaultPreemptionArgs,
    framework::{CycleState, Plugins, Reason},
    pod_info::PodInfo,
    rejection::{Rejection, failure_message},
    snapshot::{NodeInfo, Snapshot},
};
use victims::Victims;

const NO_HELP: &str = "Preemption is not helpful for scheduling";

/// The plugin.
pub struct DefaultPreemption {
    budgets: Informer<PodDisruptionBudget>,
    /// Nodes that are tried, at least.
    candidates_min: usize,
    /// And of 100.
    candidates_percent: usize,
}

/// What came of it.
#[derive(Debug)]
pub struct Outcome {
    /// The node that the pod is nominated to from now on.
    pub nomination: Nomination,
    /// The pods that have to end, the most important one first.
    pub victims: Vec<Arc<PodInfo>>,
    /// For the pod's owner, after why it fits nowhere.
    pub message: String,
}

/// What becomes of a pod's nomination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    Unchanged,
    Cleared,
    To(String),
}

impl DefaultPreemption {
    pub fn new(budgets: Informer<PodDisruptionBudget>, args: &DefaultPreemptionArgs) -> Self {
        let number = |value: i32| usize::try_from(value).unwrap_or(0);
        Self {
            budgets,
            candidates_min: number(args.min_candidate_nodes_absolute),
            candidates_percent: number(args.min_candidate_nodes_percentage),
        }
    }

    /// Looks for pods whose end makes room for a pod that fits nowhere. `start`: the node that is tried first, any number;
    /// where many nodes would do, not all are tried.
    pub fn search(
        &self,
        plugins: &Plugins,
        cluster: &Snapshot,
        pod: &PodInfo,
        rejection: &Rejection,
        start: usize,
    ) -> Search {
        if let Some(why) = not_eligible(cluster, pod, rejection) {
            return Search::NotEligible(why);
        }
        let (candidates, refused) = self.candidates(plugins, cluster, pod, rejection, start);
        Search::Candidates {
            candidates,
            refused,
        }
    }

    /// Takes the candidate that costs least, in a cluster of so many nodes.
    pub fn conclude(search: Search, nodes: usize) -> Outcome {
        let outcome = |nomination, victims, message: &str| Outcome {
            nomination,
            victims,
            message: format!("preemption: {message}"),
        };
        let (candidates, refused) = match search {
            Search::NotEligible(why) => return outcome(Nomination::Unchanged, Vec::new(), why),
            Search::Candidates {
                candidates,
                refused,
            } => (candidates, refused),
        };
        match choice::best(candidates) {
            Some(Candidate { node, victims }) => {
                let message = format!(
                    "found a potential placement for pod on node {node}, preempting {} victims",
                    victims.pods.len()
                );
                outcome(Nomination::To(node), victims.pods, &message)
            }
            None => {
                let mut reasons: BTreeMap<Reason, usize> = BTreeMap::new();
                let explained = refused.len();
                for reason in refused.into_iter().flatten() {
                    let count = reasons.entry(reason).or_default();
                    *count = count.saturating_add(1);
                }
                let rest = nodes.saturating_sub(explained);
                if rest > 0 {
                    reasons.insert(NO_HELP.into(), rest);
                }
                let message = failure_message(nodes, &reasons);
                outcome(Nomination::Cleared, Vec::new(), &message)
            }
        }
    }

    /// Nodes on which the end of pods helps, and for each of the others that were tried why it does not.
    fn candidates(
        &self,
        plugins: &Plugins,
        cluster: &Snapshot,
        pod: &PodInfo,
        rejection: &Rejection,
        start: usize,
    ) -> (Vec<Candidate>, Vec<Vec<Reason>>) {
        let nodes = &rejection.resolvable;
        let (mut found, mut refused) = (Vec::new(), Vec::new());
        let Some(state) = &rejection.state else {
            return (found, refused);
        };
        let budgets = self.budgets.list();
        let share = nodes.len().saturating_mul(self.candidates_percent) / 100;
        let wanted = share.max(self.candidates_min);
        let mut unviolated = false;
        let first = start.checked_rem(nodes.len()).unwrap_or(0);
        let order = nodes.iter().cycle().skip(first).take(nodes.len());
        for node in order.filter_map(|slot| cluster.at(*slot)) {
            match victims::select(plugins, cluster, pod, node, state, &budgets) {
                Ok(victims) => {
                    unviolated |= victims.violations == 0;
                    let node = node.name().to_owned();
                    found.push(Candidate { node, victims });
                    if unviolated && found.len() >= wanted {
                        break;
                    }
                }
                Err(reasons) => refused.push(reasons),
            }
        }
        (found, refused)
    }
}

/// What was found before anything is chosen.
pub enum Search {
    /// The pod may not have others ended.
    NotEligible(&'static str),
    Candidates {
        candidates: Vec<Candidate>,
        /// For each of the other nodes that were tried, why the end of pods does not help.
        refused: Vec<Vec<Reason>>,
    },
}

/// A node, and who would have to go.
pub struct Candidate {
    pub node: String,
    pub victims: Victims,
}

impl Candidate {
    #[cfg(test)]
    pub fn of(node: &str, pods: Vec<Arc<PodInfo>>) -> Self {
        Self {
            node: node.to_owned(),
            victims: Victims {
                pods,
                violations: 0,
            },
        }
    }

    /// The same node with some of the pods.
    pub fn with(&self, pods: Vec<Arc<PodInfo>>, violations: usize) -> Self {
        Self {
            node: self.node.clone(),
            victims: Victims { pods, violations },
        }
    }
}

/// Why a pod may not have others ended (upstream `PodEligibleToPreemptOthers`).
fn not_eligible(cluster: &Snapshot, pod: &PodInfo, rejection: &Rejection) -> Option<&'static str> {
    if !pod.may_preempt() {
        return Some("not eligible due to preemptionPolicy=Never.");
    }
    let name = cluster.nominated.node_of(&pod.uid);
    let node = cluster.node(name.or_else(|| pod.nominated_node())?)?;
    // It waits for nothing on a node that is closed to it by now.
    let open = rejection.resolvable.contains(&node.slot);
    (open && waits_for(pod, node))
        .then_some("not eligible due to a terminating pod on the nominated node.")
}

/// Whether pods end on the node that were preempted for the pod, or for others as important.
pub fn waits_for(pod: &PodInfo, node: &NodeInfo) -> bool {
    let mut others = node.pods.values();
    others.any(|other| other.priority < pod.priority && other.is_preempted)
}

/// The pod, among the pods of a node that is tried.
struct Trial<'a> {
    plugins: &'a Plugins,
    cluster: &'a Snapshot,
    pod: &'a PodInfo,
    node: NodeInfo,
    state: CycleState,
}

impl Trial<'_> {
    fn remove(&mut self, other: &PodInfo) {
        self.node.remove(&other.uid);
        self.plugins
            .remove_pod(self.pod, other, &self.node, &mut self.state);
    }

    fn add(&mut self, other: &Arc<PodInfo>) {
        self.node.add(other.clone());
        self.plugins
            .add_pod(self.pod, other, &self.node, &mut self.state);
    }

    /// # Errors
    /// Why the pod does not fit.
    fn fits(&self) -> Result<(), Vec<Reason>> {
        let (plugins, pod) = (self.plugins, self.pod);
        plugins
            .filter_with_nominated(pod, &self.node, &self.state, self.cluster)
            .map_err(|(_, refusal)| refusal.reasons)
    }
}
