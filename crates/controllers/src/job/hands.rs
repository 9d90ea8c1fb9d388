//! Carries out what was planned for a job's pods.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use knarr_client::errors;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Resource};
use serde_json::json;

use super::facts::{self, FINALIZER};
use super::plan::{Op, Sync};
use super::{JobController, template};
use crate::deletion;
use crate::events::{NORMAL, WARNING};
use crate::pod_control::PodControl;
use crate::pods;
use crate::replicaset::slow_start;
use crate::runner::{Error, Key, uid};

/// Takes the finalizer from a pod, if it has it. One that is gone is no error.
pub(super) async fn remove_finalizer(api: &Api<Pod>, pod: &Pod) -> Result<(), kube::Error> {
    if !facts::is_tracked(pod) {
        return Ok(());
    }
    let patch = json!({"metadata": {
        "uid": pod.metadata.uid,
        "$deleteFromPrimitiveList/finalizers": [FINALIZER],
    }});
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let result = api
        .patch(name, &PatchParams::default(), &Patch::Strategic(patch))
        .await;
    errors::optional(result)?;
    Ok(())
}

impl JobController {
    /// Does what was decided; the counts of `sync` follow what succeeded.
    pub(super) async fn execute(
        &self,
        key: &Key,
        sync: &mut Sync,
        op: Option<Op>,
    ) -> Result<(), Error> {
        match op {
            None => Ok(()),
            Some(Op::End(pods)) => self.delete(key, sync, pods, false).await,
            Some(Op::Remove(pods)) => {
                let uids = pods.iter().map(|pod| uid(&**pod).to_owned());
                self.expectations.expect_deletions(key, uids);
                self.delete(key, sync, pods, true).await
            }
            Some(Op::Create(indexes)) => self.create(key, sync, indexes).await,
        }
    }

    /// Deletes pods; with their finalizers, if nobody is to count them.
    async fn delete(
        &self,
        key: &Key,
        sync: &mut Sync,
        pods: Vec<Arc<Pod>>,
        uncounted: bool,
    ) -> Result<(), Error> {
        let job = &sync.job;
        let deletions = pods
            .iter()
            .map(|pod| self.delete_pod(key, job, pod, uncounted));
        let results = join_all(deletions).await;
        for (pod, result) in pods.iter().zip(&results) {
            if result.is_ok() {
                sync.active -= 1;
                sync.terminating += 1;
                sync.ready -= i32::from(pods::is_ready(pod));
            }
        }
        results.into_iter().collect::<Result<(), _>>()?;
        Ok(())
    }

    async fn delete_pod(
        &self,
        key: &Key,
        job: &Job,
        pod: &Pod,
        uncounted: bool,
    ) -> Result<(), kube::Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let about = job.object_ref(&());
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let mut result = Ok(());
        if uncounted {
            result = remove_finalizer(&api, pod).await;
        }
        if result.is_ok() {
            result = deletion::delete(&api, &pod.metadata, DeleteParams::default()).await;
        }
        match &result {
            Ok(()) => {
                let note = format!("Deleted pod: {name}");
                self.recorder
                    .event(&about, NORMAL, "SuccessfulDelete", note);
            }
            Err(error) => {
                self.expectations.deletion_observed(key, uid(pod));
                let note = format!("Error deleting: {}", errors::message(error));
                self.recorder.event(&about, WARNING, "FailedDelete", note);
            }
        }
        result
    }

    async fn create(
        &self,
        key: &Key,
        sync: &mut Sync,
        indexes: Vec<Option<i32>>,
    ) -> Result<(), Error> {
        let count = indexes.len();
        self.expectations.expect_creations(key, count);
        let next = AtomicUsize::new(0);
        let control = PodControl {
            api: Api::namespaced(self.client.clone(), &key.namespace),
            recorder: &self.recorder,
            about: sync.job.object_ref(&()),
        };
        let make = || {
            let index = indexes.get(next.fetch_add(1, Ordering::Relaxed)).copied();
            let index = index.flatten();
            let replaced = index.and_then(|index| sync.kept.get(&index));
            let pod = template::new_pod(&sync.job, index, replaced.map(|pod| &**pod));
            let control = &control;
            async move { control.create(&pod).await.map(drop) }
        };
        let (created, result) = slow_start(count, make).await;
        // What was not made will not be seen.
        for _ in created..count {
            self.expectations.creation_observed(key);
        }
        sync.active += i32::try_from(created).unwrap_or(i32::MAX);
        match result {
            Err(error) if errors::is_namespace_terminating(&error) => Ok(()),
            result => result.map_err(Error::from),
        }
    }

    /// Removes the finalizers of pods that are in the status; the uids of those that have none any more, and what went wrong
    /// with the others.
    pub(super) async fn release(
        &self,
        key: &Key,
        pods: &[Arc<Pod>],
    ) -> (HashSet<String>, Result<(), Error>) {
        let uids = || pods.iter().map(|pod| uid(&**pod).to_owned());
        if pods.is_empty() {
            return (HashSet::new(), Ok(()));
        }
        let noted = |change: &dyn Fn(&mut HashSet<String>)| {
            change(self.released.lock().entry(key.clone()).or_default());
        };
        noted(&|released| released.extend(uids()));
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let results = join_all(pods.iter().map(|pod| remove_finalizer(&api, pod))).await;
        let mut released = HashSet::new();
        let mut result = Ok(());
        for (uid, removal) in uids().zip(results) {
            match removal {
                Ok(()) => {
                    released.insert(uid);
                }
                Err(error) => {
                    // There will be no event of it.
                    noted(&|released| released.retain(|noted| *noted != uid));
                    result = Err(Error::from(error));
                }
            }
        }
        (released, result)
    }
}
