//! What is kept of a pod: what a hollow kubelet goes by, and no more.

use std::{net::IpAddr, time::Duration};

use jiff::SignedDuration;
use knarr_client::{IndexKey, Object};
use serde::Deserialize;

/// An annotation of a pod: how long its containers run until they end by themselves, as `30s`.
pub const RUN_FOR_ANNOTATION: &str = "sim.knarr.dev/run-for";
/// An annotation of a pod: `Failed` has its containers fail, `Succeeded` has them not, whatever share of pods fails.
pub const OUTCOME_ANNOTATION: &str = "sim.knarr.dev/outcome";

/// How far a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Pending,
    Running,
    Succeeded,
    Failed,
}

/// Which containers are started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    #[default]
    Always,
    OnFailure,
    Never,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    pub name: Box<str>,
    pub image: Box<str>,
    /// Runs beside the others although it is among the init containers.
    pub is_sidecar: bool,
}

/// A pod that is bound to some node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pod {
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub uid: Box<str>,
    revision: Box<str>,
    pub generation: Option<i64>,
    pub node: Box<str>,
    pub is_job: bool,
    pub is_host_network: bool,
    pub policy: Policy,
    pub run_for: Option<Duration>,
    pub outcome: Option<Phase>,
    pub containers: Box<[Container]>,
    pub init: Box<[Container]>,
    pub phase: Phase,
    /// A kubelet has begun with it.
    pub is_begun: bool,
    pub is_ready: bool,
    /// Its containers wait to be started (again).
    pub is_waiting: bool,
    pub restarts: i32,
    pub address: Option<IpAddr>,
    /// On its way out, with so long to get ready for it.
    pub grace: Option<Duration>,
}

impl Pod {
    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.phase, Phase::Succeeded | Phase::Failed)
    }
}

/// Names a pod.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub namespace: Box<str>,
    pub name: Box<str>,
}

impl Key {
    pub(crate) fn of(pod: &Pod) -> Self {
        Self {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
        }
    }
}

/// Pods by the node that they are bound to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OnNode(pub Box<str>);

impl IndexKey<Pod> for OnNode {
    fn keys_of(pod: &Pod) -> Vec<Self> {
        vec![Self(pod.node.clone())]
    }
}

