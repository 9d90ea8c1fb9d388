//! Tells the API server what was decided: bindings, why a pod waits, and which pods end for it.

mod evict;

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_client::events::{NORMAL, WARNING, series::Recorder};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use crate::{
    Shared, extender,
    framework::{PreBind, Reservation},
    metrics::{AttemptResult, Timing},
    outcome::{Chosen, Failure},
    plugins::{default_preemption::Nomination, dynamic_resources::give_back},
    pod_info::PodInfo,
};

/// A binding that has not been answered by then is given up and tried again.
const BIND_TIMEOUT: Duration = Duration::from_secs(30);

/// How often it is asked what came of a binding before it counts as not made.
const LOOKS: u32 = 8;
const LOOK_RETRY_MIN: Duration = Duration::from_millis(100);
const LOOK_RETRY_MAX: Duration = Duration::from_secs(5);

/// Sends bindings in the background, a bounded number at once.
pub struct Binder {
    pub client: kube::Client,
    pub shared: Arc<Shared>,
    /// By the scheduler's name.
    pub recorders: Arc<HashMap<String, Recorder>>,
    pub permits: Arc<Semaphore>,
    /// Seats of pods that wait for their volumes: minutes, where a binding takes no time.
    pub waiting: Arc<Semaphore>,
    pub tracker: TaskTracker,
    pub token: CancellationToken,
}

/// Why a binding failed.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("no answer within {}s", BIND_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
    #[error(transparent)]
    Extender(#[from] extender::Error),
}

impl Binder {
    /// A place in the pipeline; waits for one.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.permits.clone().acquire_owned().await.ok()
    }

    /// Binds an assumed pod; undoes the assumption if that fails.
    pub fn bind(&self, chosen: Chosen, permit: Option<OwnedSemaphorePermit>) {
        let hand = self.hand();
        self.tracker.spawn(async move {
            let _permit = permit;
            if hand.bind(&chosen).await == Outcome::NotBound {
                hand.failed(&chosen.info, chosen.timing);
            }
        });
    }

    /// Has what is taken for a pod made ready, then the pod bound; undoes the assumption if any of it fails.
    pub fn bind_reserved(&self, chosen: Chosen, mut reserved: Vec<Box<dyn Reservation>>) {
        let (info, timing) = (chosen.info.clone(), chosen.timing);
        let (hand, token) = (self.hand(), self.token.clone());
        let Ok(seat) = self.waiting.clone().try_acquire_owned() else {
            return hand.failed(&info, timing);
        };
        let permits = self.permits.clone();
        self.tracker.spawn(async move {
            let ready = hand.pre_bind(&info, &mut reserved);
            // At shutdown the next scheduler goes on from what is written.
            let Some(ready) = token.run_until_cancelled(ready).await else {
                return;
            };
            drop(seat);
            let bound = match ready {
                Ok(()) => {
                    let _permit = permits.acquire_owned().await.ok();
                    hand.bind(&chosen).await != Outcome::NotBound
                }
                Err(why) => {
                    hand.not_ready(&chosen, why);
                    false
                }
            };
            if !bound {
                while let Some(taken) = reserved.pop() {
                    taken.unreserve(&hand.client).await;
                }
                hand.failed(&info, timing);
            }
        });
    }

    fn hand(&self) -> Hand {
        Hand {
            client: self.client.clone(),
            shared: self.shared.clone(),
            recorders: self.recorders.clone(),
        }
    }

    /// Tells why a pod waits, in an event, its condition PodScheduled and its nomination, and has the pods ended that end
    /// for it.
    pub fn report_unschedulable(
        &self,
        info: Arc<PodInfo>,
        failure: Failure,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let (about, message) = (reference(&info), failure.message.clone());
        let (kind, reason) = (WARNING, "FailedScheduling");
        let hand = self.hand();
        hand.event(&info, &about, kind, reason, "Scheduling", message);
        let status = info.whole().and_then(|pod| waiting_status(pod, &failure));
        let nobody = failure.victims.is_empty() && failure.displaced.is_empty();
        if status.is_none() && nobody && failure.stale.is_none() {
            return;
        }
        self.tracker.spawn(async move {
            let _permit = permit;
            let report = async {
                if let Some(status) = status {
                    patch_status(&hand.client, &info, status).await;
                }
            };
            tokio::join!(report, hand.make_room(&info, &failure));
            if let Some(claim) = &failure.stale {
                give_back(&hand.client, &info.uid, claim).await;
            }
        });
    }
}

