//! Jobs that have ended and say for how long they are to be kept (`ttlSecondsAfterFinished`).

use knarr_meta::clock;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::batch::v1::Job;
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::{DeleteParams, PropagationPolicy};

use crate::deletion;
use crate::job;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;

pub(crate) struct TtlAfterFinished {
    client: kube::Client,
    jobs: Informer<Job>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(TtlAfterFinished {
        client: context.client("ttl-after-finished-controller"),
        jobs: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.jobs.on_event(move |event| {
        let job = event.object();
        if !matches!(event, Event::Deleted(_)) && expiry(job).is_some() {
            queue.add(Key::of(&**job));
        }
    });
    let informers = vec![synced(&controller.jobs)];
    context.start(controller, WORKERS, informers);
}

/// When a job that has ended is to go; `None` for one that is not to, or is on its way.
fn expiry(job: &Job) -> Option<Timestamp> {
    let seconds = job.spec.as_ref()?.ttl_seconds_after_finished?;
    let end = job::end(job)?.last_transition_time.as_ref()?.0;
    if job.metadata.deletion_timestamp.is_some() {
        return None;
    }
    end.checked_add(SignedDuration::from_secs(seconds.into()))
        .ok()
}

/// What is left of a time.
fn left(until: Timestamp, now: Timestamp) -> Option<Duration> {
    let left = Duration::try_from(now.duration_until(until)).ok()?;
    (!left.is_zero()).then_some(left)
}

impl Reconciler for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(job) = self.jobs.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let Some(expiry) = expiry(&job) else {
            return Ok(());
        };
        if let Some(left) = left(expiry, clock::now()) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        // Someone may have asked to keep it longer in the meantime.
        let api: Api<Job> = Api::namespaced(self.client.clone(), &key.namespace);
        let Some(live) = api.get_opt(&key.name).await? else {
            return Ok(());
        };
        let Some(expiry) = self::expiry(&live) else {
            return Ok(());
        };
        if let Some(left) = left(expiry, clock::now()) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Foreground),
            ..DeleteParams::default()
        };
        deletion::delete(&api, &live.metadata, params).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
