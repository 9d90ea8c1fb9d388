//! DaemonSets: a pod of a template on every node that fits.
//!
//! The scheduler binds the pods. Each is pinned to its node by affinity, so that it waits there until it fits.

mod backoff;
mod history;
mod observed;
mod placement;
mod plan;
mod rolling;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::{Event, Informer, WorkQueue, errors};
use knarr_meta::clock;
use knarr_meta::labels::Selector;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Resource};

use crate::events::{NORMAL, Recorder, WARNING};
use crate::expectations::Expectations;
use crate::owners;
use crate::pod_control::PodControl;
use crate::pod_events;
use crate::pods;
use crate::replicaset::slow_start;
use crate::revisions::HASH_LABEL;
use crate::runner::{Context, Error, Key, Reconciler, synced, uid};
use crate::written::{self, Written};
use backoff::Backoff;
use observed::Observed;
use placement::Placement;
use plan::{Ended, Plan};

const WORKERS: usize = 2;

pub(crate) struct DaemonSetController {
    client: kube::Client,
    recorder: Recorder,
    sets: Informer<DaemonSet>,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    revisions: Informer<ControllerRevision>,
    expectations: Expectations,
    /// The set under no name, its revisions under theirs.
    written: Written,
    backoff: Backoff,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("daemon-set-controller");
    let controller = Arc::new(DaemonSetController {
        recorder: context.recorder(&client, "daemonset-controller"),
        client,
        sets: context.informers.informer(),
        pods: context.informers.informer(),
        nodes: context.informers.informer(),
        revisions: context.informers.informer(),
        expectations: Expectations::default(),
        written: Written::default(),
        backoff: Backoff::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.sets),
        synced(&controller.pods),
        synced(&controller.nodes),
        synced(&controller.revisions),
    ];
    context.start(controller, WORKERS, informers);
}

