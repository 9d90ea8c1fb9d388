//! What is to be done about a claim, from what is observed.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use knarr_volumes::claim::{self, annotation};
use knarr_volumes::matching::{self, Place};
use knarr_volumes::{names, volume};

use crate::events::{NORMAL, WARNING};

/// All that a decision about a claim depends on.
pub(crate) struct Observed<'a> {
    pub claim: &'a PersistentVolumeClaim,
    /// The class that the claim names.
    pub class: Option<&'a StorageClass>,
    /// The class that a claim without one gets.
    pub default_class: Option<&'a str>,
    /// The volume that the claim has, or asks for.
    pub named: Option<Arc<PersistentVolume>>,
    /// Volumes that the claim could have.
    pub candidates: &'a [Arc<PersistentVolume>],
    /// Pods without a node that use the claim.
    pub waiting_pods: &'a [String],
}

/// An event about the claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EventRecord {
    pub kind: &'static str,
    pub reason: &'static str,
    pub message: String,
}

fn normal(reason: &'static str, message: impl Into<String>) -> EventRecord {
    let kind = NORMAL;
    let message = message.into();
    EventRecord {
        kind,
        reason,
        message,
    }
}

fn warning(reason: &'static str, message: impl Into<String>) -> EventRecord {
    EventRecord {
        kind: WARNING,
        ..normal(reason, message)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Step {
    Nothing,
    /// Bring both together, or finish what was begun.
    Bind(Arc<PersistentVolume>),
    /// It waits; why, where there is something to say.
    Pending(Option<EventRecord>),
    /// It is bound to what is no longer its volume.
    Lost(EventRecord),
    /// It gets the default class.
    SetClass(String),
    /// Somebody else makes its volume.
    Provision {
        provisioner: String,
        note: EventRecord,
    },
    /// Somebody has tampered with the binding: said, and tried again.
    Conflict(EventRecord, String),
}

pub(crate) fn plan(observed: &Observed<'_>) -> Step {
    let claim = observed.claim;
    if annotation(&claim.metadata, names::BIND_COMPLETED).is_some() {
        return plan_bound(observed);
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return Step::Nothing;
    }
    if !claim::volume_name(claim).is_empty() {
        return plan_named(observed);
    }
    let delayed = observed.class.is_some_and(claim::waits_for_consumer);
    let place = if delayed {
        Place::Undecided
    } else {
        Place::Any
    };
    if let Some(found) = matching::find(claim, observed.candidates, place, |_| false) {
        return Step::Bind(found);
    }
    if !claim::has_class(claim)
        && let Some(class) = observed.default_class
    {
        return Step::SetClass(class.to_owned());
    }
    if delayed && claim::selected_node(claim).is_none() {
        return Step::Pending(Some(wait_for_consumer(observed.waiting_pods)));
    }
    if claim::class(claim).is_empty() {
        let why = "no persistent volumes available for this claim and no storage class is set";
        return Step::Pending(Some(normal("FailedBinding", why)));
    }
    plan_provisioning(observed)
}

/// It was bound once: it keeps its volume, or has lost it.
fn plan_bound(observed: &Observed<'_>) -> Step {
    if claim::volume_name(observed.claim).is_empty() {
        let why = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return Step::Lost(warning("ClaimLost", why));
    }
    let Some(named) = &observed.named else {
        let why = "Bound claim has lost its PersistentVolume. Data on the volume is lost!";
        return Step::Lost(warning("ClaimLost", why));
    };
    let holder = volume::claim_reference(named);
    match holder {
        Some(holder) if holder.uid != observed.claim.metadata.uid => {
            let why = "Two claims are bound to the same volume, this one is bound incorrectly";
            Step::Lost(warning("ClaimMisbound", why))
        }
        _ => Step::Bind(named.clone()),
    }
}

/// A user asks for a volume by its name.
fn plan_named(observed: &Observed<'_>) -> Step {
    let claim = observed.claim;
    let Some(named) = &observed.named else {
        return Step::Pending(None);
    };
    let name = volume::name(named);
    if volume::claim_reference(named).is_none() {
        return match matching::mismatch(named, claim) {
            None => Step::Bind(named.clone()),
            Some(why) => {
                let why = format!("Cannot bind to requested volume \"{name}\": {why}");
                Step::Pending(Some(warning("VolumeMismatch", why)))
            }
        };
    }
    if volume::is_of_claim(named, claim) {
        return Step::Bind(named.clone());
    }
    let why = format!("volume \"{name}\" already bound to a different claim.");
    let note = warning("FailedBinding", why);
    if annotation(&claim.metadata, names::BOUND_BY_CONTROLLER).is_some() {
        let why = format!("invalid binding to volume \"{name}\": volume already claimed");
        return Step::Conflict(note, why);
    }
    Step::Pending(Some(note))
}

fn wait_for_consumer(pods: &[String]) -> EventRecord {
    match pods {
        [] => normal(
            "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ),
        [pod] => normal(
            "WaitForPodScheduled",
            format!("waiting for pod {pod} to be scheduled"),
        ),
        pods => {
            let pods = pods.join(",");
            normal(
                "WaitForPodScheduled",
                format!("waiting for pods {pods} to be scheduled"),
            )
        }
    }
}

fn plan_provisioning(observed: &Observed<'_>) -> Step {
    let name = claim::class(observed.claim);
    let failed = |why: String| Step::Pending(Some(warning("ProvisioningFailed", why)));
    let Some(class) = observed.class else {
        return failed(format!("storageclass.storage.k8s.io \"{name}\" not found"));
    };
    let provisioner = class.provisioner.clone();
    if provisioner.starts_with("kubernetes.io/") {
        return failed(format!("no volume plugin matched name: {provisioner}"));
    }
    let why = format!(
        "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
    );
    Step::Provision {
        provisioner,
        note: normal("ExternalProvisioning", why),
    }
}

#[cfg(test)]
mod tests;
