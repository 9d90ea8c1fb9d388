//! CronJobs: a job at each time of a schedule.

mod plan;
mod recent;
mod template;

use knarr_meta::clock;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use knarr_client::{Event, Informer, WorkQueue, errors};
use kube::api::{DeleteParams, PostParams, PropagationPolicy};
use kube::{Api, Resource};

use crate::deletion;
use crate::events::{NORMAL, Recorder, WARNING};
use crate::owners;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::written::{self, Written};
use plan::{EventRecord, Next, Start, Sync};

const WORKERS: usize = 5;

pub(crate) struct CronJobController {
    client: kube::Client,
    recorder: Recorder,
    crons: Informer<CronJob>,
    jobs: Informer<Job>,
    written: Written,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("cronjob-controller");
    let controller = Arc::new(CronJobController {
        recorder: context.recorder(&client, "cronjob-controller"),
        client,
        crons: context.informers.informer(),
        jobs: context.informers.informer(),
        written: Written::default(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller
        .crons
        .on_event(move |event| queue.add(Key::of(&**event.object())));
    let this = Arc::downgrade(&controller);
    controller.jobs.on_event(move |event| {
        if let Some(this) = this.upgrade() {
            this.job_changed(&event);
        }
    });
    let informers = vec![synced(&controller.crons), synced(&controller.jobs)];
    context.start(controller, WORKERS, informers);
}

impl CronJobController {
    fn job_changed(&self, event: &Event<Job>) {
        let old = match event {
            Event::Updated { old, .. } => Some(old),
            _ => None,
        };
        for job in old.into_iter().chain([event.object()]) {
            if let Some(cron) = self.cron_of(job) {
                self.queue.add(Key::of(&*cron));
            }
        }
    }

    /// The CronJob that a job's controller reference names.
    fn cron_of(&self, job: &Job) -> Option<Arc<CronJob>> {
        let owner = owners::controller_of(&job.metadata).filter(|owner| owner.kind == "CronJob")?;
        let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
        let cron = self.crons.get(namespace, &owner.name)?;
        (uid(&*cron) == owner.uid).then_some(cron)
    }

    fn jobs_in(&self, namespace: &str) -> Api<Job> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn tell(&self, about: &ObjectReference, told: Vec<EventRecord>) {
        for EventRecord {
            type_,
            reason,
            note,
        } in told
        {
            self.recorder.event(about, type_, reason, note);
        }
    }

    /// Deletes a job and its pods. Whether it did; what is wrong is told.
    async fn delete(&self, sync: &mut Sync, job: &Job) -> bool {
        let api = self.jobs_in(job.metadata.namespace.as_deref().unwrap_or_default());
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            ..DeleteParams::default()
        };
        if let Err(error) = deletion::delete(&api, &job.metadata, params).await {
            let note = format!("Deleted job: {}", errors::message(&error));
            sync.tell(WARNING, "FailedDelete", note);
            return false;
        }
        sync.forget(uid(job));
        let name = job.metadata.name.as_deref().unwrap_or_default();
        sync.tell(NORMAL, "SuccessfulDelete", format!("Deleted job {name}"));
        true
    }

    /// Forgets jobs that the status lists and that are no more: what the informer lacks may only be late.
    async fn miss(&self, sync: &mut Sync, jobs: &[Arc<Job>]) -> Result<(), Error> {
        for missing in sync.missing(jobs) {
            let namespace = missing.namespace.as_deref().unwrap_or_default();
            let name = missing.name.as_deref().unwrap_or_default();
            if self.jobs_in(namespace).get_opt(name).await?.is_none() {
                let note = format!("Active job went missing: {name}");
                sync.tell(NORMAL, "MissingJob", note);
                sync.forget(missing.uid.as_deref().unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Deletes what runs, where the new job is to take its place.
    async fn replace(&self, sync: &mut Sync) -> Result<(), Error> {
        for active in sync.active() {
            let namespace = active.namespace.as_deref().unwrap_or_default();
            let name = active.name.as_deref().unwrap_or_default();
            let job = match self.jobs_in(namespace).get(name).await {
                Ok(job) => job,
                Err(error) => {
                    let note = format!("Get job: {}", errors::message(&error));
                    sync.tell(WARNING, "FailedGet", note);
                    return Err(error.into());
                }
            };
            if !self.delete(sync, &job).await {
                return Err(Error::Other(format!(
                    "could not replace job {namespace}/{name}"
                )));
            }
        }
        Ok(())
    }

    async fn start_job(&self, sync: &mut Sync, start: &Start) -> Result<(), Error> {
        if start.replace {
            self.replace(sync).await?;
        }
        let wanted = template::job(sync.cron(), start.at, &start.zone);
        let namespace = wanted.metadata.namespace.clone().unwrap_or_default();
        let api = self.jobs_in(&namespace);
        let job = match api.create(&PostParams::default(), &wanted).await {
            Ok(job) => {
                let name = job.metadata.name.as_deref().unwrap_or_default();
                sync.tell(NORMAL, "SuccessfulCreate", format!("Created job {name}"));
                job
            }
            // Made before, and lost before the status said so; or another one's.
            Err(error) if errors::is_already_exists(&error) => {
                let job = api
                    .get(wanted.metadata.name.as_deref().unwrap_or_default())
                    .await?;
                let owner = owners::controller_of(&job.metadata);
                if owner.is_none_or(|owner| owner.uid != uid(sync.cron())) || sync.lists(uid(&job))
                {
                    return Ok(());
                }
                job
            }
            Err(error) => {
                if !errors::is_namespace_terminating(&error) {
                    let note = format!("Error creating job: {}", errors::message(&error));
                    sync.tell(WARNING, "FailedCreate", note);
                }
                return Err(error.into());
            }
        };
        let mut reference = job.object_ref(&());
        reference.resource_version = job.metadata.resource_version.clone();
        sync.started(reference, Time(start.at));
        Ok(())
    }

    async fn sync(&self, key: &Key, sync: &mut Sync, jobs: &[Arc<Job>]) -> Result<(), Error> {
        for job in sync.surplus(jobs) {
            self.delete(sync, &job).await;
        }
        sync.observe(jobs);
        self.miss(sync, jobs).await?;
        let now = clock::now();
        match sync.decide(now) {
            Next::Nothing => return Ok(()),
            Next::Wait => {}
            Next::Start(start) => self.start_job(sync, &start).await?,
        }
        if let Some(delay) = sync.delay(now) {
            self.queue.add_after(key.clone(), delay);
        }
        Ok(())
    }
}

impl Reconciler for CronJobController {
    const NAME: &'static str = "cronjob";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(cron) = self.crons.get(&key.namespace, &key.name) else {
            self.written.forget(key);
            return Ok(());
        };
        if let Some(left) = self
            .written
            .unseen(key, |_| Some(written::revision(&*cron)))
        {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let jobs = owners::controlled(&self.jobs, &key.namespace, uid(&*cron));
        let mut sync = Sync::new((*cron).clone());
        let result = self.sync(key, &mut sync, &jobs).await;
        let (cron, told, changed) = sync.end();
        self.tell(&cron.object_ref(&()), told);
        if changed {
            let api: Api<CronJob> = Api::namespaced(self.client.clone(), &key.namespace);
            let answer = api
                .replace_status(&key.name, &PostParams::default(), &cron)
                .await?;
            self.written.note(key, &key.name, &answer);
        }
        result
    }
}

#[cfg(test)]
mod tests;
