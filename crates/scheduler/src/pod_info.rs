//! A pod as the scheduler needs it: read once when it arrives, not once a node.

use std::{collections::BTreeMap, sync::Arc};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use knarr_meta::{host_ports::HostPort, node_selector::RequiredNodes};
use knarr_volumes::pod::{self, PodClaim};

use crate::{
    plugins::{inter_pod_affinity::PodAffinity, node_affinity::Preferred},
    resources::{self, Resources},
};

/// What is decided from.
#[derive(Debug)]
pub struct PodInfo {
    pub pod: Arc<Pod>,
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub priority: i32,
    pub requests: Resources,
    /// Requests with defaults for what is not asked for, for scores.
    pub score_requests: Resources,
    pub host_ports: Vec<HostPort>,
    pub required_nodes: RequiredNodes,
    pub preferred_nodes: Vec<Preferred>,
    /// The claims of its volumes.
    pub claims: Vec<PodClaim>,
    /// Rules about other pods, where it has any.
    pub affinity: Option<Box<PodAffinity>>,
}

impl PodInfo {
    pub fn new(pod: &Arc<Pod>) -> Self {
        let meta = &pod.metadata;
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            priority: spec.priority.unwrap_or(0),
            requests: resources::pod_requests(pod),
            score_requests: resources::pod_requests_for_score(pod),
            host_ports: HostPort::of(spec),
            required_nodes: RequiredNodes::new(spec),
            preferred_nodes: Preferred::all(spec),
            claims: pod::claims(pod).collect(),
            affinity: PodAffinity::of(pod).map(Box::new),
            pod: pod.clone(),
        }
    }

    pub fn node_name(&self) -> Option<&str> {
        let name = self.pod.spec.as_ref()?.node_name.as_deref()?;
        (!name.is_empty()).then_some(name)
    }

    /// Not bound, not going away, and past its scheduling gates.
    pub fn wants_node(&self) -> bool {
        let gated = self
            .pod
            .spec
            .as_ref()
            .and_then(|s| s.scheduling_gates.as_ref())
            .is_some_and(|gates| !gates.is_empty());
        self.node_name().is_none() && self.pod.metadata.deletion_timestamp.is_none() && !gated
    }

    pub fn tolerations(&self) -> &[Toleration] {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|s| s.tolerations.as_deref())
            .unwrap_or_default()
    }

    pub fn labels(&self) -> Option<&BTreeMap<String, String>> {
        self.pod.metadata.labels.as_ref()
    }

    /// Whether it is on its way out.
    pub fn is_ending(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// The node that its status says it is nominated to.
    pub fn nominated_node(&self) -> Option<&str> {
        nominated_node(&self.pod)
    }

    /// Since when its kubelet has it; `None` before.
    pub fn started(&self) -> Option<Timestamp> {
        let status = self.pod.status.as_ref()?;
        status.start_time.as_ref().map(|time| time.0)
    }

    /// Whether it may have others ended to get their room.
    pub fn may_preempt(&self) -> bool {
        let spec = self.pod.spec.as_ref();
        spec.and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never")
    }

    /// The rules of the pod that this scheduler does not know, in words for its owner.
    pub fn unsupported(&self) -> Option<&'static str> {
        let spec = self.pod.spec.as_ref()?;
        let claims = spec.resource_claims.as_ref();
        claims
            .is_some_and(|claims| !claims.is_empty())
            .then_some("resource claims are not supported by this scheduler")
    }
}

/// The node that a pod's status says it is nominated to.
pub fn nominated_node(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let name = status.nominated_node_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}
