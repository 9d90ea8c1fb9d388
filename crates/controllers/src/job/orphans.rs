//! Pods that hold a finalizer though no job counts them any more: without help they could not be deleted.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use knarr_client::{Informer, WorkQueue};
use kube::{Api, Resource};

use super::{facts, hands};
use crate::owners;
use crate::runner::{Error, Key, Reconciler, uid};

pub(crate) struct Orphans {
    client: kube::Client,
    jobs: Informer<Job>,
    pods: Informer<Pod>,
    /// Names of pods.
    queue: WorkQueue<Key>,
}

/// The job that a pod's controller reference names, as the informer shows it.
pub(super) fn job_of(jobs: &Informer<Job>, pod: &Pod) -> Option<Arc<Job>> {
    let owner = owners::controller_of(&pod.metadata).filter(|owner| owner.kind == "Job")?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let job = jobs.get(namespace, &owner.name)?;
    (uid(&*job) == owner.uid).then_some(job)
}

impl Orphans {
    pub(super) fn new(client: kube::Client, jobs: Informer<Job>, pods: Informer<Pod>) -> Self {
        Self {
            client,
            jobs,
            pods,
            queue: WorkQueue::new(),
        }
    }

    /// Whether a job is there that will count the pod, or another controller's job, which is not looked after here.
    async fn is_counted(&self, pod: &Pod) -> Result<bool, Error> {
        let Some(owner) = owners::controller_of(&pod.metadata) else {
            return Ok(false);
        };
        if owner.kind != Job::kind(&()) || owner.api_version != Job::api_version(&()) {
            return Ok(true);
        }
        let counts = |job: &Job| facts::is_foreign(job) || facts::end(job).is_none();
        if let Some(job) = job_of(&self.jobs, pod) {
            return Ok(counts(&job));
        }
        // The informer may be late: a finalizer that is gone too early loses a count.
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let api: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        let live = api.get_opt(&owner.name).await?;
        Ok(live.is_some_and(|job| uid(&job) == owner.uid && counts(&job)))
    }
}

impl Reconciler for Orphans {
    const NAME: &'static str = "job-orphans";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        if facts::is_tracked(&pod) && !self.is_counted(&pod).await? {
            let api = Api::namespaced(self.client.clone(), &key.namespace);
            hands::remove_finalizer(&api, &pod).await?;
        }
        Ok(())
    }
}
