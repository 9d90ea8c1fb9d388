//! A constraint, read for one pod.

use std::sync::Arc;

use k8s_openapi::api::core::v1::TopologySpreadConstraint;
use knarr_meta::{
    labels::{Operator, ParseError, Requirement, Selector},
    taints,
};

use crate::{
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
    tally::{Scope, Tally},
};

pub const DO_NOT_SCHEDULE: &str = "DoNotSchedule";
pub const SCHEDULE_ANYWAY: &str = "ScheduleAnyway";

/// Taints with these effects keep pods off a node.
const HARD: [&str; 2] = ["NoSchedule", "NoExecute"];

/// How the pods of a scope are to be spread.
#[derive(Clone, Debug)]
pub struct Constraint {
    pub topology_key: String,
    pub max_skew: i64,
    /// Parts that there have to be.
    pub min_domains: usize,
    pub scope: Scope,
    /// One if the pod itself is in the scope, otherwise none.
    pub own: i64,
    /// Only nodes count that the pod's own rules about nodes allow, and only those whose taints it tolerates.
    honor_affinity: bool,
    honor_taints: bool,
}

impl Constraint {
    /// The constraints that the pod itself has.
    pub fn own(pod: &PodInfo) -> &[TopologySpreadConstraint] {
        let spec = pod.spec();
        let own = spec.and_then(|spec| spec.topology_spread_constraints.as_deref());
        own.unwrap_or_default()
    }

    /// Those that are met in one way.
    ///
    /// # Errors
    /// A selector cannot be read.
    pub fn all(
        all: &[TopologySpreadConstraint],
        when_unsatisfiable: &str,
        pod: &PodInfo,
    ) -> Result<Vec<Self>, ParseError> {
        let wanted = all.iter();
        wanted
            .filter(|c| c.when_unsatisfiable == when_unsatisfiable)
            .map(|c| Self::new(c, pod))
            .collect()
    }

    fn new(from: &TopologySpreadConstraint, pod: &PodInfo) -> Result<Self, ParseError> {
        let selector = Selector::from_optional(from.label_selector.as_ref())?;
        let selector = with_labels_of(pod, from.match_label_keys.as_deref(), selector)?;
        Ok(Self::of(from, Scope::within(&pod.namespace, selector), pod))
    }

    /// One about the pods of a scope.
    pub fn of(from: &TopologySpreadConstraint, scope: Scope, pod: &PodInfo) -> Self {
        let honored = |policy: &Option<String>, default: &str| {
            policy.as_deref().unwrap_or(default) == "Honor"
        };
        Self {
            topology_key: from.topology_key.clone(),
            max_skew: i64::from(from.max_skew),
            min_domains: usize::try_from(from.min_domains.unwrap_or(1)).unwrap_or(1),
            own: i64::from(scope.contains(pod)),
            scope,
            honor_affinity: honored(&from.node_affinity_policy, "Honor"),
            honor_taints: honored(&from.node_taints_policy, "Ignore"),
        }
    }

    /// One of upstream's default constraints.
    pub fn soft(topology_key: &str, max_skew: i64, scope: Scope) -> Self {
        Self {
            topology_key: topology_key.to_owned(),
            max_skew,
            min_domains: 1,
            own: 0,
            scope,
            honor_affinity: true,
            honor_taints: false,
        }
    }

    /// Whether a node counts.
    pub fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        let allowed = |node: &NodeInfo| {
            let node = node.node.as_deref();
            node.is_some_and(|node| pod.may_go_to(node))
        };
        let tolerated = |node: &NodeInfo| {
            taints::untolerated(pod.tolerations(), node.taints(), &HARD).is_none()
        };
        (!self.honor_affinity || allowed(node)) && (!self.honor_taints || tolerated(node))
    }

    /// The pods that it counts.
    pub fn tally(&self, cluster: &Snapshot) -> Counted {
        // A selector that selects everything counts nothing, as upstream's does.
        let selects = !self.scope.selector.is_empty();
        Counted(selects.then(|| cluster.tally(&self.scope)))
    }
}

/// The pods that a constraint counts: those that will stay.
pub struct Counted(Option<Arc<Tally>>);

impl Counted {
    pub fn on(&self, slot: usize) -> i64 {
        self.0.as_ref().map_or(0, |tally| tally.on(slot).staying())
    }

    /// The nodes that have any.
    pub fn iter(&self) -> impl Iterator<Item = (usize, i64)> {
        let counts = self.0.iter().flat_map(|tally| tally.iter());
        counts.map(|(slot, count)| (slot, count.staying()))
    }
}

/// The selector, for pods that have the same values of some labels as this one. The API server has put those into it when it
/// made the pod, with the values of then; pods from elsewhere come without.
fn with_labels_of(
    pod: &PodInfo,
    keys: Option<&[String]>,
    selector: Selector,
) -> Result<Selector, ParseError> {
    let keys = keys.unwrap_or_default().iter();
    let same: Vec<_> = keys
        .filter(|key| selector.requirements().iter().all(|r| r.key() != *key))
        .filter_map(|key| Some((key, pod.labels.get(key)?)))
        .collect();
    if same.is_empty() || selector.is_nothing() {
        return Ok(selector);
    }
    let mut requirements = selector.requirements().to_vec();
    for (key, value) in same {
        requirements.push(Requirement::new(
            key,
            Operator::Equals,
            vec![value.to_owned()],
        )?);
    }
    Ok(Selector::new(requirements))
}