/// What of a waiting pod's status is to be written; `None` where it is so already.
fn waiting_status(pod: &Pod, failure: &Failure) -> Option<Value> {
    let status = pod.status.as_ref();
    let nominated = status.and_then(|status| status.nominated_node_name.as_deref());
    let nominated = nominated.unwrap_or_default();
    let mut wanted = json!({});
    if !condition_is(pod, &failure.message) {
        wanted["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "reason": failure.reason, "message": failure.message,
            "lastProbeTime": null, "lastTransitionTime": now(), "observedGeneration": pod.metadata.generation,
        }]);
    }
    match &failure.nomination {
        Nomination::To(node) if node != nominated => wanted["nominatedNodeName"] = json!(node),
        Nomination::Cleared if !nominated.is_empty() => wanted["nominatedNodeName"] = json!(null),
        _ => {}
    }
    (wanted != json!({})).then_some(wanted)
}

fn now() -> String {
    let now = knarr_meta::clock::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Changes the status of a pod that waits; one that is gone needs none.
async fn patch_status(client: &kube::Client, info: &PodInfo, status: Value) {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &info.namespace);
    let patch = Patch::Strategic(json!({"metadata": {"uid": info.uid}, "status": status}));
    let parameters = PatchParams::default();
    let write = pods.patch_status(&info.name, &parameters, &patch);
    match timeout(BIND_TIMEOUT, write).await {
        Ok(Ok(_)) => {}
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
        Ok(Err(error)) => warn!(pod = info.name, %error, "cannot report an unschedulable pod"),
        Err(_) => warn!(
            pod = info.name,
            "cannot report an unschedulable pod: no answer"
        ),
    }
}

/// What a task that binds needs.
struct Hand {
    client: kube::Client,
    shared: Arc<Shared>,
    recorders: Arc<HashMap<String, Recorder>>,
}

impl Hand {
    /// Tells something in the name of the scheduler of a pod.
    fn event(
        &self,
        of: &PodInfo,
        about: &ObjectReference,
        kind: &'static str,
        reason: &'static str,
        action: &'static str,
        note: String,
    ) {
        if let Some(recorder) = self.recorders.get(of.scheduler_name()) {
            recorder.event(about, kind, reason, action, note);
        }
    }

    /// Has everything that is taken for a pod made ready, one plugin after the other.
    async fn pre_bind(
        &self,
        info: &PodInfo,
        reserved: &mut [Box<dyn Reservation>],
    ) -> Result<(), String> {
        let wanted = || self.shared.state.lock().snapshot.is_assumed(&info.uid);
        let waits = |note: String| self.waits(info, note);
        let asked = PreBind {
            client: &self.client,
            wanted: &wanted,
            waits: &waits,
        };
        for taken in reserved {
            let plugin = taken.plugin();
            let ready = taken.pre_bind(&asked).await;
            ready.map_err(|error| format!("running PreBind plugin {plugin:?}: {error}"))?;
        }
        Ok(())
    }

    /// Tells that something the pod needs will not be ready.
    fn not_ready(&self, chosen: &Chosen, why: String) {
        let (info, node) = (&*chosen.info, chosen.node.as_str());
        let pod = format!("{}/{}", info.namespace, info.name);
        warn!(pod, node, why, "what the pod needs is not ready");
        let about = reference(info);
        let (kind, reason) = (WARNING, "FailedScheduling");
        self.event(info, &about, kind, reason, "Scheduling", why);
    }

    /// Tells that devices of a pod are not ready.
    fn waits(&self, info: &PodInfo, note: String) {
        let (about, reason) = (reference(info), "BindingConditionsPending");
        self.event(info, &about, NORMAL, reason, "Scheduling", note);
    }

