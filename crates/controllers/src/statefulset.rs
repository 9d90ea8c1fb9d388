//! StatefulSets: numbered pods with names, and claims, of their own.

mod claims;
mod history;
mod identity;
mod plan;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use knarr_client::{Event, Informer, WorkQueue, errors};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Resource};

use crate::deletion;
use crate::events::{NORMAL, Recorder, WARNING};
use crate::owners;
use crate::pod_events;
use crate::pods;
use crate::replicaset::slow_start;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::written::{self, Written};
use plan::{Observed, Op};

const WORKERS: usize = 5;

pub(crate) struct StatefulSetController {
    client: kube::Client,
    recorder: Recorder,
    sets: Informer<StatefulSet>,
    pods: Informer<Pod>,
    claims: Informer<PersistentVolumeClaim>,
    revisions: Informer<ControllerRevision>,
    /// The set under no name, `pod/` and `revision/` with theirs.
    written: Written,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("statefulset-controller");
    let controller = Arc::new(StatefulSetController {
        recorder: context.recorder(&client, "statefulset-controller"),
        client,
        sets: context.informers.informer(),
        pods: context.informers.informer(),
        claims: context.informers.informer(),
        revisions: context.informers.informer(),
        written: Written::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.sets),
        synced(&controller.pods),
        synced(&controller.claims),
        synced(&controller.revisions),
    ];
    context.start(controller, WORKERS, informers);
}

fn pod_note(name: &str) -> String {
    format!("pod/{name}")
}

fn revision_note(name: &str) -> String {
    format!("revision/{name}")
}

impl StatefulSetController {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.sets.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let key = Key::of(&**event.object());
            let another =
                matches!(&event, Event::Updated { old, new } if uid(&**old) != uid(&**new));
            if another || matches!(&event, Event::Deleted(_)) {
                this.written.forget(&key);
            }
            this.queue.add(key);
        });
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let meaning = pod_events::meaning(&event, "StatefulSet");
            if let Event::Deleted(pod) = &event {
                let name = pod.metadata.name.as_deref().unwrap_or_default();
                for key in &meaning.wake {
                    this.written.forget_object(key, &pod_note(name));
                }
            }
            meaning.wake.into_iter().for_each(|key| this.queue.add(key));
            if meaning.orphan {
                this.enqueue_adopters(&event.object().metadata);
            }
        });
        let this = Arc::downgrade(self);
        self.revisions.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let meta = &event.object().metadata;
            let owner = owners::controller_of(meta).filter(|owner| owner.kind == "StatefulSet");
            match owner {
                Some(owner) => {
                    let namespace = meta.namespace.as_deref().unwrap_or_default();
                    let key = Key::new(namespace, &owner.name);
                    if let Event::Deleted(_) = &event {
                        let name = meta.name.as_deref().unwrap_or_default();
                        this.written.forget_object(&key, &revision_note(name));
                    }
                    this.queue.add(key);
                }
                None => this.enqueue_adopters(meta),
            }
        });
    }

    fn enqueue_adopters(&self, meta: &ObjectMeta) {
        if owners::controller_of(meta).is_some() {
            return;
        }
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        for set in self.sets.list_in(namespace) {
            if selector(&set).is_ok_and(|s| s.matches_option(meta.labels.as_ref())) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    fn event(&self, set: &StatefulSet, type_: &'static str, reason: &str, note: String) {
        let about = set.object_ref(&());
        self.recorder.event(&about, type_, reason, note);
    }

    /// An event about what was done with a pod; `verb` is `Create`, `Update` or `Delete`.
    fn pod_event(&self, set: &StatefulSet, verb: &str, pod: &str, failure: Option<&Error>) {
        let owner = set.metadata.name.as_deref().unwrap_or_default();
        let what = format!("{verb} Pod {pod} in StatefulSet {owner}");
        match failure {
            None => {
                let reason = format!("Successful{verb}");
                self.event(set, NORMAL, &reason, format!("{what} successful"));
            }
            Some(error) if error.is_namespace_terminating() => {}
            Some(error) => {
                let reason = format!("Failed{verb}");
                self.event(
                    set,
                    WARNING,
                    &reason,
                    format!("{what} failed error: {error}"),
                );
            }
        }
    }

    async fn execute(&self, key: &Key, set: &StatefulSet, op: &Op) -> Result<(), Error> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let (verb, pod, result) = match op {
            Op::Claims(pod) => return self.make_claims(key, set, pod).await,
            Op::Create(pod) => {
                let result = self.create(key, set, &api, pod).await;
                let taken = matches!(&result, Err(Error::Api(e)) if errors::is_already_exists(e));
                if taken || matches!(&result, Err(Error::Again(_))) {
                    return result;
                }
                ("Create", &pod.metadata, result)
            }
            Op::Repair(pod) => (
                "Update",
                &pod.metadata,
                self.repair(key, set, &api, pod).await,
            ),
            Op::Delete(pod) => {
                let result = deletion::delete(&api, &pod.metadata, DeleteParams::default()).await;
                ("Delete", &pod.metadata, result.map_err(Error::from))
            }
        };
        let name = pod.name.as_deref().unwrap_or_default();
        self.pod_event(set, verb, name, result.as_ref().err());
        result
    }

    async fn create(
        &self,
        key: &Key,
        set: &StatefulSet,
        api: &Api<Pod>,
        pod: &Pod,
    ) -> Result<(), Error> {
        self.make_claims(key, set, pod).await?;
        let created = api.create(&PostParams::default(), pod).await?;
        self.note_pod(key, &created);
        self.keep_claims(key, set, &created).await
    }

    async fn repair(
        &self,
        key: &Key,
        set: &StatefulSet,
        api: &Api<Pod>,
        pod: &Pod,
    ) -> Result<(), Error> {
        self.make_claims(key, set, pod).await?;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let replaced = api.replace(name, &PostParams::default(), pod).await?;
        self.note_pod(key, &replaced);
        Ok(())
    }

    fn note_pod(&self, key: &Key, pod: &Pod) {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        self.written.note(key, &pod_note(name), pod);
    }

    /// Does what is planned. Claims come first: one that is to go with its pod must name it while the pod is there, and if that cannot
    /// be written now, no pod goes now.
    async fn carry_out(
        &self,
        key: &Key,
        set: &StatefulSet,
        owned: &[Arc<Pod>],
        mut ops: Vec<Op>,
    ) -> Result<(), Error> {
        let mut kept = Ok(());
        if set.metadata.deletion_timestamp.is_none() {
            for pod in owned {
                kept = kept.and(self.keep_claims(key, set, pod).await);
            }
        }
        if kept.is_err() {
            ops.retain(|op| !matches!(op, Op::Delete(_)));
        }
        let executed = self.execute_all(key, set, &ops).await;
        kept.and(executed)
    }

    async fn execute_all(&self, key: &Key, set: &StatefulSet, ops: &[Op]) -> Result<(), Error> {
        let turn = AtomicUsize::new(0);
        let next = || {
            let op = ops.get(turn.fetch_add(1, Ordering::Relaxed));
            async move {
                match op {
                    Some(op) => self.execute(key, set, op).await,
                    None => Ok(()),
                }
            }
        };
        let (_, result) = slow_start(ops.len(), next).await;
        result
    }

    async fn replace_status(
        &self,
        key: &Key,
        set: &StatefulSet,
        status: StatefulSetStatus,
    ) -> Result<(), Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut written = set.clone();
        written.status = Some(status);
        let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &key.namespace);
        let answer = api
            .replace_status(&key.name, &PostParams::default(), &written)
            .await?;
        self.written.note(key, "", &answer);
        Ok(())
    }

    /// The set's pods, adopted ones included. Others of its labels have names that it does not give.
    async fn owned(
        &self,
        key: &Key,
        set: &StatefulSet,
        selector: &Selector,
    ) -> Result<Vec<Arc<Pod>>, Error> {
        let mut candidates = owners::candidates(&self.pods, &key.namespace, uid(set));
        candidates.retain(|pod| identity::is_member(set, pod));
        let claims = owners::claim(&set.metadata, selector, candidates);
        let sets = Api::namespaced(self.client.clone(), &key.namespace);
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        owners::execute(claims, set, &sets, &api).await
    }
}

