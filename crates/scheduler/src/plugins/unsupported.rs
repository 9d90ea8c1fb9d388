//! Keeps pods whose rules this scheduler does not know off every node, and says so: a rule that is silently ignored is worse
//! than a pod that waits.

use crate::{
    framework::{Change, Filter},
    pod_info::PodInfo,
    snapshot::NodeInfo,
};

pub struct Unsupported;

impl Filter for Unsupported {
    fn name(&self) -> &'static str {
        "Unsupported"
    }

    fn filter(&self, pod: &PodInfo, _node: &NodeInfo, reasons: &mut Vec<String>) {
        reasons.extend(pod.unsupported().map(str::to_owned));
    }

    /// It is about the pod alone, which is tried again when its spec changes.
    fn changes(&self) -> &'static [Change] {
        &[]
    }
}
