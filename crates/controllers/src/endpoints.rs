//! Endpoints, the older form of EndpointSlices: one object a service with a selector, for clients that still read it.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::Endpoints;
use knarr_client::{Event, Informer, WorkQueue, errors};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Resource};

use crate::deletion;
use crate::events::{Recorder, WARNING};
use crate::runner::{Context, Error, Key, Reconciler, synced};
use crate::services::{self, Membership, TriggerTimes};
use crate::written::{self, Written};
use plan::{MANAGED_BY, MANAGED_BY_LABEL};

const WORKERS: usize = 5;

pub(crate) struct EndpointsController {
    client: kube::Client,
    recorder: Recorder,
    members: Membership,
    endpoints: Informer<Endpoints>,
    triggers: TriggerTimes,
    written: Written,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("endpoint-controller");
    let controller = Arc::new(EndpointsController {
        recorder: context.recorder(&client, "endpoint-controller"),
        client,
        members: Membership::new(context.informers.informer(), context.informers.informer()),
        endpoints: context.informers.informer(),
        triggers: TriggerTimes::default(),
        written: Written::default(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller
        .members
        .services
        .on_event(move |event| queue.add(Key::of(&**event.object())));
    let (queue, members) = (controller.queue.clone(), controller.members.clone());
    controller.members.pods.on_event(move |event| {
        members
            .affected(&event)
            .into_iter()
            .for_each(|key| queue.add(key))
    });
    let (queue, this) = (controller.queue.clone(), Arc::downgrade(&controller));
    controller.endpoints.on_event(move |event| {
        // Those made here are checked whenever they are seen: their service may be gone since long, and a decision made
        // while the informer was late is made again.
        let wanted = match &event {
            Event::Added(endpoints) | Event::Updated { new: endpoints, .. } => is_ours(endpoints),
            Event::Deleted(_) => true,
        };
        if let Event::Deleted(endpoints) = &event
            && let Some(this) = this.upgrade()
        {
            this.written.forget(&Key::of(&**endpoints));
        }
        if wanted {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![
        synced(&controller.members.services),
        synced(&controller.members.pods),
        synced(&controller.endpoints),
    ];
    context.start(controller, WORKERS, informers);
}

fn is_ours(endpoints: &Endpoints) -> bool {
    let labels = endpoints.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(MANAGED_BY_LABEL))
        .is_some_and(|by| by == MANAGED_BY)
}

impl Reconciler for EndpointsController {
    const NAME: &'static str = "endpoints";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let api: Api<Endpoints> = Api::namespaced(self.client.clone(), &key.namespace);
        let existing = self.endpoints.get(&key.namespace, &key.name);
        let Some(service) = self.members.services.get(&key.namespace, &key.name) else {
            self.triggers.forget(key);
            self.written.forget(key);
            if let Some(existing) = existing {
                deletion::delete(&api, &existing.metadata, DeleteParams::default()).await?;
            }
            return Ok(());
        };
        if !services::has_endpoints(&service) {
            return Ok(());
        }
        let seen = existing.as_deref().map(written::revision);
        if let Some(left) = self.written.unseen(key, |_| seen) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let pods = self.members.pods_of(&service);
        let trigger = self.triggers.latest_change(key, &service, &pods);
        let Some(wanted) = plan::plan(&service, &pods, existing.as_deref(), trigger) else {
            return Ok(());
        };
        let (result, reason, what) = match existing {
            Some(_) => {
                let result = api
                    .replace(&key.name, &PostParams::default(), &wanted)
                    .await;
                (result, "FailedToUpdateEndpoint", "update endpoint")
            }
            None => {
                let result = api.create(&PostParams::default(), &wanted).await;
                (
                    result,
                    "FailedToCreateEndpoint",
                    "create endpoint for service",
                )
            }
        };
        match result {
            Ok(written) => {
                self.written.note(key, &key.name, &written);
                Ok(())
            }
            Err(error) => {
                let raced = errors::is_conflict(&error) || errors::is_already_exists(&error);
                if !raced && !errors::is_namespace_terminating(&error) {
                    let note = format!("Failed to {what} {key}: {}", errors::message(&error));
                    self.recorder
                        .event(&wanted.object_ref(&()), WARNING, reason, note);
                }
                Err(error.into())
            }
        }
    }
}