fn selector(set: &StatefulSet) -> Result<Selector, Error> {
    let spec = set.spec.as_ref();
    let spec = spec.ok_or_else(|| Error::Other("stateful set has no spec".to_owned()))?;
    let selector = Selector::from_label_selector(&spec.selector).map_err(|error| {
        Error::Other(format!("stateful set has invalid label selector: {error}"))
    })?;
    // An empty selector would select everything; it manages nothing.
    Ok(if selector.is_empty() {
        Selector::nothing()
    } else {
        selector
    })
}

impl Reconciler for StatefulSetController {
    const NAME: &'static str = "statefulset";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let seen = |note: &str| match note.split_once('/') {
            Some(("pod", name)) => {
                let pod = self.pods.get(&key.namespace, name)?;
                Some(written::revision(&*pod))
            }
            Some((_, name)) => {
                let revision = self.revisions.get(&key.namespace, name)?;
                Some(written::revision(&*revision))
            }
            None => Some(written::revision(&*set)),
        };
        if let Some(left) = self.written.unseen(key, seen) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let selector = selector(&set)?;
        let owned = self.owned(key, &set, &selector).await?;
        let Some(versions) = self.versions(key, &set, &selector).await? else {
            return Ok(());
        };
        let now = clock::now();
        let observed = Observed {
            set: &set,
            current: &versions.current,
            update: &versions.update,
            pods: &owned,
            now,
        };
        let plan = plan::plan(&observed);
        let result = self.carry_out(key, &set, &owned, plan.ops).await;
        self.replace_status(key, &set, plan.status).await?;
        result?;
        self.truncate(key, &set, &versions, &owned).await?;
        let min_ready = plan::min_ready_seconds(&set);
        let pods = owned.iter().map(|pod| &**pod);
        if let Some(delay) = pods::next_available(pods, min_ready, now) {
            self.queue.add_after(key.clone(), delay);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
