//! TaintToleration: taints keep pods away that do not tolerate them; fewer intolerable PreferNoSchedule taints are better.

use k8s_openapi::api::core::v1::{Node, Taint, Toleration};

use crate::{
    framework::{Change, ClusterEvent, Filter, Score, normalize_by_max},
    pod_info::PodInfo,
    snapshot::{NodeInfo, taints_of},
};

pub struct TaintToleration;

/// Whether any toleration covers a taint (upstream `Toleration.ToleratesTaint`).
pub fn tolerates(tolerations: &[Toleration], key: &str, value: &str, effect: &str) -> bool {
    let empty_or = |mine: &Option<String>, theirs: &str| match mine.as_deref() {
        None | Some("") => true,
        Some(mine) => mine == theirs,
    };
    tolerations.iter().any(|toleration| {
        let value_fits = match toleration.operator.as_deref() {
            Some("Exists") => true,
            None | Some("" | "Equal") => toleration.value.as_deref().unwrap_or_default() == value,
            Some(_) => false,
        };
        empty_or(&toleration.effect, effect) && empty_or(&toleration.key, key) && value_fits
    })
}

fn tolerated(pod: &PodInfo, taint: &Taint) -> bool {
    let value = taint.value.as_deref().unwrap_or_default();
    tolerates(pod.tolerations(), &taint.key, value, &taint.effect)
}

/// The first taint that keeps the pod away.
fn untolerated<'a>(pod: &PodInfo, taints: &'a [Taint]) -> Option<&'a Taint> {
    let hard = taints
        .iter()
        .filter(|t| matches!(t.effect.as_str(), "NoSchedule" | "NoExecute"));
    hard.into_iter().find(|t| !tolerated(pod, t))
}

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, reasons: &mut Vec<String>) {
        if let Some(taint) = untolerated(pod, node.taints()) {
            let value = taint.value.as_deref().unwrap_or_default();
            reasons.push(format!(
                "node(s) had untolerated taint {{{}: {value}}}",
                taint.key
            ));
        }
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeTaints]
    }

    /// A taint that kept the pod away must have gone.
    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let was_kept_away = |before: &Node| untolerated(pod, taints_of(before)).is_some();
        event.before.is_none_or(was_kept_away) && untolerated(pod, event.node.taints()).is_none()
    }
}

impl Score for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let soft = node
            .taints()
            .iter()
            .filter(|t| t.effect == "PreferNoSchedule");
        let count = soft.filter(|t| !tolerated(pod, t)).count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, true);
    }

    fn weight(&self) -> i64 {
        3
    }
}
