//! ReplicaSets and ReplicationControllers: as many pods of a template as asked for.

mod plan;
mod replicated;

use std::future::Future;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use knarr_client::{Event, Informer, Object, WorkQueue, errors};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};

use crate::events::Recorder;
use crate::expectations::Expectations;
use crate::owners::{self, Owned};
use crate::pod_control::PodControl;
use crate::pod_events;
use crate::pods::{PodSummary, View};
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::written::{self, Written};
use plan::Op;
pub(crate) use plan::rank;
use replicated::Replicated;

const WORKERS: usize = 5;
/// Pods created in the first batch; each batch that succeeds doubles the next (upstream `SlowStartInitialBatchSize`).
const SLOW_START_PODS: usize = 1;

pub(crate) struct ReplicaSetController<K: Replicated> {
    client: kube::Client,
    recorder: Recorder,
    sets: Informer<K>,
    pods: Informer<PodSummary>,
    expectations: Expectations,
    written: Written,
    queue: WorkQueue<Key>,
}

pub(crate) fn start_replica_sets(context: &Context) {
    start_of::<ReplicaSet>(context);
}

pub(crate) fn start_replication_controllers(context: &Context) {
    start_of::<ReplicationController>(context);
}

fn start_of<K: Replicated>(context: &Context) {
    let client = context.client(K::ACCOUNT);
    let controller = Arc::new(ReplicaSetController::<K> {
        recorder: context.recorder(&client, K::ACCOUNT),
        client,
        sets: context.informers.informer(),
        pods: context.informers.informer_as::<PodSummary, Pod>(),
        expectations: Expectations::default(),
        written: Written::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![synced(&controller.sets), synced(&controller.pods)];
    context.start(controller, WORKERS, informers);
}

impl<K: Replicated> ReplicaSetController<K> {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.sets.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let key = Key::of(&**event.object());
            if let Event::Updated { old, new } = &event
                && uid(&**old) != uid(&**new)
            {
                this.expectations.forget(&key);
            }
            if let Event::Deleted(_) = &event {
                this.expectations.forget(&key);
                this.written.forget(&key);
            }
            this.queue.add(key);
        });
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let meaning = pod_events::meaning(&event, K::KIND);
            meaning.meet(&this.expectations);
            meaning.wake.into_iter().for_each(|key| this.queue.add(key));
            if meaning.orphan {
                this.enqueue_adopters(event.object());
            }
        });
    }

    fn enqueue_adopters(&self, pod: &PodSummary) {
        for set in self.sets.list_in(pod.namespace()) {
            if selector(&set.as_set()).is_ok_and(|s| s.matches_with(|key| pod.label(key))) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    /// The pods of all ReplicaSets that have the same controller.
    fn related(&self, set: &K) -> Vec<Arc<PodSummary>> {
        let namespace = set.meta().namespace.as_deref().unwrap_or_default();
        let siblings = match owners::controller_of(set.meta()) {
            Some(owner) => owners::controlled(&self.sets, namespace, &owner.uid),
            None => Vec::new(),
        };
        let mut uids: Vec<&str> = siblings.iter().map(|sibling| uid(&**sibling)).collect();
        if uids.is_empty() {
            uids.push(uid(set));
        }
        uids.into_iter()
            .flat_map(|uid| owners::controlled(&self.pods, namespace, uid))
            .collect()
    }

    async fn execute(&self, key: &Key, set: &K, op: Op<PodSummary>) -> Result<(), Error> {
        let control = PodControl {
            api: Api::namespaced(self.client.clone(), &key.namespace),
            recorder: &self.recorder,
            about: set.object_ref(&()),
        };
        match op {
            Op::Create { count } => {
                let pod = new_pod(set);
                self.expectations.expect_creations(key, count);
                let create = || async { control.create(&pod).await.map(drop) };
                let (created, result) = slow_start(count, create).await;
                // What was not made will not be seen.
                for _ in created..count {
                    self.expectations.creation_observed(key);
                }
                match result {
                    Err(error) if errors::is_namespace_terminating(&error) => Ok(()),
                    result => result.map_err(Error::from),
                }
            }
            Op::Delete { pods } => {
                self.expectations
                    .expect_deletions(key, pods.iter().map(|pod| pod.uid().to_owned()));
                let deletions = pods.iter().map(|pod| async {
                    let result = control.delete_named(pod.name(), pod.uid()).await;
                    if result.is_err() {
                        self.expectations.deletion_observed(key, pod.uid());
                    }
                    result
                });
                join_all(deletions)
                    .await
                    .into_iter()
                    .collect::<Result<Vec<()>, _>>()?;
                Ok(())
            }
        }
    }

    async fn write_status(
        &self,
        set: &K,
        (active, terminating): (&[Arc<PodSummary>], i32),
        failure: Option<&str>,
    ) -> Result<(), Error> {
        let seen = set.as_set();
        let mut status = plan::status(&seen, active, terminating, failure, clock::now());
        if !K::TELLS_TERMINATING {
            status.terminating_replicas = None;
        }
        if seen.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let written = set.with_status(status);
        let namespace = set.meta().namespace.as_deref().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        let name = set.meta().name.as_deref().unwrap_or_default();
        let answer = api
            .replace_status(name, &PostParams::default(), &written)
            .await?;
        self.written.note(&Key::of(set), name, &answer);
        Ok(())
    }
}

fn selector(set: &ReplicaSet) -> Result<Selector, Error> {
    let spec = set
        .spec
        .as_ref()
        .ok_or_else(|| Error::Other("replica set has no spec".to_owned()))?;
    let selector = Selector::from_label_selector(&spec.selector).map_err(|error| {
        Error::Other(format!("replica set has invalid label selector: {error}"))
    })?;
    Ok(if selector.is_empty() {
        Selector::nothing()
    } else {
        selector
    })
}

/// A pod of the ReplicaSet's template, named by the server.
fn new_pod<K: Replicated>(set: &K) -> Pod {
    let template = set
        .as_set()
        .spec
        .as_ref()
        .and_then(|s| s.template.clone())
        .unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!(
                "{}-",
                set.meta().name.as_deref().unwrap_or_default()
            )),
            namespace: set.meta().namespace.clone(),
            labels: meta.labels,
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owners::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// Calls `create` `count` times in batches of 1, 2, 4 …; a failure ends it after its batch, so that what fails for all
/// (a quota, say) fails a few times only. How many succeeded, and the first error.
pub(crate) async fn slow_start<F, E>(count: usize, create: impl Fn() -> F) -> (usize, Result<(), E>)
where
    F: Future<Output = Result<(), E>>,
{
    let mut succeeded = 0;
    let mut batch = SLOW_START_PODS.min(count);
    let mut left = count;
    while batch > 0 {
        let results = join_all((0..batch).map(|_| create())).await;
        succeeded += results.iter().filter(|result| result.is_ok()).count();
        if let Some(error) = results.into_iter().find_map(Result::err) {
            return (succeeded, Err(error));
        }
        left -= batch;
        batch = (batch * 2).min(left);
    }
    (succeeded, Ok(()))
}

impl<K: Replicated> Reconciler for ReplicaSetController<K> {
    const NAME: &'static str = K::NAME;
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        if let Some(left) = self.written.unseen(key, |_| Some(written::revision(&*set))) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let unmet = self.expectations.unmet(key);
        let seen = set.as_set();
        let selector = selector(&seen)?;
        let mut candidates = owners::candidates(&self.pods, &key.namespace, uid(&*set));
        let terminating = plan::terminating(set.meta(), &selector, &candidates);
        candidates.retain(|pod| pod.is_active());
        let claims = owners::claim(set.meta(), &selector, candidates);
        let sets = Api::namespaced(self.client.clone(), &key.namespace);
        let pods = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let active = owners::execute(claims, &*set, &sets, &pods).await?;
        let mut result = Ok(());
        if let Some(left) = unmet {
            self.queue.add_after(key.clone(), left);
        } else if set.meta().deletion_timestamp.is_none() {
            let now = clock::now();
            if let Some(op) = plan::plan(&seen, &active, || self.related(&set), now) {
                result = self.execute(key, &set, op).await;
            }
        }
        let failure = result.as_ref().err().map(ToString::to_string);
        self.write_status(&set, (&active, terminating), failure.as_deref())
            .await?;
        if let Some(delay) = plan::next_available(&seen, &active, clock::now()) {
            self.queue.add_after(key.clone(), delay);
        }
        result
    }
}

#[cfg(test)]
mod tests;
