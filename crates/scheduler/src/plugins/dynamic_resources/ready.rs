//! Devices that others have to make ready before a pod is bound (upstream's binding conditions).

use std::time::Duration;

use k8s_openapi::api::resource::v1::{DeviceRequestAllocationResult, ResourceClaim};
use knarr_devices::claim;

/// How long it may take (upstream's bindingTimeout).
pub(super) const BINDING_TIMEOUT: Duration = Duration::from_secs(600);

fn waiting(claim: &ResourceClaim) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let allocation = claim::allocation(claim).into_iter();
    let results = allocation.flat_map(claim::results);
    results.filter(|result| result.binding_conditions.iter().flatten().next().is_some())
}

/// Whether devices of a claim have to be made ready.
pub(super) fn has_conditions(claim: &ResourceClaim) -> bool {
    waiting(claim).next().is_some()
}

/// Whether all devices of a claim are ready.
///
/// # Errors
/// In upstream's words, where one never will be.
pub(super) fn is_ready(claim: &ResourceClaim) -> Result<bool, String> {
    let mut ready = true;
    for result in waiting(claim) {
        let status = claim::device_status(claim, result);
        let conditions = status.and_then(|status| status.conditions.as_deref());
        let conditions = conditions.unwrap_or_default();
        let is_true = |name: &String| {
            let mut all = conditions.iter();
            all.find(|condition| condition.type_ == *name && condition.status == "True")
        };
        let failures = result.binding_failure_conditions.iter().flatten();
        if let Some(failed) = failures.filter_map(is_true).next() {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            return Err(format!(
                "device binding failed: claim={name}, reason={}, message={:?}",
                failed.reason, failed.message
            ));
        }
        let mut wanted = result.binding_conditions.iter().flatten();
        ready &= wanted.all(|name| is_true(name).is_some());
    }
    Ok(ready)
}

/// Whether devices of a claim will not become ready any more.
pub(super) fn is_hopeless(claim: &ResourceClaim) -> bool {
    match is_ready(claim) {
        Err(_) => true,
        Ok(true) => false,
        Ok(false) => is_late(claim),
    }
}

/// Whether it takes longer than it may.
pub(super) fn is_late(claim: &ResourceClaim) -> bool {
    let allocation = claim::allocation(claim);
    let since = allocation.and_then(|allocation| allocation.allocation_timestamp.as_ref());
    since.is_some_and(|since| {
        let passed = knarr_meta::clock::now().duration_since(since.0);
        has_conditions(claim) && passed.unsigned_abs() > BINDING_TIMEOUT && passed.is_positive()
    })
}
