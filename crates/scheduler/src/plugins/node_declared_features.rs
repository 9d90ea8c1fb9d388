//! NodeDeclaredFeatures: a pod goes where the kubelet can do what it asks for, by what nodes declare (upstream
//! `nodedeclaredfeatures`; what a pod asks for is inferred as in `component-helpers/nodedeclaredfeatures/features`).

use k8s_openapi::api::core::v1::{Container, Node, PodSpec};

use crate::{
    framework::{Change, ClusterEvent, CycleState, Filter, PreFilter, Reason, Refusal},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

const UNSATISFIED: &str = "node(s) didn't match Pod's required features";

const RESTART_ALL_CONTAINERS: &str = "RestartAllContainersOnContainerExits";
const USER_NAMESPACES_HOST_NETWORK: &str = "UserNamespacesHostNetworkSupport";

/// The features that a pod asks of its node.
pub fn required(spec: &PodSpec) -> Vec<&'static str> {
    let containers = spec.init_containers.iter().flatten();
    let mut containers = containers.chain(&spec.containers);
    let mut required = Vec::new();
    if containers.any(restarts_all) {
        required.push(RESTART_ALL_CONTAINERS);
    }
    if spec.host_network == Some(true) && spec.host_users == Some(false) {
        required.push(USER_NAMESPACES_HOST_NETWORK);
    }
    required
}

fn restarts_all(container: &Container) -> bool {
    let mut rules = container.restart_policy_rules.iter().flatten();
    rules.any(|rule| rule.action == "RestartAllContainers")
}

/// What a node declares.
pub fn declared(node: &Node) -> &[String] {
    let status = node.status.as_ref();
    let declared = status.and_then(|status| status.declared_features.as_deref());
    declared.unwrap_or_default()
}

pub struct NodeDeclaredFeatures;

impl Filter for NodeDeclaredFeatures {
    fn name(&self) -> &'static str {
        "NodeDeclaredFeatures"
    }

    fn pre_filter(
        &self,
        pod: &PodInfo,
        _: &Snapshot,
        _: &mut CycleState,
    ) -> Result<PreFilter, Reason> {
        Ok(match pod.node_features.is_empty() {
            true => PreFilter::Skip,
            false => PreFilter::All,
        })
    }

    fn filter(&self, pod: &PodInfo, node: &NodeInfo, _: &CycleState) -> Result<(), Refusal> {
        match has_all(pod, node) {
            true => Ok(()),
            false => Err(Refusal::unresolvable(UNSATISFIED)),
        }
    }

    fn remedies(&self, pod: &PodInfo, node: &NodeInfo) -> Vec<String> {
        let declared = node.node.as_deref().map(declared).unwrap_or_default();
        let missing = pod.node_features.iter();
        let missing = missing.filter(|feature| !declared.iter().any(|name| name == *feature));
        missing
            .map(|feature| format!("a kubelet that declares {feature}"))
            .collect()
    }

    fn changes(&self) -> &'static [Change] {
        &[Change::NodeAdded, Change::NodeFeatures]
    }

    fn helps(&self, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        has_all(pod, event.node)
    }
}

fn has_all(pod: &PodInfo, node: &NodeInfo) -> bool {
    let declared = node.node.as_deref().map(declared).unwrap_or_default();
    let has = |feature: &&str| declared.iter().any(|name| name == feature);
    pod.node_features.iter().all(has)
}
