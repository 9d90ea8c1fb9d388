//! Says who makes a claim's volume larger (upstream's expand controller, of which no more is left).
//!
//! Admission lets a claim grow; a driver's external-resizer makes the volume larger and writes the claim's status, the node's
//! kubelet the file system. No volume is made larger here.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::Quantity;
use knarr_volumes::{claim, volume};
use kube::Resource;

use crate::events::{NORMAL, Recorder};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;
const REASON: &str = "ExternalExpanding";
const NOTE: &str = "waiting for an external controller to expand this PVC";

pub(crate) struct VolumeExpand {
    recorder: Recorder,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("expand-controller");
    let controller = Arc::new(VolumeExpand {
        recorder: context.recorder(&client, "volume_expand"),
        claims: context.informers.informer(),
        volumes: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.claims.on_event(move |event| {
        if asks_for_more(&event) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.claims), synced(&controller.volumes)];
    context.start(controller, WORKERS, informers);
}

/// How much the claim has, as its status says.
fn capacity(of: &PersistentVolumeClaim) -> Quantity {
    let capacity = (of.status.as_ref()).and_then(|status| status.capacity.as_ref());
    let storage = capacity.and_then(|capacity| capacity.get("storage"));
    storage
        .and_then(|size| Quantity::parse(&size.0).ok())
        .unwrap_or_default()
}

/// Whether a claim that has a volume wants a larger one since this event.
fn asks_for_more(event: &Event<PersistentVolumeClaim>) -> bool {
    let wants = |of: &PersistentVolumeClaim| claim::requested(of) > capacity(of);
    match event {
        Event::Added(claim) => claim::phase(claim) == "Bound" && wants(claim),
        Event::Updated { old, new } => {
            let asked = claim::requested(new) > claim::requested(old);
            // It got a part of what it wants.
            let grew = capacity(new) > capacity(old);
            claim::phase(new) == "Bound" && (asked || grew) && wants(new)
        }
        Event::Deleted(_) => false,
    }
}

impl Reconciler for VolumeExpand {
    const NAME: &'static str = "volume-expand";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        if claim::requested(&claim) <= capacity(&claim) {
            return Ok(());
        }
        let volume = self.volumes.get("", claim::volume_name(&claim));
        // The informer of volumes may be later than that of claims, and its event brings nothing here.
        if !volume.is_some_and(|volume| volume::is_of_claim(&volume, &claim)) {
            return Err(Error::Again("the claim's volume is not seen as its own"));
        }
        self.recorder
            .event(&claim.object_ref(&()), NORMAL, REASON, NOTE);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
