//! PersistentVolumeClaims are not deleted while a pod uses them, and say since when none does.
//!
//! A pod uses its claims from when it has a node: from then on its kubelet may mount them, and starts no pod whose claim is
//! being deleted. A pod that waits for a node counts for the condition `Unused` all the same, one that has ended does not.

mod unused;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::clock;
use knarr_volumes::names::CLAIM_PROTECTION;
use knarr_volumes::{claim, pod};
use kube::Api;
use kube::api::{ListParams, PostParams};

use crate::attach_detach::is_over;
use crate::claim_users::{UsesClaim, claims_of};
use crate::pods;
use crate::protection::{self, Due};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;

pub(crate) struct PvcProtection {
    client: kube::Client,
    claims: Informer<PersistentVolumeClaim>,
    pods: Informer<Pod>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PvcProtection {
        client: context.client("pvc-protection-controller"),
        claims: context.informers.informer(),
        pods: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.claims.on_event(move |event| {
        let claim = event.object();
        let due = protection::due(&claim.metadata, CLAIM_PROTECTION);
        let says = unused::says(claim).is_some();
        if !matches!(event, Event::Deleted(_)) && (due != Due::Nothing || !says) {
            queue.add(Key::of(&**claim));
        }
    });
    let queue = controller.queue.clone();
    controller.pods.on_event(move |event| {
        let (old, new) = match &event {
            Event::Added(new) => (None, Some(new)),
            Event::Updated { old, new } => (Some(old), Some(new)),
            Event::Deleted(old) => (Some(old), None),
        };
        let claims = |pod: Option<&Arc<Pod>>| pod.map(|pod| claims_of(pod)).unwrap_or_default();
        let state = |pod: &Arc<Pod>| (pod.metadata.uid.clone(), is_shut_down(pod), is_over(pod));
        if old.map(state) != new.map(state) {
            let both = claims(old).into_iter().chain(claims(new));
            both.for_each(|key| queue.add(key));
        }
    });
    let informers = vec![synced(&controller.claims), synced(&controller.pods)];
    context.start(controller, WORKERS, informers);
}

/// Whether a pod keeps a claim from being deleted.
fn uses(user: &Pod, claim: &PersistentVolumeClaim) -> bool {
    if pods::node_name(user).is_empty() {
        return false;
    }
    let name = claim.metadata.name.as_deref().unwrap_or_default();
    pod::claims(user).any(|used| {
        let own = || !is_shut_down(user) && pod::check_owner(user, claim).is_ok();
        used.name == name && (!used.ephemeral || own())
    })
}

/// Its kubelet has ended it: only finalizers keep it.
fn is_shut_down(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds == Some(0)
}

impl PvcProtection {
    /// Informers may be late: before the finalizer goes the server is asked, too.
    async fn is_used(&self, key: &Key, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
        let known = self.pods.by_index(&UsesClaim(key.clone()));
        if known.iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = api.list(&ListParams::default()).await?;
        Ok(live.items.iter().any(|pod| uses(pod, claim)))
    }
}

impl Reconciler for PvcProtection {
    const NAME: &'static str = "pvc-protection";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        // Before that the binder writes the status.
        if claim.metadata.deletion_timestamp.is_none() && claim::phase(&claim) == "Bound" {
            let pods = self.pods.by_index(&UsesClaim(key.clone()));
            let used = pods.iter().any(|pod| unused::counts(pod, &claim));
            if let Some(changed) = unused::write(&claim, used, clock::now()) {
                api.replace_status(&key.name, &PostParams::default(), &changed)
                    .await?;
                // The finalizer comes with the event of this.
                return Ok(());
            }
        }
        match protection::due(&claim.metadata, CLAIM_PROTECTION) {
            Due::Add => protection::write(&api, &*claim, CLAIM_PROTECTION, true).await,
            Due::RemoveIfUnused if !self.is_used(key, &claim).await? => {
                protection::write(&api, &*claim, CLAIM_PROTECTION, false).await
            }
            Due::RemoveIfUnused | Due::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
