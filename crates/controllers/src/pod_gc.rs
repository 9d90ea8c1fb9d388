//! Pods that nobody else deletes: too many that have ended, those of nodes that are gone, those that were deleted before
//! they had a node.
//!
//! Upstream looks at all pods every 20 seconds; here events say which to look at.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::{Event, Informer, WorkQueue, errors};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};

use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 2;
/// How long a node must be gone before its pods are deleted (upstream `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// Pods that end are counted together for this long.
const COUNT_DELAY: Duration = Duration::from_secs(20);
pub(crate) const BY_NODE: &str = "node";

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    /// Count the pods that have ended.
    Terminated,
    /// Look whether a node is gone for good.
    Node(String),
    /// A pod that is being deleted and has no node.
    Unscheduled(Key),
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Terminated => f.write_str("terminated pods"),
            Self::Node(name) => write!(f, "pods of node {name}"),
            Self::Unscheduled(key) => write!(f, "unscheduled pod {key}"),
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

/// Pods by the name of their node; those without one are not in it.
pub(crate) fn index_by_node(pods: Informer<Pod>) -> Informer<Pod> {
    pods.with_index(BY_NODE, |pod| {
        let node = pods::node_name(pod);
        if node.is_empty() {
            Vec::new()
        } else {
            vec![node.to_owned()]
        }
    })
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(PodGc {
        client: context.client("pod-garbage-collector"),
        threshold: context.config.terminated_pod_threshold,
        pods: index_by_node(context.informers.informer()),
        nodes: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let this = Arc::downgrade(&controller);
    controller.pods.on_event(move |event| {
        if let Some(this) = this.upgrade() {
            this.pod_changed(&event);
        }
    });
    let queue = controller.queue.clone();
    controller.nodes.on_event(move |event| {
        if let Event::Deleted(node) = event {
            let name = node.metadata.name.clone().unwrap_or_default();
            queue.add_after(Work::Node(name), QUARANTINE);
        }
    });
    let informers = vec![synced(&controller.pods), synced(&controller.nodes)];
    context.start(controller, WORKERS, informers);
}

/// The pods to delete so that no more than `threshold` that have ended are left: the oldest.
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
                pod.metadata.creation_timestamp.clone(),
                pod.metadata.name.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    ended.truncate(count);
    ended
}

impl PodGc {
    fn pod_changed(&self, event: &Event<Pod>) {
        if matches!(event, Event::Deleted(_)) {
            return;
        }
        let pod = event.object();
        let node = pods::node_name(pod);
        if node.is_empty() {
            if pod.metadata.deletion_timestamp.is_some() {
                self.queue.add(Work::Unscheduled(Key::of(&**pod)));
            }
        } else {
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
                    "lastTransitionTime": knarr_meta::time::format_seconds(Timestamp::now()),
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
        let mut params = DeleteParams {
            grace_period_seconds: Some(0),
            ..DeleteParams::default()
        };
        params.preconditions = Some(Preconditions {
            uid: pod.metadata.uid.clone(),
            resource_version: None,
        });
        tracing::info!(namespace, name, "deleting a pod that nobody else will");
        errors::optional(api.delete(name, &params).await)?;
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
                let pods = self.pods.by_index(BY_NODE, name);
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
            Work::Unscheduled(key) => {
                let unscheduled = |pod: &Arc<Pod>| {
                    pod.metadata.deletion_timestamp.is_some() && pods::node_name(pod).is_empty()
                };
                if let Some(pod) = self.pods.get(&key.namespace, &key.name).filter(unscheduled) {
                    self.delete(&pod, None).await?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
