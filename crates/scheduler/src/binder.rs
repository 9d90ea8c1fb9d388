//! Tells the API server what was decided: bindings, and why a pod waits.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use knarr_client::events::{NORMAL, Recorder, WARNING};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout},
};
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::{Shared, pod_info::PodInfo};

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
    pub recorder: Recorder,
    pub permits: Arc<Semaphore>,
    pub tracker: TaskTracker,
}

/// Why a binding failed.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("no answer within {}s", BIND_TIMEOUT.as_secs())]
    Timeout,
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Binder {
    /// A place in the pipeline; waits for one.
    pub async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        // The semaphore is never closed.
        self.permits.clone().acquire_owned().await.ok()
    }

    /// Binds an assumed pod; undoes the assumption if that fails.
    pub fn bind(&self, info: Arc<PodInfo>, node: String, permit: Option<OwnedSemaphorePermit>) {
        let (client, shared, recorder) = (
            self.client.clone(),
            self.shared.clone(),
            self.recorder.clone(),
        );
        self.tracker.spawn(async move {
            let _permit = permit;
            let result = match timeout(BIND_TIMEOUT, bind(&client, &info, &node)).await {
                Ok(result) => result,
                Err(_) => Err(BindError::Timeout),
            };
            let pod = format!("{}/{}", info.namespace, info.name);
            let outcome = match result {
                Ok(()) => Outcome::Bound,
                Err(error) => {
                    warn!(pod, node, %error, "binding failed");
                    look(&client, &info, &node).await
                }
            };
            if outcome == Outcome::Bound {
                let note = format!("Successfully assigned {pod} to {node}");
                recorder.event(&reference(&info), NORMAL, "Scheduled", "Binding", note);
                return;
            }
            let mut state = shared.state.lock();
            if outcome == Outcome::Gone {
                // Another pod of this name has another uid.
                state.remove_pod(&shared.plugins, &info.uid);
            } else {
                state.forget(&shared.plugins, &info, Instant::now());
            }
            drop(state);
            shared.wake.notify_one();
        });
    }

    /// Writes the PodScheduled condition and an event.
    pub fn report_unschedulable(
        &self,
        info: Arc<PodInfo>,
        message: String,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        recorder.event(
            &reference(&info),
            WARNING,
            "FailedScheduling",
            "Scheduling",
            message.clone(),
        );
        if condition_is(&info.pod, &message) {
            return;
        }
        self.tracker.spawn(async move {
            let _permit = permit;
            let pods: Api<Pod> = Api::namespaced(client, &info.namespace);
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let patch = Patch::Strategic(json!({"metadata": {"uid": info.uid}, "status": {"conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
                "lastProbeTime": null, "lastTransitionTime": now,
            }]}}));
            let parameters = PatchParams::default();
            let write = pods.patch_status(&info.name, &parameters, &patch);
            match timeout(BIND_TIMEOUT, write).await {
                Ok(Ok(_)) => {}
                Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {}
                Ok(Err(error)) => warn!(pod = info.name, %error, "cannot report an unschedulable pod"),
                Err(_) => warn!(pod = info.name, "cannot report an unschedulable pod: no answer"),
            }
        });
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
        resource_version: info.pod.metadata.resource_version.clone(),
        ..ObjectReference::default()
    }
}
