//! TaintToleration: taints keep pods away that do not tolerate them; fewer intolerable PreferNoSchedule taints are better.

use k8s_openapi::api::core::v1::{Node, Taint};
use knarr_meta::taints;

use crate::{
    framework::{
        Change, ClusterEvent, CycleState, Filter, Refusal, Score, ScoreState, normalize_by_max,
    },
    pod_info::PodInfo,
    snapshot::{NodeInfo, taints_of},
};

pub struct TaintToleration;

/// Effects that keep a pod away.
const HARD: [&str; 2] = ["NoSchedule", "NoExecute"];

/// The first taint that keeps the pod away.
fn untolerated<'a>(pod: &PodInfo, taints: &'a [Taint]) -> Option<&'a Taint> {
    taints::untolerated(pod.tolerations(), taints, &HARD)
}

/// As kubectl writes it: `key=value:effect`.
fn said(taint: &Taint) -> String {
    match taint.value.as_deref() {
        None | Some("") => format!("{}:{}", taint.key, taint.effect),
        Some(value) => format!("{}={value}:{}", taint.key, taint.effect),
    }
}

impl Filter for TaintToleration {
    fn name(&self) -> &'static str {
        "TaintToleration"
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        match untolerated(pod, node.taints()) {
            Some(_) => Err(Refusal::unresolvable("node(s) had untolerated taint(s)")),
            None => Ok(()),
        }
    }

    fn remedies(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let hard = node.taints().iter();
        let hard = hard.filter(|taint| HARD.contains(&taint.effect.as_str()));
        let untolerated = hard.filter(|taint| !taints::tolerates(pod.tolerations(), taint));
        untolerated
            .map(|taint| format!("a toleration of {}", said(taint)))
            .collect()
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

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let soft = node
            .taints()
            .iter()
            .filter(|t| t.effect == "PreferNoSchedule");
        let count = soft
            .filter(|t| !taints::tolerates(pod.tolerations(), t))
            .count();
        i64::try_from(count).unwrap_or(i64::MAX)
    }

    fn normalize(&self, _: &[&NodeInfo], _: &ScoreState, scores: &mut [i64]) {
        normalize_by_max(scores, true);
    }
}
