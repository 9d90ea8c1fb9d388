//! What the pod as a whole has been promised and has: upstream's `status.allocatedResources` and `status.resources`
//! (`convertToAPIPodLevelResourcesStatus` in `pkg/kubelet/kubelet_pods.go`).

use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};

use super::{
    Input,
    resources::{Amounts, put},
};
use crate::resources::{
    self, MIN_LIMIT_MILLI, MIN_SHARES, Resizable, cpu_quantity, memory_quantity, milli_of_quota,
    milli_of_shares,
    totals::{self, Overhead},
};

/// Sets both. The pod asks for what it is promised.
pub(super) fn apply(input: &Input<'_>, status: &mut PodStatus) {
    let requests = totals::told(&totals::requests(input.pod, Overhead::Counts));
    status.resources = Some(match input.base.phase.as_deref() {
        // Upstream looks at its cgroup once the API has heard that it runs.
        Some("Running") => actual(input, requests.as_ref()),
        _ => ResourceRequirements {
            limits: totals::told(&totals::limits(input.pod, Overhead::Counts)),
            requests: requests.clone(),
            ..stated(input)
        },
    });
    status.allocated_resources = requests;
}

/// What is stated for the pod.
fn stated(input: &Input<'_>) -> ResourceRequirements {
    let spec = input.pod.spec.as_ref();
    let stated = spec.and_then(|spec| spec.resources.clone());
    stated.unwrap_or_default()
}

/// What is stated, with what the pod's cgroup is set to. Upstream reads that back, of version 2 with what is lost in the conversion of
/// shares to weights; here it is as it was written. What it is not set to stays as it was told.
fn actual(input: &Input<'_>, promised: Option<&Amounts>) -> ResourceRequirements {
    let mut actual = stated(input);
    let wanted = Resizable::of(Some(&actual));
    let before = input.base.resources.as_ref();
    let mut requests = actual.requests.take().unwrap_or_default();
    let mut limits = actual.limits.take().unwrap_or_default();
    let keep = |list: &mut Amounts, told: Option<&Amounts>, name: &str| {
        let told = told.and_then(|told| told.get(name));
        list.extend(told.map(|amount| (name.to_owned(), amount.clone())));
    };
    let told_requests = before.and_then(|before| before.requests.as_ref());
    let told_limits = before.and_then(|before| before.limits.as_ref());
    match input.cgroup.map(|set| milli_of_shares(set.shares)) {
        // The least there is says nothing.
        Some(milli) if milli.max(wanted.cpu_request) > MIN_SHARES => {
            put(
                &mut requests,
                "cpu",
                milli,
                wanted.cpu_request,
                cpu_quantity,
            );
        }
        Some(_) => {}
        None => keep(&mut requests, told_requests, "cpu"),
    }
    if !requests.contains_key("memory") {
        keep(&mut requests, promised, "memory");
    }
    let quota = input.cgroup.and_then(|set| set.quota);
    match quota.map(|quota| milli_of_quota(quota, resources::CPU_PERIOD_MICROS)) {
        Some(milli) if milli.max(wanted.cpu_limit) > MIN_LIMIT_MILLI => {
            put(&mut limits, "cpu", milli, wanted.cpu_limit, cpu_quantity);
        }
        Some(_) => {}
        None => keep(&mut limits, told_limits, "cpu"),
    }
    match input.cgroup.and_then(|set| set.memory) {
        Some(bytes) => put(
            &mut limits,
            "memory",
            bytes,
            wanted.memory_limit,
            memory_quantity,
        ),
        None => keep(&mut limits, told_limits, "memory"),
    }
    let some = |list: Amounts| (!list.is_empty()).then_some(list);
    ResourceRequirements {
        requests: some(requests),
        limits: some(limits),
        ..actual
    }
}
