//! Events about pods and the node, in upstream's wording.

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
pub(crate) use knarr_client::events::{NORMAL, WARNING};
use knarr_client::{Informer, events::Recorder};

use crate::ephemeral;

/// Writes the kubelet's events.
#[derive(Clone)]
pub(crate) struct Events {
    pub(crate) recorder: Recorder,
    /// The node's own object.
    pub(crate) node: Informer<Node>,
}

impl Events {
    /// About the pod as a whole.
    pub(crate) fn pod(
        &self,
        pod: &Pod,
        type_: &'static str,
        reason: &str,
        note: impl Into<String>,
    ) {
        self.recorder
            .event(&reference(pod, None), type_, reason, note);
    }

    /// About one of its containers.
    pub(crate) fn container(
        &self,
        pod: &Pod,
        container: &str,
        type_: &'static str,
        reason: &str,
        note: impl Into<String>,
    ) {
        let path = field_path(pod, container);
        self.recorder
            .event(&reference(pod, Some(path)), type_, reason, note);
    }

    /// About the node. Until it is known who it is, its name stands where the uid would be, by which `kubectl describe` finds it, too.
    pub(crate) fn node(&self, name: &str, reason: &str, note: impl Into<String>) {
        self.about_node(name, NORMAL, reason, note);
    }

    /// Of what is wrong with the node.
    pub(crate) fn node_warning(&self, name: &str, reason: &str, note: impl Into<String>) {
        self.about_node(name, WARNING, reason, note);
    }

    fn about_node(&self, name: &str, type_: &'static str, reason: &str, note: impl Into<String>) {
        let known = self.node.get("", name);
        let uid = known.and_then(|node| node.metadata.uid.clone());
        let node = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(name.to_owned()),
            uid: Some(uid.unwrap_or_else(|| name.to_owned())),
            ..Default::default()
        };
        self.recorder.event(&node, type_, reason, note);
    }
}

fn field_path(pod: &Pod, container: &str) -> String {
    let init = pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    let list = if init.into_iter().any(|c| c.name == container) {
        "initContainers"
    } else if ephemeral::find(pod, container).is_some() {
        "ephemeralContainers"
    } else {
        "containers"
    };
    format!("spec.{list}{{{container}}}")
}

fn reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        name: pod.metadata.name.clone(),
        namespace: pod.metadata.namespace.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path,
    }
}
