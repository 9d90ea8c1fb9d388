//! How a pod says that it was preempted.

use k8s_openapi::api::core::v1::Pod;

/// Why a pod ends that was preempted: reason of its condition.
pub const REASON: &str = "PreemptionByScheduler";
/// The type of that condition.
pub const CONDITION: &str = "DisruptionTarget";

/// Whether a pod's status says that it was preempted.
pub fn is_marked(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let condition = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == CONDITION);
    condition.is_some_and(|c| c.status == "True" && c.reason.as_deref() == Some(REASON))
}