impl DaemonSetController {
    fn watch(self: &Arc<Self>) {
        let this = Arc::downgrade(self);
        self.sets.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let key = Key::of(&**event.object());
            let another =
                matches!(&event, Event::Updated { old, new } if uid(&**old) != uid(&**new));
            if another || matches!(&event, Event::Deleted(_)) {
                this.expectations.forget(&key);
                this.written.forget(&key);
            }
            this.queue.add(key);
        });
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let meaning = pod_events::meaning(&event, "DaemonSet");
            meaning.meet(&this.expectations);
            meaning.wake.into_iter().for_each(|key| this.queue.add(key));
            if meaning.orphan {
                this.enqueue_adopters(&event.object().metadata);
            }
        });
        let this = Arc::downgrade(self);
        self.nodes.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.node_changed(&event);
            }
        });
        let this = Arc::downgrade(self);
        self.revisions.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                this.revision_changed(&event);
            }
        });
    }

    fn enqueue_adopters(&self, meta: &ObjectMeta) {
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        for set in self.sets.list_in(namespace) {
            if selector(&set).is_ok_and(|s| s.matches_option(meta.labels.as_ref())) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    /// Wakes the sets to which the node is something else now. A node reports every few seconds; that changes nothing.
    fn node_changed(&self, event: &Event<Node>) {
        let taints = |node: &Node| node.spec.as_ref().and_then(|s| s.taints.clone());
        let (before, after) = match event {
            Event::Added(node) => (None, Some(node)),
            Event::Updated { old, new } => (Some(old), Some(new)),
            Event::Deleted(node) => (Some(node), None),
        };
        if let (Some(old), Some(new)) = (before, after)
            && old.metadata.labels == new.metadata.labels
            && taints(old) == taints(new)
        {
            return;
        }
        for set in self.sets.list() {
            let placement = Placement::of(&set);
            let fit = |node: &Arc<Node>| placement.fit(node);
            if before.map(fit) != after.map(fit) {
                self.queue.add(Key::of(&*set));
            }
        }
    }

    fn revision_changed(&self, event: &Event<ControllerRevision>) {
        let wake = |revision: &ControllerRevision| {
            let meta = &revision.metadata;
            let owner = owners::controller_of(meta).filter(|owner| owner.kind == "DaemonSet")?;
            let key = Key::new(meta.namespace.as_deref().unwrap_or_default(), &owner.name);
            if matches!(event, Event::Deleted(_)) {
                self.written
                    .forget_object(&key, meta.name.as_deref().unwrap_or_default());
            }
            self.queue.add(key);
            Some(())
        };
        if let Event::Updated { old, .. } = event {
            wake(old);
        }
        let revision = &**event.object();
        wake(revision);
        if owners::controller_of(&revision.metadata).is_none() {
            self.enqueue_adopters(&revision.metadata);
        }
    }

    async fn execute(
        &self,
        key: &Key,
        set: &DaemonSet,
        hash: &str,
        plan: Plan,
    ) -> Result<(), Error> {
        let control = PodControl {
            api: Api::namespaced(self.client.clone(), &key.namespace),
            recorder: &self.recorder,
            about: set.object_ref(&()),
        };
        for ended in &plan.ended {
            self.note_ended(set, &control, ended);
        }
        let (count, going) = (plan.create.len(), &plan.delete);
        if count == 0 && going.is_empty() {
            return Ok(());
        }
        let uids = going.iter().map(|pod| uid(&**pod).to_owned());
        self.expectations.expect(key, count, uids);
        let turn = AtomicUsize::new(0);
        let create = || {
            let node = plan.create.get(turn.fetch_add(1, Ordering::Relaxed));
            let pod = new_pod(set, hash, node.map_or("", String::as_str));
            let control = &control;
            async move { control.create(&pod).await.map(drop) }
        };
        let (created, result) = slow_start(count, create).await;
        // What was not made will not be seen.
        for _ in created..count {
            self.expectations.creation_observed(key);
        }
        let deletions = going.iter().map(|pod| async {
            let result = control.delete(pod).await;
            if result.is_err() {
                self.expectations.deletion_observed(key, uid(&**pod));
            }
            result
        });
        let deleted: Result<Vec<()>, _> = join_all(deletions).await.into_iter().collect();
        match result {
            Err(error) if errors::is_namespace_terminating(&error) => {}
            result => result?,
        }
        deleted?;
        Ok(())
    }

    fn note_ended(&self, set: &DaemonSet, control: &PodControl<'_>, ended: &Ended) {
        let Ended { node, pod, failed } = ended;
        let (type_, reason, note) = if *failed {
            self.backoff
                .failed(uid(set), observed_generation(set), node);
            let note = format!("Found failed daemon pod {pod} on node {node}, will try to kill it");
            (WARNING, "FailedDaemonPod", note)
        } else {
            let note =
                format!("Found succeeded daemon pod {pod} on node {node}, will try to delete it");
            (NORMAL, "SucceededDaemonPod", note)
        };
        self.recorder.event(&control.about, type_, reason, note);
    }

    async fn replace_status(
        &self,
        key: &Key,
        set: &DaemonSet,
        status: DaemonSetStatus,
    ) -> Result<(), Error> {
        if set.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let mut written = set.clone();
        written.status = Some(status);
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), &key.namespace);
        let answer = api
            .replace_status(&key.name, &PostParams::default(), &written)
            .await?;
        self.written.note(key, "", &answer);
        Ok(())
    }

    /// Brings pods to what the set asks for. `Ok(false)`: what was done last is not seen yet, nothing was decided.
    async fn decide(&self, key: &Key, observed: &Observed<'_>) -> Result<bool, Error> {
        if let Some(left) = self.expectations.unmet(key) {
            self.queue.add_after(key.clone(), left);
            return Ok(false);
        }
        let set = observed.set;
        let waiting = |node: &str| self.backoff.left(uid(set), observed_generation(set), node);
        let plan = plan::plan(observed, waiting);
        if let Some(delay) = plan.again_after {
            self.queue.add_after(key.clone(), delay);
        }
        self.execute(key, set, observed.hash, plan).await?;
        Ok(true)
    }
}

