//! Jobs: pods that run to their end, as many as have to succeed.

mod backoff;
mod facts;
mod hands;
mod indexes;
mod orphans;
mod plan;
mod policy;
mod removal;
mod template;
mod track;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::api::PostParams;
use kube::{Api, Resource};
use parking_lot::Mutex;

use crate::events::{NORMAL, Recorder, WARNING};
use crate::expectations::Expectations;
use crate::owners;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::written::{self, Written};
use backoff::Backoff;
pub(crate) use facts::end;
use orphans::Orphans;
use plan::Sync;

/// A job that could not be looked after comes back after this long, and after twice as long each time, as upstream's: what refuses
/// its pods, a quota say, refuses them for a while.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(60);
const WORKERS: usize = 5;
/// What happens to pods within this time is looked at together (upstream `SyncJobBatchPeriod`).
const BATCH: Duration = Duration::from_secs(1);

pub(crate) struct JobController {
    client: kube::Client,
    recorder: Recorder,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    expectations: Expectations,
    written: Written,
    backoffs: Mutex<HashMap<Key, Backoff>>,
    /// Pods whose finalizer was removed and that the informer still shows with it: uids by job.
    released: Mutex<HashMap<Key, HashSet<String>>>,
    /// Pods that hold a finalizer and have no job to count them.
    orphans: WorkQueue<Key>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("job-controller");
    let orphans = Arc::new(Orphans::new(
        client.clone(),
        context.informers.informer(),
        context.informers.informer(),
    ));
    let controller = Arc::new(JobController {
        recorder: context.recorder(&client, "job-controller"),
        client,
        jobs: context.informers.informer(),
        pods: context.informers.informer(),
        expectations: Expectations::default(),
        written: Written::default(),
        backoffs: Mutex::default(),
        released: Mutex::default(),
        orphans: orphans.queue().clone(),
        queue: WorkQueue::with_retries(RETRY_FIRST, RETRY_LONGEST),
    });
    controller.watch();
    let informers = vec![synced(&controller.jobs), synced(&controller.pods)];
    context.start(orphans, WORKERS, informers.clone());
    context.start(controller, WORKERS, informers);
}

