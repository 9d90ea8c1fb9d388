//! NoExecute taints: pods that do not tolerate a node's taints are deleted, those that do so for a time after that time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod, Taint};
use knarr_client::{Event, Informer, WorkQueue, errors};
use knarr_meta::clock;
use knarr_meta::taints;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Resource};
use parking_lot::Mutex;

use crate::deletion;
use crate::events::{NORMAL, Recorder};
use crate::node_lifecycle::plan::NO_EXECUTE;
use crate::pod_gc::OnNode;
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 4;
/// Of the condition `DisruptionTarget` on pods that go.
const MARK_REASON: &str = "DeletionByTaintManager";

pub(crate) struct TaintEviction {
    client: kube::Client,
    recorder: Recorder,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    /// When a taint without a time was seen first, by pod.
    seen: Mutex<HashMap<Key, Timestamp>>,
    /// Pods that go when their time is over.
    waiting: Mutex<HashSet<Key>>,
    queue: WorkQueue<Key>,
}

fn no_execute(node: &Node) -> Vec<Taint> {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    taints
        .into_iter()
        .flatten()
        .filter(|taint| taint.effect == NO_EXECUTE)
        .cloned()
        .collect()
}

pub(crate) fn start(context: &Context) {
    let client = context.client("node-controller");
    let controller = Arc::new(TaintEviction {
        recorder: context.recorder(&client, "taint-eviction-controller"),
        client,
        pods: context.informers.informer(),
        nodes: context.informers.informer(),
        seen: Mutex::default(),
        waiting: Mutex::default(),
        queue: WorkQueue::new(),
    });
    let this = Arc::downgrade(&controller);
    controller.pods.on_event(move |event| {
        let Some(this) = this.upgrade() else { return };
        let pod = event.object();
        if let Event::Deleted(_) = &event {
            let key = Key::of(&**pod);
            this.seen.lock().remove(&key);
            if this.waiting.lock().contains(&key) {
                this.queue.add(key);
            }
        } else if this
            .nodes
            .get("", pods::node_name(pod))
            .is_some_and(|node| !no_execute(&node).is_empty())
        {
            this.queue.add(Key::of(&**pod));
        }
    });
    let this = Arc::downgrade(&controller);
    controller.nodes.on_event(move |event| {
        let Some(this) = this.upgrade() else { return };
        let changed = match &event {
            Event::Added(node) => !no_execute(node).is_empty(),
            Event::Updated { old, new } => no_execute(old) != no_execute(new),
            Event::Deleted(_) => false,
        };
        if changed {
            let name = event.object().metadata.name.as_deref().unwrap_or_default();
            this.pods
                .by_index(&OnNode(name.to_owned()))
                .iter()
                .for_each(|pod| this.queue.add(Key::of(&**pod)));
        }
    });
    let informers = vec![synced(&controller.pods), synced(&controller.nodes)];
    context.start(controller, WORKERS, informers);
}

/// When the pod has to go because of `taints`; `None` if it may stay. Time runs from when a taint was added (`seen` where it
/// does not say), or from the pod's creation if that is later.
fn evict_at(pod: &Pod, taints: &[Taint], seen: Timestamp) -> Option<Timestamp> {
    let tolerations = pod
        .spec
        .as_ref()
        .and_then(|s| s.tolerations.as_deref())
        .unwrap_or_default();
    let created = pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(Timestamp::MIN, |t| t.0);
    let deadline = |taint: &Taint| {
        let since = taint.time_added.as_ref().map_or(seen, |t| t.0).max(created);
        match tolerations
            .iter()
            .find(|toleration| taints::covers(toleration, taint))
        {
            None => Some(since),
            Some(toleration) => {
                let seconds = toleration.toleration_seconds?.max(0);
                since.checked_add(SignedDuration::from_secs(seconds)).ok()
            }
        }
    };
    taints.iter().filter_map(deadline).min()
}

/// Whether it was told already that the pod goes: the mark that is made on the way wakes this controller again, maybe before the
/// deletion is seen.
fn is_marked(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "DisruptionTarget" && condition.status == "True")
        .any(|condition| condition.reason.as_deref() == Some(MARK_REASON))
}

/// What becomes of a pod on a node with taints, or without.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Stays,
    /// It goes after this long.
    Waits(Duration),
    Goes,
}

fn verdict(pod: Option<&Pod>, taints: &[Taint], seen: Timestamp, now: Timestamp) -> Verdict {
    match pod.and_then(|pod| evict_at(pod, taints, seen)) {
        None => Verdict::Stays,
        Some(at) if at <= now => Verdict::Goes,
        Some(at) => Verdict::Waits(Duration::try_from(now.duration_until(at)).unwrap_or_default()),
    }
}

impl TaintEviction {
    /// Tells that a pod does not go after all, or has gone before its time, where one was set.
    fn stays(&self, key: &Key, pod: Option<&Pod>) {
        if !self.waiting.lock().remove(key) {
            return;
        }
        let reference = pod.map(|pod| pod.object_ref(&()));
        let named = || ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(key.name.clone()),
            namespace: Some(key.namespace.clone()),
            ..Default::default()
        };
        self.recorder.event(
            &reference.unwrap_or_else(named),
            NORMAL,
            "TaintManagerEviction",
            format!("Cancelling deletion of Pod {key}"),
        );
    }

    async fn evict(&self, key: &Key, pod: &Pod) -> Result<(), Error> {
        if !is_marked(pod) {
            let note = format!("Marking for deletion Pod {key}");
            self.recorder
                .event(&pod.object_ref(&()), NORMAL, "TaintManagerEviction", note);
        }
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        let patch = serde_json::json!({
            "metadata": {"uid": pod.metadata.uid},
            "status": {"conditions": [{
                "type": "DisruptionTarget",
                "status": "True",
                "reason": MARK_REASON,
                "message": "Taint manager: deleting due to NoExecute taint",
                "lastTransitionTime": knarr_meta::time::format_seconds(clock::now()),
            }]},
        });
        let patched = api
            .patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await;
        if errors::optional(patched)?.is_none() {
            return Ok(());
        }
        deletion::delete(&api, &pod.metadata, DeleteParams::default()).await?;
        Ok(())
    }
}

impl Reconciler for TaintEviction {
    const NAME: &'static str = "taint-eviction";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let pod = self.pods.get(&key.namespace, &key.name);
        if let Some(pod) = &pod
            && pod.metadata.deletion_timestamp.is_some()
        {
            return Ok(());
        }
        let node = pod
            .as_ref()
            .and_then(|pod| self.nodes.get("", pods::node_name(pod)));
        let taints = node.map(|node| no_execute(&node)).unwrap_or_default();
        let now = clock::now();
        let seen = match taints.is_empty() {
            true => self.seen.lock().remove(key).unwrap_or(now),
            false => *self.seen.lock().entry(key.clone()).or_insert(now),
        };
        match (verdict(pod.as_deref(), &taints, seen, now), &pod) {
            (Verdict::Stays, pod) => self.stays(key, pod.as_deref()),
            (Verdict::Waits(left), _) => {
                self.waiting.lock().insert(key.clone());
                self.queue.add_after(key.clone(), left);
            }
            (Verdict::Goes, Some(pod)) => {
                self.waiting.lock().remove(key);
                self.evict(key, pod).await?;
            }
            (Verdict::Goes, None) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
