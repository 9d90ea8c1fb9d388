//! What pods ask of kubelets beyond what all of them do, and what nodes declare (upstream
//! `component-helpers/nodedeclaredfeatures/features`).

use k8s_openapi::api::core::v1::{Container, Node, PodSpec};

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
