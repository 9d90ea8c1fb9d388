//! Rolling a DaemonSet's template out: pods are replaced, or doubled first, as many at a time as the set allows. Pure
//! functions.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::observed::Observed;
use crate::deployment::rollout::scaled;

/// How many nodes may be without an available pod, or have two, at a time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Rolling {
    max_unavailable: usize,
    max_surge: usize,
    desired: usize,
    may_surge: bool,
}

/// The pods of a node that are not on their way out.
enum OnNode<'a> {
    Nothing,
    New(&'a Arc<Pod>),
    Old(&'a Arc<Pod>),
    Both {
        new: &'a Arc<Pod>,
        old: &'a Arc<Pod>,
    },
    /// More than one of either: that is put right first.
    TooMany,
}

impl Rolling {
    /// `None`: the set's pods are replaced when somebody deletes them.
    pub(crate) fn of(observed: &Observed<'_>) -> Option<Self> {
        let strategy = observed.set.spec.as_ref()?.update_strategy.as_ref()?;
        if strategy.type_.as_deref() != Some("RollingUpdate") {
            return None;
        }
        let desired = observed.wanted().count();
        let (surge, unavailable) = bounds(observed.set);
        let share = |value: Option<&IntOrString>, total: usize| {
            let total = i32::try_from(total).unwrap_or(i32::MAX);
            usize::try_from(scaled(value, total, true)).unwrap_or(0)
        };
        let max_surge = share(surge, desired);
        let max_unavailable = match share(unavailable, desired) {
            0 if max_surge == 0 && desired > 0 => 1,
            share => share,
        };
        Some(Self {
            max_unavailable,
            max_surge,
            desired,
            may_surge: share(surge, 1) > 0,
        })
    }

    /// Whether a node may have two pods.
    pub(crate) fn surges(&self) -> bool {
        self.may_surge
    }

    /// Nodes that get a pod, and pods that go.
    pub(crate) fn plan(&self, observed: &Observed<'_>) -> (Vec<String>, Vec<Arc<Pod>>) {
        if self.max_surge == 0 {
            (Vec::new(), self.replaced(observed))
        } else {
            self.surged(observed)
        }
    }

    /// Old pods that are not available go whatever the limit: that makes nothing worse.
    fn replaced(&self, observed: &Observed<'_>) -> Vec<Arc<Pod>> {
        let mut unavailable = 0;
        let mut replaced = Vec::new();
        let mut candidates = Vec::new();
        let bare = observed
            .wanted()
            .filter(|n| !observed.pods.contains_key(*n));
        unavailable += bare.count();
        for pods in observed.pods.values() {
            match OnNode::of(observed, pods) {
                OnNode::New(pod) => unavailable += usize::from(!observed.is_available(pod)),
                OnNode::Old(pod) if observed.is_available(pod) => candidates.push(pod.clone()),
                OnNode::Old(pod) => {
                    unavailable += 1;
                    replaced.push(pod.clone());
                }
                OnNode::Nothing | OnNode::Both { .. } | OnNode::TooMany => unavailable += 1,
            }
        }
        candidates.truncate(self.max_unavailable.saturating_sub(unavailable));
        replaced.extend(candidates);
        replaced
    }

    /// Old pods go when the new one beside them is available; where they are not available themselves, or should not be
    /// there, nothing is waited for.
    fn surged(&self, observed: &Observed<'_>) -> (Vec<String>, Vec<Arc<Pod>>) {
        let (mut surge, mut available) = (0, 0);
        let mut delete = Vec::new();
        let mut misplaced = Vec::new();
        let mut create = Vec::new();
        let mut candidates = Vec::new();
        for (node, pods) in &observed.pods {
            let on_node = OnNode::of(observed, pods);
            if let OnNode::New(pod) | OnNode::Old(pod) | OnNode::Both { old: pod, .. } = &on_node {
                available += usize::from(observed.is_available(pod));
            }
            match on_node {
                OnNode::Nothing | OnNode::New(_) => {}
                OnNode::TooMany => surge += 1,
                OnNode::Both { new, old } if observed.is_available(new) => delete.push(old.clone()),
                OnNode::Both { .. } => surge += 1,
                OnNode::Old(pod) => {
                    let wanted = observed.nodes.get(node).is_some_and(|fit| fit.run);
                    match (observed.is_available(pod), wanted) {
                        (false, false) => delete.push(pod.clone()),
                        (false, true) => create.push(node.clone()),
                        (true, false) => misplaced.push(pod.clone()),
                        (true, true) => candidates.push(node.clone()),
                    }
                }
            }
        }
        misplaced.truncate(usize::saturating_sub(available, self.desired));
        delete.extend(misplaced);
        candidates.truncate(self.max_surge.saturating_sub(surge));
        create.extend(candidates);
        (create, delete)
    }
}

/// maxSurge and maxUnavailable.
fn bounds(set: &DaemonSet) -> (Option<&IntOrString>, Option<&IntOrString>) {
    let strategy = set.spec.as_ref().and_then(|s| s.update_strategy.as_ref());
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    (
        rolling.and_then(|r| r.max_surge.as_ref()),
        rolling.and_then(|r| r.max_unavailable.as_ref()),
    )
}

impl<'a> OnNode<'a> {
    fn of(observed: &Observed<'_>, pods: &'a [Arc<Pod>]) -> Self {
        let staying = pods
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none());
        let (new, old): (Vec<_>, Vec<_>) = staying.partition(|pod| observed.is_updated(pod));
        match (new.as_slice(), old.as_slice()) {
            ([], []) => Self::Nothing,
            ([new], []) => Self::New(new),
            ([], [old]) => Self::Old(old),
            ([new], [old]) => Self::Both { new, old },
            _ => Self::TooMany,
        }
    }
}

#[cfg(test)]
mod tests;
