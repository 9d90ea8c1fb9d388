//! Pods that nobody else deletes: too many that have ended, those of nodes that are gone, those that were deleted before
//! they had a node, and those that were deleted on a node that its administrator has declared out of service.
//!
//! Upstream looks at all pods every 20 seconds; here events say which to look at.

use knarr_meta::clock;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::{Event, IndexKey, Informer, WorkQueue, errors};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};

use crate::deletion;
use crate::node_lifecycle::plan;
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 2;
/// How long a node must be gone before its pods are deleted (upstream `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Pods that end are counted together for this long.
const COUNT_DELAY: Duration = Duration::from_secs(20);
/// The taint of a node that was shut down or lost for good: what its pods held may be given to others.
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// Pods by the name of their node; those without one are under none.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct OnNode(pub String);

impl IndexKey<Pod> for OnNode {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        let node = pods::node_name(pod);
        let bound = (!node.is_empty()).then(|| Self(node.to_owned()));
        bound.into_iter().collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Count the pods that have ended.
    Terminated,
    /// Look whether a node is gone for good.
    Node(String),
    /// A pod that is being deleted and may have no kubelet to end it.
    Terminating(Key),
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Terminated => f.write_str("terminated pods"),
            Self::Node(name) => write!(f, "pods of node {name}"),
            Self::Terminating(key) => write!(f, "terminating pod {key}"),
        }
    }
}

pub(crate) struct PodGc {
    client: kube::Client,
    threshold: usize,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    queue: WorkQueue<Work>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PodGc {
        client: context.client("pod-garbage-collector"),
        threshold: context.config.terminated_pod_threshold,
        pods: context.informers.informer(),
        nodes: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let this = Arc::downgrade(&controller);
    controller.pods.on_event(move |event| {
        if let Some(this) = this.upgrade() {
            this.pod_changed(&event);
        }
    });
    let this = Arc::downgrade(&controller);
    controller.nodes.on_event(move |event| {
        if let Some(this) = this.upgrade() {
            this.node_changed(&event);
        }
    });
    let informers = vec![synced(&controller.pods), synced(&controller.nodes)];
    context.start(controller, WORKERS, informers);
}

/// It is not ready, and somebody has said (by a taint) that it will not come back as it was.
fn is_out_of_service(node: &Node) -> bool {
    let taints = node.spec.as_ref().and_then(|s| s.taints.as_ref());
    let mut taints = taints.into_iter().flatten();
    plan::readiness(node) != "True" && taints.any(|taint| taint.key == OUT_OF_SERVICE)
}

/// Whether a pod is being deleted without a kubelet to end it: it has no node, or the node is out of service. `node` is the
/// pod's, if it is known.
fn is_abandoned(pod: &Pod, node: Option<&Node>) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && (pods::node_name(pod).is_empty() || node.is_some_and(is_out_of_service))
}

