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
    resources::{Amount, Resources},
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

    fn remedies(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let (want, used, have) = (&pod.requests, &node.requested, &node.allocatable);
        let lacking = shortages(want, used, have, |_| false, &self.ignored);
        lacking.map(|shortage| shortage.remedy()).collect()
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

/// A resource of which a node has not enough.
struct Shortage<'a> {
    name: &'a str,
    want: Amount,
    free: Amount,
    /// What an empty node has.
    all: Amount,
}

impl Shortage<'_> {
    fn reason(&self) -> Reason {
        match self.name {
            "pods" => "Too many pods".into(),
            "cpu" => "Insufficient cpu".into(),
            "memory" => "Insufficient memory".into(),
            "ephemeral-storage" => "Insufficient ephemeral-storage".into(),
            name => format!("Insufficient {name}").into(),
        }
    }

    /// Whether an empty node would have enough. Upstream ends no pods for the number of pods alone, but does beside others.
    fn is_resolvable(&self) -> bool {
        self.name == "pods" || self.want <= self.all
    }

    fn remedy(&self) -> String {
        let text = |amount| amount_text(self.name, amount);
        let (lacking, free) = (
            text(self.want.saturating_sub(self.free)),
            text(self.free.max(0)),
        );
        let (name, all) = (self.name, text(self.all));
        format!("{lacking} more {name} ({free} of {all} free)")
    }
}

/// As people write amounts of a resource, rounded up.
fn amount_text(name: &str, amount: Amount) -> String {
    const MEBIBYTE: Amount = 1 << 20;
    let is_bytes = matches!(name, "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    match name {
        "cpu" if amount % 1000 == 0 => (amount / 1000).to_string(),
        "cpu" => format!("{amount}m"),
        _ if is_bytes && amount >= MEBIBYTE => {
            let mebibytes = amount.saturating_add(MEBIBYTE - 1) / MEBIBYTE;
            match mebibytes % 1024 {
                0 => format!("{}Gi", mebibytes / 1024),
                _ => format!("{mebibytes}Mi"),
            }
        }
        _ => amount.to_string(),
    }
}

/// What a node has not enough of, in upstream's order. Of extended resources that the node does not have some are had `by_devices`.
fn shortages<'a>(
    want: &'a Resources,
    used: &'a Resources,
    have: &'a Resources,
    by_devices: impl Fn(&str) -> bool + 'a,
    ignored: &'a Ignored,
) -> impl Iterator<Item = Shortage<'a>> {
    let basic = [
        ("pods", 1),
        ("cpu", want.milli_cpu),
        ("memory", want.memory_bytes),
        ("ephemeral-storage", want.ephemeral_bytes),
    ];
    let scalars = want
        .scalars
        .iter()
        .map(|(name, want)| (name.as_str(), *want));
    let scalars = scalars.filter(move |(name, _)| {
        !ignored.contains(name) && (have.of(name) != 0 || !by_devices(name))
    });
    basic.into_iter().chain(scalars).filter_map(|(name, want)| {
        let all = have.of(name);
        let free = all.saturating_sub(used.of(name));
        let lacks = want > 0 && want > free;
        lacks.then_some(Shortage {
            name,
            want,
            free,
            all,
        })
    })
}

/// Refuses with a reason for each resource of which a node has not enough. Other pods are in the way where an empty node
/// would have enough of all of them.
fn check(
    want: &Resources,
    used: &Resources,
    have: &Resources,
    by_devices: impl Fn(&str) -> bool,
    ignored: &Ignored,
) -> Result<(), Refusal> {
    let mut refusal = Refusal {
        reasons: Vec::new(),
        resolvable: true,
    };
    for shortage in shortages(want, used, have, by_devices, ignored) {
        refusal.reasons.push(shortage.reason());
        refusal.resolvable &= shortage.is_resolvable();
    }
    match refusal.reasons.is_empty() {
        true => Ok(()),
        false => Err(refusal),
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