fn observed_generation(set: &DaemonSet) -> i64 {
    let status = set.status.as_ref();
    status.and_then(|s| s.observed_generation).unwrap_or(0)
}

fn selector(set: &DaemonSet) -> Result<Selector, Error> {
    let spec = set.spec.as_ref();
    let spec = spec.ok_or_else(|| Error::Other("daemon set has no spec".to_owned()))?;
    let selector = Selector::from_label_selector(&spec.selector)
        .map_err(|error| Error::Other(format!("daemon set has invalid label selector: {error}")))?;
    // An empty selector would select everything; it manages nothing.
    Ok(if selector.is_empty() {
        Selector::nothing()
    } else {
        selector
    })
}

/// The set's pod for a node, named by the server.
fn new_pod(set: &DaemonSet, hash: &str, node: &str) -> Pod {
    let template = set.spec.as_ref().map(|s| s.template.clone());
    let template = template.unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut labels = meta.labels.unwrap_or_default();
    labels.insert(HASH_LABEL.to_owned(), hash.to_owned());
    if let Some(generation) = observed::template_generation(set) {
        let label = observed::TEMPLATE_GENERATION_LABEL.to_owned();
        labels.insert(label, generation.to_string());
    }
    let mut spec = template.spec.unwrap_or_default();
    placement::add_tolerations(&mut spec);
    placement::pin(&mut spec, node);
    let name = set.metadata.name.as_deref().unwrap_or_default();
    Pod {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: set.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: meta.annotations,
            finalizers: meta.finalizers,
            owner_references: Some(vec![owners::controller_reference(set)]),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

impl Reconciler for DaemonSetController {
    const NAME: &'static str = "daemonset";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(set) = self.sets.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let revision = |name: &str| match name {
            "" => Some(written::revision(&*set)),
            name => {
                let revision = self.revisions.get(&key.namespace, name)?;
                Some(written::revision(&*revision))
            }
        };
        if let Some(left) = self.written.unseen(key, revision) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let selector = selector(&set)?;
        if selector.is_nothing() {
            let note = "This daemon set is selecting all pods. A non-empty selector is required.";
            let about = set.object_ref(&());
            self.recorder.event(&about, WARNING, "SelectingAll", note);
            return Ok(());
        }
        let candidates = owners::candidates(&self.pods, &key.namespace, uid(&*set));
        let claims = owners::claim(&set.metadata, &selector, candidates);
        let sets = Api::namespaced(self.client.clone(), &key.namespace);
        let api = Api::<Pod>::namespaced(self.client.clone(), &key.namespace);
        let owned = owners::execute(claims, &*set, &sets, &api).await?;
        let (hash, history) = self.history(key, &set, &selector, &owned).await?;
        let nodes = self.nodes.list();
        let observed = Observed::new(&set, &hash, &nodes, &owned, clock::now());
        let decided = self.decide(key, &observed).await;
        let status = observed.status(!matches!(decided, Ok(false)));
        let result = match decided {
            Ok(true) => {
                let limit = set.spec.as_ref().and_then(|s| s.revision_history_limit);
                let in_use = |revision: &ControllerRevision| {
                    let hash = crate::revisions::hash_of(revision);
                    let mut hashes = owned
                        .iter()
                        .filter_map(|pod| observed::label(pod, HASH_LABEL));
                    hashes.any(|label| label == hash)
                };
                let surplus = history.surplus(limit, in_use);
                self.drop_revisions(key, &surplus).await
            }
            other => other.map(drop),
        };
        self.replace_status(key, &set, status).await?;
        let min_ready = observed::min_ready_seconds(&set);
        let pods = owned.iter().map(|pod| &**pod);
        if let Some(delay) = pods::next_available(pods, min_ready, observed.now) {
            self.queue.add_after(key.clone(), delay);
        }
        result
    }
}

#[cfg(test)]
mod tests;
