//! Claims for the ephemeral volumes of pods.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use knarr_client::{Event, Informer, WorkQueue, errors};
use knarr_volumes::pod;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};

use crate::claim_users::UsesClaim;
use crate::events::{Recorder, WARNING};
use crate::owners;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;

pub(crate) struct EphemeralVolume {
    client: kube::Client,
    recorder: Recorder,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("ephemeral-volume-controller");
    let controller = Arc::new(EphemeralVolume {
        recorder: context.recorder(&client, "ephemeral_volume"),
        client,
        pods: context.informers.informer(),
        claims: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.pods.on_event(move |event| {
        let pod = event.object();
        // Volumes never change.
        if matches!(event, Event::Added(_)) && wants_claims(pod) {
            queue.add(Key::of(&**pod));
        }
    });
    let this = Arc::downgrade(&controller);
    controller.claims.on_event(move |event| {
        if let (Some(this), Event::Deleted(claim)) = (this.upgrade(), &event) {
            let users = this.pods.by_index(&UsesClaim(Key::of(&**claim)));
            let users = users.iter().filter(|pod| wants_claims(pod));
            users.for_each(|pod| this.queue.add(Key::of(&**pod)));
        }
    });
    let informers = vec![synced(&controller.pods), synced(&controller.claims)];
    context.start(controller, WORKERS, informers);
}

fn wants_claims(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_none() && ephemeral(pod).next().is_some()
}

fn ephemeral(pod: &Pod) -> impl Iterator<Item = &Volume> {
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter(|volume| volume.ephemeral.is_some())
}

/// The claim for one of the pod's volumes. It goes with the pod.
fn claim_for(pod: &Pod, volume: &Volume) -> PersistentVolumeClaim {
    let template = volume.ephemeral.as_ref();
    let template = template.and_then(|source| source.volume_claim_template.clone());
    let template = template.unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(pod::ephemeral_name(pod, volume)),
            namespace: pod.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            owner_references: Some(vec![owners::controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec),
        status: None,
    }
}

impl EphemeralVolume {
    /// Makes the claim, unless it is there; another's of that name is an error.
    async fn ensure(&self, key: &Key, owner: &Pod, volume: &Volume) -> Result<(), Error> {
        let claim = claim_for(owner, volume);
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        if let Some(there) = self.claims.get(&key.namespace, name) {
            return pod::check_owner(owner, &there).map_err(Error::Other);
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
        match api.create(&PostParams::default(), &claim).await {
            Ok(_) => Ok(()),
            // The informer is late, or about to bring another's claim.
            Err(error) if errors::is_already_exists(&error) => Err(error.into()),
            Err(error) if errors::is_namespace_terminating(&error) => Err(error.into()),
            Err(error) => {
                let why = errors::message(&error);
                Err(Error::Other(format!("create PVC {name}: {why}")))
            }
        }
    }
}

impl Reconciler for EphemeralVolume {
    const NAME: &'static str = "ephemeral-volume";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        if !wants_claims(&pod) {
            return Ok(());
        }
        for volume in ephemeral(&pod) {
            if let Err(error) = self.ensure(key, &pod, volume).await {
                if !error.is_race() && !error.is_namespace_terminating() {
                    let note = format!("ephemeral volume {}: {error}", volume.name);
                    let about = pod.object_ref(&());
                    self.recorder.event(&about, WARNING, "FailedBinding", note);
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
