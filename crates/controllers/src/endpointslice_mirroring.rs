//! EndpointSlices of services without selectors: the addresses that a user (or a controller that knows no slices) wrote into
//! the service's Endpoints object, for readers that look at slices only.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Endpoints, Service};
use knarr_client::{Event, Informer, WorkQueue};
use kube::Resource;

use crate::events::{Recorder, WARNING};
use crate::runner::{Context, Error, Key, Reconciler, synced};
use crate::services;
use crate::slices::packing::Changes;
use crate::slices::{self, Slices};
use plan::{MANAGED_BY, MAX_ADDRESSES, Plan};

const WORKERS: usize = 5;

pub(crate) struct EndpointSliceMirroringController {
    recorder: Recorder,
    services: Informer<Service>,
    endpoints: Informer<Endpoints>,
    slices: Slices,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("endpointslicemirroring-controller");
    let controller = Arc::new(EndpointSliceMirroringController {
        recorder: context.recorder(&client, "endpoint-slice-mirroring-controller"),
        services: context.informers.informer(),
        endpoints: context.informers.informer(),
        slices: Slices::new(client, context.informers.informer(), MANAGED_BY),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.services),
        synced(&controller.endpoints),
        synced(&controller.slices.informer),
    ];
    context.start(controller, WORKERS, informers);
}

/// Whether it is, or was before the event, an object of which `concerns` is true.
fn any_state<K>(event: &Event<K>, concerns: impl Fn(&K) -> bool) -> bool {
    match event {
        Event::Added(object) | Event::Deleted(object) => concerns(object),
        Event::Updated { old, new } => concerns(old) || concerns(new),
    }
}

fn has_no_selector(service: &Service) -> bool {
    services::selector(service).is_none()
}

impl EndpointSliceMirroringController {
    fn watch(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.services.on_event(move |event| {
            if any_state(&event, has_no_selector) {
                queue.add(Key::of(&**event.object()));
            }
        });
        let queue = self.queue.clone();
        self.endpoints.on_event(move |event| {
            if any_state(&event, plan::is_mirrored) {
                queue.add(Key::of(&**event.object()));
            }
        });
        let this = Arc::downgrade(self);
        self.slices.informer.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                let keys = this.slices.affected(&event);
                keys.into_iter().for_each(|key| this.queue.add(key));
            }
        });
    }

    /// What is to be mirrored, if anything.
    fn source(&self, key: &Key) -> Option<Arc<Endpoints>> {
        let service = self.services.get(&key.namespace, &key.name)?;
        let endpoints = self.endpoints.get(&key.namespace, &key.name)?;
        (has_no_selector(&service) && plan::is_mirrored(&endpoints)).then_some(endpoints)
    }

    /// Says which addresses are left out.
    fn report_left_out(&self, endpoints: &Endpoints, plan: &Plan) {
        let warn = |reason: &str, note: String| {
            self.recorder
                .event(&endpoints.object_ref(&()), WARNING, reason, note);
        };
        if plan.invalid > 0 {
            let count = plan.invalid;
            let note =
                format!("Skipped {count} invalid IP addresses when mirroring to EndpointSlices");
            warn("InvalidIPAddress", note);
        }
        if plan.over_limit > 0 {
            let note = format!(
                "A max of {MAX_ADDRESSES} addresses can be mirrored to EndpointSlices per Endpoints subset. {} addresses were skipped",
                plan.over_limit + plan.invalid
            );
            warn("TooManyAddressesToMirror", note);
        }
    }
}

impl Reconciler for EndpointSliceMirroringController {
    const NAME: &'static str = "endpointslice mirroring";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let existing = self.slices.of(key);
        let Some(endpoints) = self.source(key) else {
            // A slice that is not seen yet wakes this key when it is, and goes then.
            self.slices.forget(key);
            let changes = Changes {
                delete: existing,
                ..Changes::default()
            };
            return self.slices.write(key, changes).await;
        };
        if let Some(left) = self.slices.unseen(key) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let plan = plan::plan(&endpoints, &existing);
        self.report_left_out(&endpoints, &plan);
        let written = self.slices.write(key, plan.changes).await;
        if let Err(error) = &written {
            let about = (&endpoints.object_ref(&()), "Endpoints");
            slices::report(&self.recorder, about, key, error);
        }
        written
    }
}