#[derive(Deserialize)]
struct Raw {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    namespace: Box<str>,
    name: Box<str>,
    #[serde(default)]
    uid: Box<str>,
    #[serde(default)]
    resource_version: Box<str>,
    generation: Option<i64>,
    deletion_timestamp: Option<Box<str>>,
    deletion_grace_period_seconds: Option<i64>,
    #[serde(default)]
    annotations: Annotations,
    #[serde(default)]
    owner_references: Vec<Owner>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Annotations {
    #[serde(rename = "sim.knarr.dev/run-for")]
    run_for: Option<Box<str>>,
    #[serde(rename = "sim.knarr.dev/outcome")]
    outcome: Option<Box<str>>,
}

#[derive(Deserialize)]
struct Owner {
    kind: Box<str>,
    #[serde(default)]
    controller: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    node_name: Box<str>,
    host_network: bool,
    restart_policy: Box<str>,
    containers: Vec<RawContainer>,
    init_containers: Vec<RawContainer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawContainer {
    name: Box<str>,
    #[serde(default)]
    image: Box<str>,
    #[serde(default)]
    restart_policy: Box<str>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Box<str>,
    start_time: Option<Box<str>>,
    #[serde(rename = "podIP")]
    pod_ip: Box<str>,
    conditions: Vec<Condition>,
    container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: Box<str>,
    status: Box<str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    restart_count: i32,
    #[serde(default)]
    state: State,
}

#[derive(Default, Deserialize)]
struct State {
    waiting: Option<serde::de::IgnoredAny>,
}

fn phase(text: &str) -> Phase {
    match text {
        "Running" => Phase::Running,
        "Succeeded" => Phase::Succeeded,
        "Failed" => Phase::Failed,
        _ => Phase::Pending,
    }
}

fn policy(text: &str) -> Policy {
    match text {
        "Never" => Policy::Never,
        "OnFailure" => Policy::OnFailure,
        _ => Policy::Always,
    }
}

/// What cannot be read says nothing.
fn duration(text: &str) -> Option<Duration> {
    let parsed: SignedDuration = text.parse().ok()?;
    Duration::try_from(parsed).ok()
}

fn containers(raw: Vec<RawContainer>) -> Box<[Container]> {
    let container = |raw: RawContainer| Container {
        is_sidecar: &*raw.restart_policy == "Always",
        name: raw.name,
        image: raw.image,
    };
    raw.into_iter().map(container).collect()
}

impl From<Raw> for Pod {
    fn from(raw: Raw) -> Self {
        let Raw {
            metadata,
            spec,
            status,
        } = raw;
        let ready = |c: &Condition| &*c.kind == "Ready" && &*c.status == "True";
        let ended = metadata.annotations.outcome.as_deref().map(phase);
        let grace = metadata.deletion_grace_period_seconds.unwrap_or(0);
        let grace = Duration::from_secs(u64::try_from(grace).unwrap_or(0));
        let first = status.container_statuses.first();
        Self {
            is_job: (metadata.owner_references.iter())
                .any(|owner| owner.controller && &*owner.kind == "Job"),
            namespace: metadata.namespace,
            name: metadata.name,
            uid: metadata.uid,
            revision: metadata.resource_version,
            generation: metadata.generation,
            node: spec.node_name,
            is_host_network: spec.host_network,
            policy: policy(&spec.restart_policy),
            run_for: metadata.annotations.run_for.as_deref().and_then(duration),
            outcome: ended.filter(|phase| matches!(phase, Phase::Succeeded | Phase::Failed)),
            containers: containers(spec.containers),
            init: containers(spec.init_containers),
            phase: phase(&status.phase),
            is_begun: status.start_time.is_some(),
            is_ready: status.conditions.iter().any(ready),
            is_waiting: first.is_some_and(|status| status.state.waiting.is_some()),
            restarts: first.map_or(0, |status| status.restart_count),
            address: status.pod_ip.parse().ok(),
            grace: metadata.deletion_timestamp.map(|_| grace),
        }
    }
}

impl Object for Pod {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn resource_version(&self) -> &str {
        &self.revision
    }

    fn decode(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<Raw>(json).map(Self::from)
    }

    fn kind_name() -> &'static str {
        "Pod"
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures::seen;

    #[test]
    fn what_matters_of_a_pod_is_kept() {
        let pod: Pod = seen(&json!({
            "metadata": {"name": "p", "namespace": "x", "uid": "u", "resourceVersion": "7", "generation": 2,
                "deletionTimestamp": "2030-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30,
                "annotations": {RUN_FOR_ANNOTATION: "1m30s", OUTCOME_ANNOTATION: "Failed", "more": "x"},
                "ownerReferences": [{"apiVersion": "batch/v1", "kind": "Job", "name": "j", "uid": "j", "controller": true}]},
            "spec": {"nodeName": "sim-1", "restartPolicy": "Never",
                "containers": [{"name": "c", "image": "i"}],
                "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}]},
            "status": {"phase": "Running", "startTime": "2030-01-01T00:00:00Z", "podIP": "10.42.1.2",
                "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"name": "c", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]},
        }));
        assert_eq!(
            (pod.phase, pod.is_begun, pod.is_ready),
            (Phase::Running, true, true)
        );
        assert_eq!((pod.is_waiting, pod.restarts), (true, 3));
        assert!(pod.is_job && pod.init[0].is_sidecar);
        assert_eq!(pod.policy, Policy::Never);
        assert_eq!(pod.run_for, Some(Duration::from_secs(90)));
        assert_eq!(pod.outcome, Some(Phase::Failed));
        assert_eq!(pod.grace, Some(Duration::from_secs(30)));
        assert_eq!(pod.address, "10.42.1.2".parse().ok());
        assert_eq!(OnNode::keys_of(&pod), [OnNode("sim-1".into())]);
    }

    #[test]
    fn what_is_not_said_is_nothing() {
        let pod: Pod =
            seen(&json!({"metadata": {"name": "p", "annotations": {RUN_FOR_ANNOTATION: "soon"}}}));
        assert_eq!(
            (pod.phase, pod.is_begun, pod.is_ready),
            (Phase::Pending, false, false)
        );
        assert_eq!(
            (pod.run_for, pod.outcome, pod.grace, pod.address),
            (None, None, None, None)
        );
    }
}
