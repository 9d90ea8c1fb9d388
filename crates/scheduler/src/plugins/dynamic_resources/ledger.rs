//! Which devices claims have, by what the API says and by what was decided since.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::resource::v1::{AllocationResult, ResourceClaim};
use knarr_devices::{Usage, claim};

use super::uid;

/// The devices of a claim.
struct Held {
    allocation: AllocationResult,
    /// Decided here, and not yet seen.
    pending: Option<Pending>,
}

/// How far a decision is.
#[derive(Clone, Copy)]
enum Pending {
    /// Not written yet.
    Decided,
    /// The claim is as was written from this revision on.
    Written(u64),
}

/// All devices in use.
#[derive(Default)]
pub(super) struct Ledger {
    usage: Arc<Usage>,
    held: HashMap<String, Held>,
}

fn revision(claim: &ResourceClaim) -> u64 {
    let text = claim.metadata.resource_version.as_deref();
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

impl Ledger {
    pub fn usage(&self) -> Arc<Usage> {
        self.usage.clone()
    }

    /// Whether the claim of a uid has devices, or is about to have them.
    pub fn has(&self, uid: &str) -> bool {
        self.held.contains_key(uid)
    }

    /// Takes over what the API says of a claim. What was decided stays until it shows.
    pub fn observe(&mut self, claim: &ResourceClaim) {
        let uid = uid(claim);
        match claim::allocation(claim) {
            Some(allocation) => {
                let held = self.held.get_mut(uid);
                match held {
                    Some(held) if held.allocation == *allocation => held.pending = None,
                    _ => self.put(uid, allocation.clone(), None),
                }
            }
            None => {
                let pending = self.held.get(uid).and_then(|held| held.pending);
                let keep = match pending {
                    Some(Pending::Decided) => true,
                    Some(Pending::Written(at)) => revision(claim) < at,
                    None => false,
                };
                if !keep {
                    self.take(uid);
                }
            }
        }
    }

    /// A claim is gone.
    pub fn gone(&mut self, claim: &ResourceClaim) {
        self.take(uid(claim));
    }

    /// Keeps devices for a claim, until they are released or written.
    pub fn reserve(&mut self, uid: &str, allocation: AllocationResult) {
        self.put(uid, allocation, Some(Pending::Decided));
    }

    /// Devices that were reserved are not needed.
    pub fn release(&mut self, uid: &str) {
        let held = self.held.get(uid);
        if held.is_some_and(|held| matches!(held.pending, Some(Pending::Decided))) {
            self.take(uid);
        }
    }

    /// Devices that were reserved for `uid` are `claim`'s now, which is as was written.
    pub fn written(&mut self, uid: &str, claim: &ResourceClaim) {
        let Some(allocation) = claim::allocation(claim) else {
            return self.release(uid);
        };
        self.release(uid);
        let own = super::uid(claim);
        // The informer may have been faster.
        if !self.has(own) {
            let pending = Pending::Written(revision(claim));
            self.put(own, allocation.clone(), Some(pending));
        }
    }

    fn put(&mut self, uid: &str, allocation: AllocationResult, pending: Option<Pending>) {
        self.take(uid);
        Arc::make_mut(&mut self.usage).add(&allocation);
        let held = Held {
            allocation,
            pending,
        };
        self.held.insert(uid.to_owned(), held);
    }

    fn take(&mut self, uid: &str) {
        if let Some(held) = self.held.remove(uid) {
            Arc::make_mut(&mut self.usage).remove(&held.allocation);
        }
    }
}