    /// What came of it; the assumption stands where the pod is not bound.
    async fn bind(&self, chosen: &Chosen) -> Outcome {
        let (info, node) = (&*chosen.info, chosen.node.as_str());
        let result = match timeout(BIND_TIMEOUT, self.send(info, node)).await {
            Ok(result) => result,
            Err(_) => Err(BindError::Timeout),
        };
        let pod = format!("{}/{}", info.namespace, info.name);
        let outcome = match result {
            Ok(()) => Outcome::Bound,
            Err(error) => {
                warn!(pod, node, %error, "binding failed");
                look(&self.client, info, node).await
            }
        };
        match outcome {
            Outcome::Bound => {
                let (metrics, profile) = (&self.shared.metrics, info.scheduler_name());
                metrics.attempted(AttemptResult::Scheduled, profile, chosen.timing);
                let note = format!("Successfully assigned {pod} to {node}");
                let about = reference(info);
                self.event(info, &about, NORMAL, "Scheduled", "Binding", note);
            }
            Outcome::NotBound => {}
            Outcome::Gone => {
                // Another pod of this name has another uid.
                let mut state = self.shared.state.lock();
                state.remove_pod(&self.shared.profiles, &info.uid);
                drop(state);
                self.shared.wake.notify_one();
            }
        }
        outcome
    }

    /// Has the pod bound, by an extender where one does that.
    async fn send(&self, info: &PodInfo, node: &str) -> Result<(), BindError> {
        match self.shared.extenders.bind(info, node).await {
            Some(bound) => Ok(bound?),
            None => bind(&self.client, info, node).await,
        }
    }

    /// Takes the assumption back, and has the pod tried again.
    fn failed(&self, info: &PodInfo, timing: Timing) {
        let (metrics, profile) = (&self.shared.metrics, info.scheduler_name());
        metrics.attempted(AttemptResult::Error, profile, timing);
        let mut state = self.shared.state.lock();
        state.forget(&self.shared.profiles, info, Instant::now());
        drop(state);
        self.shared.wake.notify_one();
    }
}

/// What came of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The pod is on the node it was bound to.
    Bound,
    /// It waits for a node, as before, or is on another one.
    NotBound,
    Gone,
}

/// What came of a binding that was answered with an error: it may have been made all the same, and then its room is taken.
async fn look(client: &kube::Client, info: &PodInfo, node: &str) -> Outcome {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &info.namespace);
    let mut wait = LOOK_RETRY_MIN;
    for _ in 0..LOOKS {
        match timeout(BIND_TIMEOUT, pods.get_opt(&info.name)).await {
            Ok(Ok(None)) => return Outcome::Gone,
            Ok(Ok(Some(pod))) if pod.metadata.uid.as_ref() != Some(&info.uid) => {
                return Outcome::Gone;
            }
            Ok(Ok(Some(pod))) => {
                let on = pod.spec.and_then(|spec| spec.node_name);
                return match on.as_deref() == Some(node) {
                    true => Outcome::Bound,
                    false => Outcome::NotBound,
                };
            }
            Ok(Err(_)) | Err(_) => tokio::time::sleep(wait).await,
        }
        wait = (wait * 2).min(LOOK_RETRY_MAX);
    }
    Outcome::NotBound
}

async fn bind(client: &kube::Client, info: &PodInfo, node: &str) -> Result<(), BindError> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), &info.namespace);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": info.name, "namespace": info.namespace, "uid": info.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let _: Value = pods
        .create_subresource("binding", &info.name, &PostParams::default(), &binding)
        .await?;
    Ok(())
}

fn condition_is(pod: &Pod, message: &str) -> bool {
    let conditions = pod.status.as_ref().and_then(|s| s.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| {
        c.type_ == "PodScheduled" && c.status == "False" && c.message.as_deref() == Some(message)
    })
}

fn reference(info: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(info.namespace.clone()),
        name: Some(info.name.clone()),
        uid: Some(info.uid.clone()),
        resource_version: info.resource_version.as_deref().map(str::to_owned),
        ..ObjectReference::default()
    }
}
