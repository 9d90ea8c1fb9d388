//! Pods that were to be disrupted and have not been: the condition that says so is taken back.

use knarr_meta::clock;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use knarr_client::{Event, Informer, WorkQueue};
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

use crate::pods;
use crate::runner::{Error, Key, Reconciler};

/// How long a pod may have the condition before its deletion begins (upstream `stalePodDisruptionTimeout`).
const TIMEOUT: SignedDuration = SignedDuration::from_secs(120);
const TYPE: &str = "DisruptionTarget";
/// The kubelet may take any time from the condition to the pod's end.
const BY_KUBELET: &str = "TerminationByKubelet";

pub(super) struct Stale {
    client: kube::Client,
    pods: Informer<Pod>,
    queue: WorkQueue<Key>,
}

impl Stale {
    pub(super) fn new(client: kube::Client, pods: Informer<Pod>) -> Self {
        Self {
            client,
            pods,
            queue: WorkQueue::new(),
        }
    }

    pub(super) fn watch(&self) {
        let queue = self.queue.clone();
        self.pods.on_event(move |event| {
            let pod = event.object();
            if matches!(event, Event::Deleted(_)) {
                return;
            }
            if let Some((_, left)) = waiting(pod, clock::now()) {
                queue.add_after(Key::of(&**pod), left);
            }
        });
    }
}

/// The condition of a pod that nobody deletes, and how long it may still have it.
pub(super) fn waiting(pod: &Pod, now: Timestamp) -> Option<(&PodCondition, Duration)> {
    let condition = pods::condition(pod, TYPE).filter(|c| c.status == "True")?;
    if !pods::is_active(pod) || condition.reason.as_deref() == Some(BY_KUBELET) {
        return None;
    }
    let since = condition.last_transition_time.as_ref().map_or(now, |t| t.0);
    let due = since.checked_add(TIMEOUT).unwrap_or(now);
    let left = Duration::try_from(now.duration_until(due)).unwrap_or_default();
    Some((condition, left))
}

impl Reconciler for Stale {
    const NAME: &'static str = "stale-disruption";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.pods.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let now = clock::now();
        let Some((_, left)) = waiting(&pod, now) else {
            return Ok(());
        };
        if !left.is_zero() {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        // The version, so that nothing is taken back from a pod that has changed since.
        let patch = json!({
            "metadata": {"uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version},
            "status": {"conditions": [{
                "type": TYPE, "status": "False", "reason": null, "message": null,
                "lastTransitionTime": knarr_meta::time::format_seconds(now),
            }]},
        });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &key.namespace);
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
            .await?;
        Ok(())
    }
}
