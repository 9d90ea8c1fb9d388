//! PersistentVolumes are not deleted while a claim has them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolume;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_volumes::{names::VOLUME_PROTECTION, volume};
use kube::Api;

use crate::protection::{self, Due};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

pub(crate) struct PvProtection {
    client: kube::Client,
    volumes: Informer<PersistentVolume>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PvProtection {
        client: context.client("pv-protection-controller"),
        volumes: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.volumes.on_event(move |event| {
        let volume = event.object();
        let due = protection::due(&volume.metadata, VOLUME_PROTECTION);
        if !matches!(event, Event::Deleted(_)) && due != Due::Nothing {
            queue.add(Key::of(&**volume));
        }
    });
    let informers = vec![synced(&controller.volumes)];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for PvProtection {
    const NAME: &'static str = "pv-protection";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(volume) = self.volumes.get("", &key.name) else {
            return Ok(());
        };
        let api: Api<PersistentVolume> = Api::all(self.client.clone());
        match protection::due(&volume.metadata, VOLUME_PROTECTION) {
            Due::Add => protection::write(&api, &*volume, VOLUME_PROTECTION, true).await,
            // The update that ends the binding has it looked at again.
            Due::RemoveIfUnused if volume::phase(&volume) != "Bound" => {
                protection::write(&api, &*volume, VOLUME_PROTECTION, false).await
            }
            Due::RemoveIfUnused | Due::Nothing => Ok(()),
        }
    }
}