impl JobController {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.jobs.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.job_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.pod_changed(&event);
            }
        });
    }

    fn job_changed(&self, event: &Event<Job>) {
        let job = event.object();
        let key = Key::of(&**job);
        match event {
            Event::Updated { old, new } if uid(&**old) != uid(&**new) => {
                self.forget(&key);
                self.release_orphans(old);
            }
            Event::Updated { old, new } if old.metadata.generation == new.metadata.generation => {
                return self.queue.add_after(key, BATCH);
            }
            Event::Deleted(_) => {
                self.forget(&key);
                self.release_orphans(job);
            }
            _ => {}
        }
        self.queue.add(key);
    }

    fn forget(&self, key: &Key) {
        self.expectations.forget(key);
        self.written.forget(key);
        self.backoffs.lock().remove(key);
        self.released.lock().remove(key);
    }

    /// Nobody will count these pods any more.
    fn release_orphans(&self, job: &Job) {
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let pods = owners::controlled(&self.pods, namespace, uid(job));
        let held = pods.iter().filter(|pod| facts::is_tracked(pod));
        held.for_each(|pod| self.orphans.add(Key::of(&**pod)));
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        let pod = event.object();
        if let Event::Updated { old, .. } = event {
            let controllers = [old, pod].map(|pod| owners::controller_of(&pod.metadata));
            let replaced = uid(&**old) != uid(&**pod);
            if (replaced || controllers[0] != controllers[1])
                && let Some(job) = self.job_of(old)
            {
                self.release_observed(&Key::of(&*job), old, replaced);
                self.queue.add_after(Key::of(&*job), BATCH);
            }
        }
        let gone = matches!(event, Event::Deleted(_));
        let going = gone || pod.metadata.deletion_timestamp.is_some();
        let Some(job) = self.job_of(pod) else {
            return self.pod_of_nobody(pod, going);
        };
        let key = Key::of(&*job);
        match event {
            Event::Added(_) if !going => self.expectations.creation_observed(&key),
            _ if going => self.expectations.deletion_observed(&key, uid(&**pod)),
            _ => {}
        }
        if going && facts::end(&job).is_some() && facts::is_tracked(pod) {
            self.orphans.add(Key::of(&**pod));
        }
        self.release_observed(&key, pod, gone);
        self.queue.add_after(key, BATCH);
    }

    fn release_observed(&self, key: &Key, pod: &Pod, gone: bool) {
        if (gone || !facts::is_tracked(pod))
            && let Some(uids) = self.released.lock().get_mut(key)
        {
            uids.remove(uid(pod));
        }
    }

    fn pod_of_nobody(&self, pod: &Pod, going: bool) {
        let controlled = owners::controller_of(&pod.metadata).is_some();
        if facts::is_tracked(pod) && (going || !controlled) {
            self.orphans.add(Key::of(pod));
        }
        if controlled || going {
            return;
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        for job in self.jobs.list_in(namespace) {
            if selector(&job).is_ok_and(|s| s.matches_option(pod.metadata.labels.as_ref())) {
                self.queue.add_after(Key::of(&*job), BATCH);
            }
        }
    }

    fn job_of(&self, pod: &Pod) -> Option<Arc<Job>> {
        orphans::job_of(&self.jobs, pod)
    }

    async fn write_status(&self, key: &Key, job: &Job) -> Result<Job, Error> {
        let api: Api<Job> = Api::namespaced(self.client.clone(), &key.namespace);
        let answer = api
            .replace_status(&key.name, &PostParams::default(), job)
            .await?;
        self.written.note(key, &key.name, &answer);
        Ok(answer)
    }

    /// The job's pods, adopted ones included, which hold a finalizer from now on.
    async fn claim(&self, key: &Key, job: &Job) -> Result<Vec<Arc<Pod>>, Error> {
        let candidates = owners::candidates(&self.pods, &key.namespace, uid(job));
        let claims = owners::claim(&job.metadata, &selector(job)?, candidates);
        let adopted: HashSet<_> = claims
            .adopt
            .iter()
            .map(|pod| pod.metadata.uid.clone())
            .collect();
        let jobs = Api::namespaced(self.client.clone(), &key.namespace);
        let pods = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let mut owned =
            owners::execute_holding(claims, job, &jobs, &pods, &[facts::FINALIZER]).await?;
        for pod in owned
            .iter_mut()
            .filter(|pod| adopted.contains(&pod.metadata.uid))
        {
            if !facts::is_tracked(pod) {
                let finalizers = &mut Arc::make_mut(pod).metadata.finalizers;
                let finalizers = finalizers.get_or_insert_default();
                finalizers.push(facts::FINALIZER.to_owned());
            }
        }
        Ok(owned)
    }

    /// Counts what has ended, writes the status, and removes finalizers: see [`track`].
    async fn track(&self, key: &Key, sync: &mut Sync, changed: bool) -> Result<(), Error> {
        let mut counting = track::begin(sync, clock::now());
        if changed || counting.changed {
            sync.job = self.write_status(key, &sync.job).await?;
            self.backoffs.lock().insert(key.clone(), sync.backoff);
        }
        let (released, result) = self.release(key, &counting.release).await;
        counting.holding.retain(|uid| !released.contains(uid));
        let changed = track::settle(plan::status(&mut sync.job), &counting.holding);
        if result.is_err() && changed {
            self.write_status(key, &sync.job).await?;
        }
        result?;
        let finished = !counting.full && track::finish(sync);
        if changed || finished {
            let job = self.write_status(key, &sync.job).await?;
            if let Some(end) = facts::end(&job).filter(|_| finished) {
                for (good, reason, note) in track::told(&job, end) {
                    let type_ = if good { NORMAL } else { WARNING };
                    self.recorder
                        .event(&job.object_ref(&()), type_, &reason, note);
                }
            }
        }
        Ok(())
    }

    async fn sync(&self, key: &Key, job: &Job) -> Result<(), Error> {
        let unmet = self.expectations.unmet(key);
        if let Some(left) = unmet {
            self.queue.add_after(key.clone(), left);
        }
        let pods = self.claim(key, job).await?;
        let released = self.released.lock().get(key).cloned().unwrap_or_default();
        let backoff = self.backoffs.lock().get(key).copied().unwrap_or_default();
        let before = job.status.clone().unwrap_or_default();
        let now = clock::now();
        let mut sync = Sync::new(job.clone(), pods, released, backoff, now);
        let op = sync.decide(unmet.is_none(), now);
        let mut event = None;
        let result;
        if sync.end.is_some() {
            result = self.execute(key, &mut sync, op).await;
            // What is left must be counted first, and what is not seen yet might be left.
            if sync.active > 0 || unmet.is_some() {
                sync.end = None;
            }
        } else {
            let managed = unmet.is_none() && job.metadata.deletion_timestamp.is_none();
            result = self.execute(key, &mut sync, op).await;
            event = sync.conclude(managed, now);
        }
        if let Some([reason, note]) = event {
            self.recorder
                .event(&job.object_ref(&()), NORMAL, reason, note);
        }
        let status = plan::status(&mut sync.job);
        status.active = Some(sync.active).filter(|active| *active != 0);
        status.ready = Some(sync.ready);
        status.terminating = Some(sync.terminating);
        let changed = event.is_some()
            || status.active != before.active
            || status.ready != before.ready
            || status.terminating != before.terminating;
        self.track(key, &mut sync, changed).await?;
        if let Some(after) = sync.again_after {
            self.queue.add_after(key.clone(), after.max(BATCH));
        }
        result
    }
}

pub(crate) fn selector(job: &Job) -> Result<Selector, Error> {
    let selector = job.spec.as_ref().and_then(|s| s.selector.as_ref());
    let Some(selector) = selector else {
        return Ok(Selector::nothing());
    };
    Selector::from_label_selector(selector)
        .map_err(|error| Error::Other(format!("job has invalid label selector: {error}")))
}

impl Reconciler for JobController {
    const NAME: &'static str = "job";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(job) = self.jobs.get(&key.namespace, &key.name) else {
            self.forget(key);
            return Ok(());
        };
        if facts::is_foreign(&job) {
            return Ok(());
        }
        if facts::end(&job).is_some() {
            self.forget(key);
            self.release_orphans(&job);
            return Ok(());
        }
        if let Some(left) = self.written.unseen(key, |_| Some(written::revision(&*job))) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        self.sync(key, &job).await
    }
}

#[cfg(test)]
mod tests;
