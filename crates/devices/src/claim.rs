//! Which claims a pod has, and what their state says.

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{
    AllocatedDeviceStatus, AllocationResult, DeviceAllocationConfiguration,
    DeviceRequestAllocationResult, ResourceClaim, ResourceClaimConsumerReference as Consumer,
};

/// Keeps an allocated claim until it is given back.
pub const FINALIZER: &str = "resource.kubernetes.io/delete-protection";
/// Which of its pod's claims a claim was made for.
pub const POD_CLAIM: &str = "resource.kubernetes.io/pod-claim-name";
/// Whether the scheduler made a claim for a pod's extended resources: `true`.
pub const EXTENDED_RESOURCES: &str = "resource.kubernetes.io/extended-resource-claim";
/// Pods that may use a claim together.
pub const MAX_RESERVATIONS: usize = 256;

/// The claims that a pod names.
pub fn claims(pod: &Pod) -> impl Iterator<Item = &PodResourceClaim> {
    let spec = pod.spec.iter();
    spec.flat_map(|spec| spec.resource_claims.iter().flatten())
}

/// The ResourceClaim that is meant: the user's, or the one that was made and noted in the pod's status. `None`: none is needed.
///
/// # Errors
/// In upstream's words, where it was not made yet.
pub fn name_of<'a>(pod: &'a Pod, claim: &'a PodResourceClaim) -> Result<Option<&'a str>, String> {
    if let Some(name) = &claim.resource_claim_name {
        return Ok(Some(name));
    }
    let full = || {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        format!("pod \"{namespace}/{name}\"")
    };
    if claim.resource_claim_template_name.is_none() {
        return Err(format!(
            "{}, spec.resourceClaim {:?}: none of the supported fields are set",
            full(),
            claim.name
        ));
    }
    let statuses = pod.status.iter();
    let mut statuses = statuses.flat_map(|status| status.resource_claim_statuses.iter().flatten());
    match statuses.find(|status| status.name == claim.name) {
        Some(status) => Ok(status.resource_claim_name.as_deref()),
        None => Err(format!("{}: ResourceClaim not created yet", full())),
    }
}

/// A claim of a made claim's name that was not made for this pod is another's.
///
/// # Errors
/// Upstream's words for it.
pub fn check_owner(pod: &Pod, claim: &ResourceClaim) -> Result<(), String> {
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    if controllers.any(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref()) {
        return Ok(());
    }
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    Err(format!(
        "ResourceClaim {} was not created for Pod {namespace}/{name} (Pod is not owner)",
        full_name(claim)
    ))
}

/// `namespace/name`
pub fn full_name(claim: &ResourceClaim) -> String {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    format!("{namespace}/{name}")
}

pub fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// The devices of an allocation.
pub fn results(allocation: &AllocationResult) -> &[DeviceRequestAllocationResult] {
    let devices = allocation.devices.as_ref();
    let results = devices.and_then(|devices| devices.results.as_deref());
    results.unwrap_or_default()
}

/// What drivers are told besides.
pub fn configurations(allocation: &AllocationResult) -> &[DeviceAllocationConfiguration] {
    let devices = allocation.devices.as_ref();
    let config = devices.and_then(|devices| devices.config.as_deref());
    config.unwrap_or_default()
}

pub fn reserved(claim: &ResourceClaim) -> &[Consumer] {
    let status = claim.status.as_ref();
    let reserved = status.and_then(|status| status.reserved_for.as_deref());
    reserved.unwrap_or_default()
}

/// Whether a claim is reserved for the pod of a uid.
pub fn is_reserved_for(claim: &ResourceClaim, uid: &str) -> bool {
    reserved(claim).iter().any(|consumer| consumer.uid == uid)
}

/// Whether a consumer is a pod.
pub fn is_pod(consumer: &Consumer) -> bool {
    let group = consumer.api_group.as_deref().unwrap_or_default();
    group.is_empty() && consumer.resource == "pods"
}

/// A pod as the consumer of a claim.
pub fn consumer(pod: &Pod) -> Consumer {
    Consumer {
        api_group: None,
        resource: "pods".to_owned(),
        name: pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    }
}

/// What a driver says of an allocated device.
pub fn device_status<'a>(
    claim: &'a ResourceClaim,
    result: &DeviceRequestAllocationResult,
) -> Option<&'a AllocatedDeviceStatus> {
    let devices = claim.status.as_ref()?.devices.as_deref()?;
    devices.iter().find(|status| {
        status.device == result.device
            && status.driver == result.driver
            && status.pool == result.pool
    })
}

/// The request of a claim that an allocated device is for: `request` of `request/subrequest`.
pub fn base_request(request: &str) -> &str {
    request.split_once('/').map_or(request, |(base, _)| base)
}

/// Whether the scheduler made the claim for the extended resources of a pod.
pub fn is_for_extended_resources(claim: &ResourceClaim, pod_uid: &str) -> bool {
    let annotations = claim.metadata.annotations.as_ref();
    let marked = annotations.and_then(|all| all.get(EXTENDED_RESOURCES));
    let owners = claim.metadata.owner_references.iter().flatten();
    let mut controllers = owners.filter(|owner| owner.controller == Some(true));
    marked.is_some_and(|value| value == "true") && controllers.any(|owner| owner.uid == pod_uid)
}
