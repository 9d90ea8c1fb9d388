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

#[cfg(test)]
mod tests {
    use knarr_client::fake;
    use serde_json::{Value, json};

    use super::*;
    use crate::exchange::{accepted, failed, reconcile};
    use crate::fixtures::object;

    fn controller(volume: Value) -> (PvProtection, fake::Server) {
        let (client, server) = fake::client();
        let controller = PvProtection {
            client,
            volumes: Informer::new(),
            queue: WorkQueue::new(),
        };
        controller.volumes.apply(object(volume));
        (controller, server)
    }

    fn volume(finalizers: &[&str], phase: &str, going: bool) -> Value {
        json!({
            "metadata": {
                "name": "v", "uid": "u", "finalizers": finalizers,
                "deletionTimestamp": going.then_some("2030-01-01T00:00:00Z"),
            },
            "status": {"phase": phase},
        })
    }

    #[tokio::test]
    async fn volumes_stay_while_they_are_bound() {
        let both = [VOLUME_PROTECTION, "other"];
        for (finalizers, phase, going, expected) in [
            (
                &[][..],
                "Available",
                false,
                Some(json!([VOLUME_PROTECTION])),
            ),
            (
                &["other"],
                "Bound",
                false,
                Some(json!(["other", VOLUME_PROTECTION])),
            ),
            (&both, "Bound", false, None),
            (&both, "Bound", true, None),
            (&both, "Available", true, Some(json!(["other"]))),
            (&both, "Released", true, Some(json!(["other"]))),
            (&both, "Failed", true, Some(json!(["other"]))),
            (&["other"], "Released", true, None),
        ] {
            let (controller, mut server) = controller(volume(finalizers, phase, going));
            let key = Key::new("", "v");
            let (result, asked) = reconcile(&controller, &key, &mut server, accepted).await;
            assert!(result.is_ok(), "{phase} {result:?}");
            let written = asked.first().map(|asked| {
                assert_eq!(asked.shown(), "PUT /api/v1/persistentvolumes/v");
                asked.body["metadata"]["finalizers"].clone()
            });
            assert_eq!(written, expected, "{finalizers:?} {phase} {going}");
        }
    }

    #[tokio::test]
    async fn a_conflict_is_tried_again() {
        let (controller, mut server) = controller(volume(&[], "Available", false));
        let key = Key::new("", "v");
        let conflict = |_: &_| failed(409, "Conflict");
        let (result, _) = reconcile(&controller, &key, &mut server, conflict).await;
        assert!(result.is_err_and(|error| error.is_race()));
    }
}
