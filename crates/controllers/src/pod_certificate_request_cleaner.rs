//! PodCertificateRequests go a quarter of an hour after they were made: whoever waits for one has its answer by then.

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use knarr_client::certificates::PodCertificateRequest;
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::DeleteParams;

use crate::deletion;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

const LIFE: SignedDuration = SignedDuration::from_mins(15);

pub(crate) struct PodCertificateRequestCleaner {
    client: kube::Client,
    requests: Informer<PodCertificateRequest>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PodCertificateRequestCleaner {
        client: context.client("podcertificaterequestcleaner"),
        requests: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.requests.on_event(move |event| {
        if matches!(event, Event::Added(_)) {
            queue.add(Key::of(&**event.object()));
        }
    });
    let informers = vec![synced(&controller.requests)];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for PodCertificateRequestCleaner {
    const NAME: &'static str = "podcertificaterequestcleaner";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(request) = self.requests.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let made = request.metadata.creation_timestamp.as_ref();
        let Some(expiry) = made.and_then(|made| made.0.checked_add(LIFE).ok()) else {
            return Ok(());
        };
        let left = Duration::try_from(knarr_meta::clock::now().duration_until(expiry));
        if let Some(left) = left.ok().filter(|left| !left.is_zero()) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let api: Api<PodCertificateRequest> = Api::namespaced(self.client.clone(), &key.namespace);
        deletion::delete(&api, &request.metadata, DeleteParams::default()).await?;
        Ok(())
    }
}
