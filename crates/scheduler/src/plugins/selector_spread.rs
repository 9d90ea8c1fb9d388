//! Spreads the pods of one controller over nodes: what upstream's PodTopologySpread does with its default constraints, by
//! the controller's uid instead of by its selector.

use crate::{
    framework::{Score, normalize_by_max},
    pod_info::PodInfo,
    snapshot::NodeInfo,
};

pub struct SelectorSpread;

impl Score for SelectorSpread {
    fn name(&self) -> &'static str {
        "SelectorSpread"
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo) -> i64 {
        let uid = pod.controller_uid.as_ref();
        let count = uid.and_then(|uid| node.by_controller.get(uid));
        count.map_or(0, |count| i64::try_from(*count).unwrap_or(i64::MAX))
    }

    fn normalize(&self, scores: &mut [i64]) {
        normalize_by_max(scores, true);
    }

    fn weight(&self) -> i64 {
        2
    }
}
