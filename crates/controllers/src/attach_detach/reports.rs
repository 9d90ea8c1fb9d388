//! What pods are told of their volumes, in upstream's words.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeError};
use knarr_volumes::volume;
use tokio::time::Instant;

use super::plan::{Wanted, is_attached, is_going};
use super::pod_ref::PodRef;

/// The reason of events about volumes that are not attached.
pub(super) const FAILED: &str = "FailedAttachVolume";
/// The reason of events about volumes that are attached.
pub(super) const SUCCEEDED: &str = "SuccessfulAttachVolume";
/// How long a driver's controller may take before pods are told (upstream's `csiTimeout`).
pub(super) const ATTACH_TIMEOUT: Duration = Duration::from_secs(2 * 60);

/// What pods were told of an attachment that is not there yet.
#[derive(Debug)]
pub(super) struct Report {
    /// Since when it has been waited for, or since pods were told that it takes long.
    since: Instant,
    failure: Option<VolumeError>,
    conflict: bool,
}

impl Report {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            failure: None,
            conflict: false,
        }
    }
}

/// What was told of each attachment, by its name. What is lost with the process is told once more, or not at all.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<String, Report>);

/// What is new about an attachment that pods wait for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    Attached,
    Failed(String),
}

impl Memory {
    /// The attachment is made: pods wait for it from now on.
    pub fn waiting(&mut self, id: &str, now: Instant) {
        self.0.insert(id.to_owned(), Report::new(now));
    }

    /// Forgets attachments that nobody wants any more.
    pub fn keep(&mut self, is_wanted: impl Fn(&str) -> bool) {
        self.0.retain(|id, _| is_wanted(id));
    }

    /// Whether pods are to be told that another node has the volume: once.
    pub fn is_new_conflict(&mut self, id: &str, now: Instant) -> bool {
        let told = self.0.entry(id.to_owned());
        let told = told.or_insert_with(|| Report::new(now));
        !std::mem::replace(&mut told.conflict, true)
    }

    /// What pods are to be told of a wanted attachment.
    pub fn news(&mut self, id: &str, of: &VolumeAttachment, wanted: &Wanted, now: Instant) -> News {
        if is_attached(of) && !is_going(of) {
            return match self.0.remove(id) {
                Some(_) => News::Attached,
                None => News::Nothing,
            };
        }
        let told = self.0.entry(id.to_owned());
        let told = told.or_insert_with(|| Report::new(now));
        let failure = (of.status.as_ref()).and_then(|status| status.attach_error.as_ref());
        if let Some(failure) = failure.filter(|failure| told.failure.as_ref() != Some(*failure)) {
            told.failure = Some(failure.clone());
            told.since = now;
            return News::Failed(failure.message.clone().unwrap_or_default());
        }
        if now.duration_since(told.since) < ATTACH_TIMEOUT {
            return News::Nothing;
        }
        told.since = now;
        let (driver, handle) = (&wanted.driver, &wanted.handle);
        News::Failed(format!(
            "timed out waiting for external-attacher of {driver} CSI driver to attach volume {handle}"
        ))
    }
}

pub(super) fn attached(wanted: &Wanted) -> String {
    // With the blank at its end that upstream has, so that repeats are counted together with its.
    about("AttachVolume.Attach succeeded", wanted, "")
}

pub(super) fn failed(wanted: &Wanted, why: &str) -> String {
    about("AttachVolume.Attach failed", wanted, &format!(": {why}"))
}

/// Why the volume does not come: `users` are the pods that have it on other nodes. A pod is told no names of other namespaces.
pub(super) fn conflict(wanted: &Wanted, told: &PodRef, users: &BTreeSet<PodRef>) -> String {
    let local: Vec<&str> = (users.iter())
        .filter(|user| user.namespace == told.namespace)
        .map(|user| user.name.as_str())
        .collect();
    let others = users.len().saturating_sub(local.len());
    let why = match (local.as_slice(), others) {
        ([], 0) => "Volume is already exclusively attached to one node, waiting on detach before it can be attached to another node".to_owned(),
        ([], others) => format!("Volume is already used by {others} pod(s) in different namespaces"),
        (local, 0) => format!("Volume is already used by pod(s) {}", local.join(", ")),
        (local, others) => format!(
            "Volume is already used by pod(s) {} and {others} pod(s) in different namespaces",
            local.join(", ")
        ),
    };
    about("Waiting for detach", wanted, &why)
}

fn about(what: &str, wanted: &Wanted, more: &str) -> String {
    format!(
        "{what} for volume \"{}\" {more}",
        volume::name(&wanted.volume)
    )
}

#[cfg(test)]
mod tests;
