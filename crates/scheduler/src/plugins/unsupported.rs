//! Keeps pods whose rules this scheduler does not know off every node, and says so: a rule that is silently ignored is worse
//! than a pod that waits.

use crate::{
    framework::{Change, CycleState, Filter, PreFilter, Reason, Refusal},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

pub struct Unsupported;

impl Filter for Unsupported {
    fn name(&self) -> &'static str {
        "Unsupported"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        match pod.unsupported() {
            Some(why) => Err(why.into()),
            None => Ok(PreFilter::Skip),
        }
    }

    fn filter(&self, _: &PodInfo, _: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        Ok(())
    }

    /// It is about the pod alone, which is tried again when its spec changes.
    fn changes(&self) -> &'static [Change] {
        &[]
    }
}
