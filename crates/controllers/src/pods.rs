//! What controllers ask about a pod.

mod summary;
mod view;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

pub(crate) use summary::PodSummary;
pub(crate) use view::View;

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status
        .as_ref()
        .and_then(|s| s.phase.as_deref())
        .unwrap_or_default()
}

/// Its containers have stopped for good.
pub(crate) fn is_terminal(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// It counts towards its controller's replicas: neither ended nor being deleted.
pub(crate) fn is_active(pod: &Pod) -> bool {
    !is_terminal(pod) && pod.metadata.deletion_timestamp.is_none()
}

pub(crate) fn condition<'a>(pod: &'a Pod, type_: &str) -> Option<&'a PodCondition> {
    pod.status
        .as_ref()?
        .conditions
        .iter()
        .flatten()
        .find(|c| c.type_ == type_)
}

pub(crate) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|c| c.status == "True")
}

/// When a ready pod counts as available, having been ready for `min_ready_seconds`; `None` when it is not ready.
pub(crate) fn available_at(pod: &Pod, min_ready_seconds: i32) -> Option<Timestamp> {
    View::available_at(pod, min_ready_seconds)
}

/// How long until the next ready pod has been ready for `min_ready_seconds`.
pub(crate) fn next_available<'a, P: View>(
    pods: impl IntoIterator<Item = &'a P>,
    min_ready_seconds: i32,
    now: Timestamp,
) -> Option<Duration> {
    let times = pods
        .into_iter()
        .filter_map(|pod| View::available_at(pod, min_ready_seconds));
    let due = times.filter(|at| *at > now).min()?;
    Duration::try_from(now.duration_until(due).max(SignedDuration::ZERO)).ok()
}

pub(crate) fn node_name(pod: &Pod) -> &str {
    pod.spec
        .as_ref()
        .and_then(|s| s.node_name.as_deref())
        .unwrap_or_default()
}

/// The pod's addresses, the primary one first.
pub(crate) fn addresses(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let listed: Vec<&str> = status
        .pod_ips
        .iter()
        .flatten()
        .map(|ip| ip.ip.as_str())
        .collect();
    if listed.is_empty() {
        return status
            .pod_ip
            .as_deref()
            .filter(|ip| !ip.is_empty())
            .into_iter()
            .collect();
    }
    listed
}

/// The container port a service's target port means in this pod: a number as it is, a name by the containers' ports
/// (those of restartable init containers too) with the same protocol.
pub(crate) fn target_port(
    pod: &Pod,
    target: Option<&IntOrString>,
    port: i32,
    protocol: &str,
) -> Option<i32> {
    let name = match target {
        None => return Some(port),
        Some(IntOrString::Int(0)) => return Some(port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) if name.is_empty() => return Some(port),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|c| c.ports.iter().flatten());
    let named = ports.into_iter().find(|p| {
        p.name.as_ref() == Some(name) && p.protocol.as_deref().unwrap_or("TCP") == protocol
    })?;
    Some(named.container_port)
}

#[cfg(test)]
mod tests;
