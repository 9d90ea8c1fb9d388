//! A pod as the scheduler needs it: read once when it arrives, not once a node.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, PodResourceClaimStatus, PodSpec, Toleration};
use knarr_meta::{host_ports::HostPort, node_selector::RequiredNodes};
use knarr_volumes::pod::{self, PodClaim};

use crate::{
    labels::Labels,
    node_features,
    plugins::{
        inter_pod_affinity::PodAffinity, node_affinity::Preferred, volume_restrictions::disks::Disk,
    },
    preempted,
    resources::{self, Resources},
};

/// What is decided from.
#[derive(Debug)]
pub struct PodInfo {
    /// All of it, while it has no node: what only the decision about it asks for.
    whole: Option<Arc<Pod>>,
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub resource_version: Option<Box<str>>,
    node_name: Option<Box<str>>,
    pub labels: Labels,
    pub generation: Option<i64>,
    pub priority: i32,
    pub requests: Resources,
    /// Requests with defaults for what is not asked for, for scores.
    pub score_requests: Resources,
    pub host_ports: Vec<HostPort>,
    /// The claims of its volumes.
    pub claims: Vec<PodClaim>,
    /// Disks that it names itself.
    pub disks: Vec<Disk>,
    /// Rules about nodes, where it has any and has no node yet.
    rules: Option<Box<NodeRules>>,
    /// The features that it asks of a node, where it has none yet.
    pub node_features: Vec<&'static str>,
    /// Rules about other pods, where it has any.
    pub affinity: Option<Box<PodAffinity>>,
    started: Option<Timestamp>,
    is_ending: bool,
    pub is_preempted: bool,
}

/// Where a pod may go and would rather go.
#[derive(Debug)]
struct NodeRules {
    required: RequiredNodes,
    preferred: Vec<Preferred>,
}

impl NodeRules {
    fn of(spec: &PodSpec) -> Option<Self> {
        let (required, preferred) = (RequiredNodes::new(spec), Preferred::all(spec));
        (!required.is_empty() || !preferred.is_empty()).then_some(Self {
            required,
            preferred,
        })
    }
}

impl PodInfo {
    pub fn new(pod: &Arc<Pod>) -> Self {
        let meta = &pod.metadata;
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let status = pod.status.as_ref();
        let revision = meta.resource_version.as_deref();
        let node_name = spec.node_name.as_deref().filter(|name| !name.is_empty());
        let started = status.and_then(|status| status.start_time.as_ref());
        let is_ending = meta.deletion_timestamp.is_some();
        Self {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
            resource_version: revision.map(Box::from),
            labels: Labels::of(meta.labels.as_ref()),
            generation: meta.generation,
            priority: spec.priority.unwrap_or(0),
            requests: resources::pod_requests(pod),
            score_requests: resources::pod_requests_for_score(pod),
            host_ports: HostPort::of(spec),
            claims: pod::claims(pod).collect(),
            disks: Disk::all(spec),
            rules: match node_name {
                Some(_) => None,
                None => NodeRules::of(spec).map(Box::new),
            },
            node_features: match node_name {
                Some(_) => Vec::new(),
                None => node_features::required(spec),
            },
            affinity: PodAffinity::of(pod).map(Box::new),
            started: started.map(|time| time.0),
            is_ending,
            is_preempted: is_ending && preempted::is_marked(pod),
            whole: node_name.is_none().then(|| pod.clone()),
            node_name: node_name.map(Box::from),
        }
    }

    pub fn node_name(&self) -> Option<&str> {
        self.node_name.as_deref()
    }

    /// All of it; `None` once it has a node.
    pub fn whole(&self) -> Option<&Pod> {
        self.whole.as_deref()
    }

    /// As [`PodInfo::whole`].
    pub fn shared(&self) -> Option<&Arc<Pod>> {
        self.whole.as_ref()
    }

    /// The claims of devices that were made for it, as its status says.
    pub fn made_claims(&self) -> Option<&[PodResourceClaimStatus]> {
        let status = self.whole()?.status.as_ref()?;
        status.resource_claim_statuses.as_deref()
    }

    /// Who is to find a node for it.
    pub fn scheduler_name(&self) -> &str {
        let named = self.spec().and_then(|spec| spec.scheduler_name.as_deref());
        named.unwrap_or("default-scheduler")
    }

    /// The specification of a pod without a node.
    pub fn spec(&self) -> Option<&PodSpec> {
        self.whole()?.spec.as_ref()
    }

    /// Not bound, not going away, and past its scheduling gates.
    pub fn wants_node(&self) -> bool {
        self.node_name.is_none() && !self.is_ending && self.gates().next().is_none()
    }

    /// What has to be removed from it before it is tried.
    pub fn gates(&self) -> impl Iterator<Item = &str> {
        let gates = self.spec().and_then(|spec| spec.scheduling_gates.as_ref());
        gates.into_iter().flatten().map(|gate| gate.name.as_str())
    }

    pub fn tolerations(&self) -> &[Toleration] {
        let spec = self.spec();
        spec.and_then(|s| s.tolerations.as_deref())
            .unwrap_or_default()
    }

    /// The rules about nodes that have to be kept, where there are any.
    pub fn required_nodes(&self) -> Option<&RequiredNodes> {
        let rules = self.rules.as_ref();
        let required = rules.map(|rules| &rules.required);
        required.filter(|required| !required.is_empty())
    }

    /// Whether those rules allow the node.
    pub fn may_go_to(&self, node: &Node) -> bool {
        let required = self.required_nodes();
        required.is_none_or(|required| required.matches(node))
    }

    pub fn preferred_nodes(&self) -> &[Preferred] {
        let rules = self.rules.as_ref();
        rules.map(|rules| &*rules.preferred).unwrap_or_default()
    }

    /// Whether it is on its way out.
    pub fn is_ending(&self) -> bool {
        self.is_ending
    }

    /// The node that its status says it is nominated to, while it has none.
    pub fn nominated_node(&self) -> Option<&str> {
        nominated_node(self.whole()?)
    }

    /// Since when its kubelet has it; `None` before.
    pub fn started(&self) -> Option<Timestamp> {
        self.started
    }

    /// Whether it may have others ended to get their room.
    pub fn may_preempt(&self) -> bool {
        let spec = self.spec();
        spec.and_then(|spec| spec.preemption_policy.as_deref()) != Some("Never")
    }
}

/// The node that a pod's status says it is nominated to.
pub fn nominated_node(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let name = status.nominated_node_name.as_deref()?;
    (!name.is_empty()).then_some(name)
}
