//! What claims of pods are called, what is in them, and when they are given back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{
    ResourceClaim, ResourceClaimConsumerReference as Consumer, ResourceClaimTemplate,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_devices::claim::{self, MAX_RESERVATIONS, POD_CLAIM};
pub(super) use knarr_devices::claim::{FINALIZER, claims, consumer, is_pod, reserved};
use serde_json::{Value, json};

use crate::owners;
use crate::pods::is_terminal;
use crate::runner::uid;

/// Of a generated name, without the hyphen and what is generated.
const MAX_BASE_BYTES: usize = 57;

/// The ResourceClaim that is meant: the user's, or the one that was made and noted in the status.
pub(super) fn claim_name(pod: &Pod, claim: &PodResourceClaim) -> Option<String> {
    let name = claim::name_of(pod, claim).ok().flatten();
    name.map(str::to_owned)
}

/// The claim that the scheduler made for the pod's extended resources.
pub(super) fn extended_claim(pod: &Pod) -> Option<&str> {
    let extended = pod
        .status
        .as_ref()?
        .extended_resource_claim_status
        .as_ref()?;
    Some(&extended.resource_claim_name)
}

/// The pod will not run any more: it has ended, or goes without ever having been bound.
pub(super) fn is_done(pod: &Pod) -> bool {
    let bound = pod
        .spec
        .as_ref()
        .is_some_and(|spec| spec.node_name.is_some());
    is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && !bound)
}

/// Whether a claim was made for this one of its pod's.
pub(super) fn is_for(claim: &ResourceClaim, named: &PodResourceClaim) -> bool {
    let annotations = claim.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(POD_CLAIM)) == Some(&named.name)
}

/// The claim for a pod, from its template. It goes with the pod.
pub(super) fn claim_of(
    pod: &Pod,
    claim: &PodResourceClaim,
    template: &ResourceClaimTemplate,
) -> ResourceClaim {
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations: BTreeMap<_, _> = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), claim.name.clone());
    let mut owner = owners::controller_reference(pod);
    owner.block_owner_deletion = None;
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(base(
                pod.metadata.name.as_deref().unwrap_or_default(),
                &claim.name,
            )),
            namespace: pod.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![owner]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// Both names, each cut by its share where they are too long together.
fn base(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    let length = whole.len();
    if length <= MAX_BASE_BYTES {
        return whole;
    }
    let cut = |name: &str| {
        // Both are labels: a byte is a character.
        let share = name.len() * MAX_BASE_BYTES / length;
        name.chars().take(share).collect::<String>()
    };
    format!("{}-{}", cut(pod), cut(claim))
}

/// What is applied to the pod's status: the claims that were noted before and those that are new.
pub(super) fn statuses(pod: &Pod, new: &[(String, String)]) -> Value {
    let statuses = pod.status.iter();
    let known = statuses.flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let known = known.filter_map(|one| Some((one.name.clone(), one.resource_claim_name.clone()?)));
    let all: BTreeMap<String, String> = known.chain(new.iter().cloned()).collect();
    let all: Vec<Value> = all
        .into_iter()
        .map(|(name, claim)| json!({"name": name, "resourceClaimName": claim}))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.metadata.name, "namespace": pod.metadata.namespace},
        "status": {"resourceClaimStatuses": all},
    })
}

/// Whether a claim is allocated, and not reserved for the pod though it could be.
pub(super) fn needs_reservation(pod: &Pod, claim: &ResourceClaim) -> bool {
    let status = claim.status.as_ref();
    let allocated = status.is_some_and(|status| status.allocation.is_some());
    let reserved = reserved(claim);
    allocated
        && claim.metadata.deletion_timestamp.is_none()
        && reserved.len() < MAX_RESERVATIONS
        && reserved.iter().all(|consumer| consumer.uid != uid(pod))
}

/// What is written to give a claim back.
#[derive(Debug, PartialEq)]
pub(super) struct Release {
    pub status: Option<Value>,
    /// The finalizer goes, too.
    pub finalizer: bool,
}

/// `remaining`: those of its consumers that still use the claim. An allocation goes with the last of them; one that nobody has used yet
/// stays, until the claim is deleted.
pub(super) fn release(claim: &ResourceClaim, remaining: &[Consumer]) -> Option<Release> {
    let finalizers = claim.metadata.finalizers.iter().flatten();
    let held = finalizers
        .into_iter()
        .any(|finalizer| finalizer == FINALIZER);
    let status = claim.status.as_ref();
    let allocated = status.is_some_and(|status| status.allocation.is_some());
    let unused = remaining.is_empty();
    if remaining.len() < reserved(claim).len() {
        let mut status = json!({"reservedFor": remaining});
        if unused {
            status["reservedFor"] = Value::Null;
        }
        if unused && held {
            status["allocation"] = Value::Null;
        }
        return Some(Release {
            status: Some(status),
            finalizer: held && (unused || !allocated),
        });
    }
    (held && unused && claim.metadata.deletion_timestamp.is_some()).then(|| Release {
        status: allocated.then(|| json!({"allocation": null})),
        finalizer: true,
    })
}

#[cfg(test)]
mod tests;
