//! NodeResourcesFit: the node has room for the pod's requests; the emptier node is better, or as the scoring strategy says.

use std::{collections::HashSet, sync::Arc};

use super::scoring::{self, Strategy};
use crate::{
    config::{
        args::{NodeResourcesFitArgs, ResourceSpec},
        extenders::is_extended,
    },
    framework::{Change, ClusterEvent, CycleState, Filter, Reason, Refusal, Score, ScoreState},
    pod_info::PodInfo,
    resources::Resources,
    snapshot::{NodeInfo, allocatable_of},
};

/// The plugin.
#[derive(Clone)]
pub struct NodeResourcesFit {
    ignored: Arc<Ignored>,
    strategy: Strategy,
    resources: Vec<ResourceSpec>,
}

/// Extended resources that are somebody else's business: by their names, and by what is before the slash.
#[derive(Default)]
struct Ignored {
    names: HashSet<String>,
    groups: HashSet<String>,
}

impl Ignored {
    fn contains(&self, name: &str) -> bool {
        let group = name.split('/').next().unwrap_or_default();
        let listed = self.names.contains(name) || self.groups.contains(group);
        listed && is_extended(name)
    }
}

impl NodeResourcesFit {
    pub fn new(args: &NodeResourcesFitArgs) -> Self {
        let set = |list: &[String]| list.iter().cloned().collect();
        let strategy = args.scoring_strategy.clone().unwrap_or_default();
        Self {
            ignored: Arc::new(Ignored {
                names: set(&args.ignored_resources),
                groups: set(&args.ignored_resource_groups),
            }),
            strategy: Strategy::of(&strategy),
            resources: strategy.resources,
        }
    }
}

impl Filter for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, state: &CycleState) -> Result<(), Refusal> {
        let devices = state.devices.as_deref();
        let by_devices = |name: &str| devices.is_some_and(|devices| devices.stand_for(name));
        check(
            &pod.requests,
            &node.requested,
            &node.allocatable,
            by_devices,
            &self.ignored,
        )
    }

    fn changes(&self) -> &'static [Change] {
        &[
            Change::NodeAdded,
            Change::NodeAllocatable,
            Change::PodRemoved,
        ]
    }

    /// The node must have room now, or have it once pods of a lower priority have gone, and not have had it before. Room that
    /// others hold is none.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let node = event.node;
        let stays = |other: &&PodInfo| other.priority >= pod.priority;
        let mut held = Resources::default();
        let nominated = event.nominated.iter().map(AsRef::as_ref).filter(stays);
        for other in nominated.filter(|other| other.uid != pod.uid) {
            held.add(&other.requests);
        }
        let mut used = held.clone();
        used.add(&node.requested);
        if self.gains(pod, event, &used, event.freed()) {
            return true;
        }
        let mut others = node.pods.values();
        if !pod.may_preempt() || others.all(|other| other.priority >= pod.priority) {
            return false;
        }
        let mut used = held;
        for other in node.pods.values().map(AsRef::as_ref).filter(stays) {
            used.add(&other.requests);
        }
        self.gains(pod, event, &used, event.freed().filter(stays))
    }
}

impl NodeResourcesFit {
    /// Whether the pod fits beside what is used, and did not before the event.
    fn gains(
        &self,
        pod: &PodInfo,
        event: &ClusterEvent<'_>,
        used: &Resources,
        freed: Option<&PodInfo>,
    ) -> bool {
        let (want, have) = (&pod.requests, &event.node.allocatable);
        let fits = |used: &Resources, have: &Resources| {
            // What the node does not have at all devices may stand for.
            let verdict = check(want, used, have, |_| true, &self.ignored);
            verdict.is_ok()
        };
        let fitted_before = match (freed, event.before) {
            (Some(freed), _) => {
                let mut used = used.clone();
                used.add(&freed.requests);
                fits(&used, have)
            }
            (None, Some(before)) => fits(used, &allocatable_of(before)),
            // Nothing of this changed, or it is a new node.
            (None, None) => event.change != Change::NodeAdded,
        };
        !fitted_before && fits(used, have)
    }
}

/// Refuses with a reason for each resource of which a node has not enough. Other pods are in the way where an empty node
/// would have enough of all of them. Of extended resources that the node does not have some are had `by_devices`.
fn check(
    want: &Resources,
    used: &Resources,
    have: &Resources,
    by_devices: impl Fn(&str) -> bool,
    ignored: &Ignored,
) -> Result<(), Refusal> {
    let mut reasons: Vec<Reason> = Vec::new();
    let mut resolvable = true;
    if used.pods.saturating_add(1) > have.pods {
        reasons.push("Too many pods".into());
    }
    let amounts = [
        (
            "Insufficient cpu",
            want.milli_cpu,
            used.milli_cpu,
            have.milli_cpu,
        ),
        (
            "Insufficient memory",
            want.memory_bytes,
            used.memory_bytes,
            have.memory_bytes,
        ),
        (
            "Insufficient ephemeral-storage",
            want.ephemeral_bytes,
            used.ephemeral_bytes,
            have.ephemeral_bytes,
        ),
    ];
    for (reason, want, used, have) in amounts {
        if want > 0 && want > have.saturating_sub(used) {
            reasons.push(reason.into());
            resolvable &= want <= have;
        }
    }
    for (name, want) in want
        .scalars
        .iter()
        .filter(|(name, _)| !ignored.contains(name))
    {
        let have = have.scalars.get(name).copied().unwrap_or(0);
        let used = used.scalars.get(name).copied().unwrap_or(0);
        if have == 0 && by_devices(name) {
            continue;
        }
        if *want > 0 && *want > have.saturating_sub(used) {
            reasons.push(format!("Insufficient {name}").into());
            resolvable &= *want <= have;
        }
    }
    match reasons.is_empty() {
        true => Ok(()),
        false => Err(Refusal {
            reasons,
            resolvable,
        }),
    }
}

impl Score for NodeResourcesFit {
    fn name(&self) -> &'static str {
        "NodeResourcesFit"
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let resources = self.resources.iter();
        let usages = resources.map(|resource| scoring::usage(&resource.name, pod, node, true));
        self.strategy.score(&self.resources, usages)
    }
}
