//! Ends pods so that one of a higher priority gets their room.

use std::pin::pin;

use futures::{StreamExt, stream};
use knarr_client::events::NORMAL;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tracing::warn;

use super::{BIND_TIMEOUT, BindError, Hand, now, patch_status, reference};
use crate::{
    outcome::Failure,
    plugins::default_preemption::Nomination,
    pod_info::PodInfo,
    preempted::{CONDITION, REASON},
};

/// Pods that are told at once to end for one (upstream's parallelism).
const EVICTIONS_IN_FLIGHT: usize = 16;

type Pod = k8s_openapi::api::core::v1::Pod;

impl Hand {
    /// Has the victims ended, if there are any, and takes the nominations of displaced pods back. The pod itself is tried
    /// again once they are gone, and after its back-off if they cannot be told.
    pub(super) async fn make_room(&self, pod: &PodInfo, failure: &Failure) {
        for other in failure
            .displaced
            .iter()
            .filter(|other| other.nominated_node().is_some())
        {
            patch_status(&self.client, other, json!({"nominatedNodeName": null})).await;
        }
        if failure.victims.is_empty() {
            return;
        }
        let Nomination::To(node) = &failure.nomination else {
            return;
        };
        let mut all = true;
        let mut evictions = Vec::with_capacity(failure.victims.len());
        for victim in failure.victims.iter().filter(|victim| !victim.is_ending()) {
            evictions.push(async move { (victim, self.evict(victim, pod, node).await) });
        }
        let evictions = stream::iter(evictions).buffer_unordered(EVICTIONS_IN_FLIGHT);
        let mut evictions = pin!(evictions);
        while let Some((victim, result)) = evictions.next().await {
            if let Err(error) = result {
                let (name, victim) = (&pod.name, &victim.name);
                warn!(pod = name, victim, %error, "cannot end a pod to make room");
                all = false;
                break;
            }
        }
        let mut state = self.shared.state.lock();
        if !all {
            state.queue.failed(pod, Instant::now());
        }
        state.queue.release(&pod.uid);
        drop(state);
        self.shared.wake.notify_one();
    }

    /// Marks a pod as disrupted, and deletes it; it has its grace period. One that is gone is left alone.
    ///
    /// # Errors
    /// Also where the pod of this name is another one by now: what there is has to be looked at anew.
    async fn evict(&self, victim: &PodInfo, pod: &PodInfo, node: &str) -> Result<(), BindError> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), &victim.namespace);
        let name = pod.scheduler_name();
        let patch = Patch::Strategic(
            json!({"metadata": {"uid": victim.uid}, "status": {"conditions": [{
                "type": CONDITION, "status": "True", "reason": REASON,
                "message": format!("{name}: preempting to accommodate a higher priority pod"),
                "lastProbeTime": null, "lastTransitionTime": now(),
                "observedGeneration": victim.generation,
            }]}}),
        );
        let parameters = PatchParams::default();
        let write = pods.patch_status(&victim.name, &parameters, &patch);
        if !answered(timeout(BIND_TIMEOUT, write).await)? {
            return Ok(());
        }
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: Some(victim.uid.clone()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let delete = pods.delete(&victim.name, &parameters);
        if answered(timeout(BIND_TIMEOUT, delete).await)? {
            let note = format!("Preempted by pod {} on node {node}", pod.uid);
            let (about, reason) = (reference(victim), "Preempted");
            self.event(pod, &about, NORMAL, reason, "Preempting", note);
        }
        Ok(())
    }
}

/// Whether a request found its pod.
fn answered<T>(
    answer: Result<Result<T, kube::Error>, tokio::time::error::Elapsed>,
) -> Result<bool, BindError> {
    match answer {
        Err(_) => Err(BindError::Timeout),
        Ok(Ok(_)) => Ok(true),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => Ok(false),
        Ok(Err(error)) => Err(error.into()),
    }
}