/// The pods to delete so that no more than `threshold` that have ended are left: evicted ones before others, of each the
/// oldest first.
fn excess(pods: Vec<Arc<Pod>>, threshold: usize) -> Vec<Arc<Pod>> {
    let ended =
        |pod: &Arc<Pod>| !matches!(pods::phase(pod), "" | "Pending" | "Running" | "Unknown");
    let mut ended: Vec<_> = pods
        .into_iter()
        .filter(|pod| ended(pod) && pod.metadata.deletion_timestamp.is_none())
        .collect();
    let count = ended.len().saturating_sub(threshold);
    ended.sort_by(|a, b| {
        let key = |pod: &Pod| {
            (
                !is_evicted(pod),
                pod.metadata.creation_timestamp.clone(),
                pod.metadata.name.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    ended.truncate(count);
    ended
}

fn is_evicted(pod: &Pod) -> bool {
    let reason = pod.status.as_ref().and_then(|s| s.reason.as_deref());
    pods::phase(pod) == "Failed" && reason == Some("Evicted")
}

impl PodGc {
    fn node_changed(&self, event: &Event<Node>) {
        let name = event.object().metadata.name.as_deref().unwrap_or_default();
        let abandoned = match event {
            Event::Added(node) => is_out_of_service(node),
            Event::Updated { old, new } => is_out_of_service(new) && !is_out_of_service(old),
            Event::Deleted(_) => {
                self.queue
                    .add_after(Work::Node(name.to_owned()), QUARANTINE);
                false
            }
        };
        if abandoned {
            let pods = self.pods.by_index(&OnNode(name.to_owned()));
            let deleted = pods
                .iter()
                .filter(|p| p.metadata.deletion_timestamp.is_some());
            deleted.for_each(|pod| self.queue.add(Work::Terminating(Key::of(&**pod))));
        }
    }

    fn node_of(&self, pod: &Pod) -> Option<Arc<Node>> {
        self.nodes.get("", pods::node_name(pod))
    }

    fn pod_changed(&self, event: &Event<Pod>) {
        if matches!(event, Event::Deleted(_)) {
            return;
        }
        let pod = event.object();
        let node = pods::node_name(pod);
        if is_abandoned(pod, self.node_of(pod).as_deref()) {
            self.queue.add(Work::Terminating(Key::of(&**pod)));
        }
        if !node.is_empty() {
            let was_bound =
                matches!(event, Event::Updated { old, .. } if !pods::node_name(old).is_empty());
            if !was_bound && self.nodes.get("", node).is_none() {
                self.queue
                    .add_after(Work::Node(node.to_owned()), QUARANTINE);
            }
        }
        if self.threshold > 0 && pods::is_terminal(pod) && self.pods.len() > self.threshold {
            self.queue.add_after(Work::Terminated, COUNT_DELAY);
        }
    }

    /// Deletes at once, without a grace period; one that has not ended is marked as failed first.
    async fn delete(&self, pod: &Pod, message: Option<&str>) -> Result<(), Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        if !pods::is_terminal(pod) {
            let mut status = serde_json::json!({"phase": "Failed"});
            if let Some(message) = message {
                status["conditions"] = serde_json::json!([{
                    "type": "DisruptionTarget",
                    "status": "True",
                    "reason": "DeletionByPodGC",
                    "message": message,
                    "lastTransitionTime": knarr_meta::time::format_seconds(clock::now()),
                }]);
            }
            let patch =
                serde_json::json!({"metadata": {"uid": pod.metadata.uid}, "status": status});
            let patched = api
                .patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                .await;
            if errors::optional(patched)?.is_none() {
                return Ok(());
            }
        }
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        tracing::info!(namespace, name, "deleting a pod that nobody else will");
        deletion::delete(&api, &pod.metadata, params).await?;
        Ok(())
    }
}

impl Reconciler for PodGc {
    const NAME: &'static str = "pod-gc";
    type Key = Work;

    fn queue(&self) -> &WorkQueue<Work> {
        &self.queue
    }

    async fn reconcile(&self, work: &Work) -> Result<(), Error> {
        match work {
            Work::Terminated => {
                for pod in excess(self.pods.list(), self.threshold) {
                    self.delete(&pod, None).await?;
                }
            }
            Work::Node(name) => {
                let pods = self.pods.by_index(&OnNode(name.to_owned()));
                if pods.is_empty() || self.nodes.get("", name).is_some() {
                    return Ok(());
                }
                // The informer may be late; a live read decides.
                let nodes: Api<Node> = Api::all(self.client.clone());
                if nodes.get_opt(name).await?.is_some() {
                    return Ok(());
                }
                for pod in pods {
                    self.delete(&pod, Some("PodGC: node no longer exists"))
                        .await?;
                }
            }
            Work::Terminating(key) => {
                let abandoned = |pod: &Arc<Pod>| is_abandoned(pod, self.node_of(pod).as_deref());
                if let Some(pod) = self.pods.get(&key.namespace, &key.name).filter(abandoned) {
                    self.delete(&pod, None).await?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
