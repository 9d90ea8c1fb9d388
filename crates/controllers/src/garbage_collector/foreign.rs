//! Owners in other namespaces, which are none.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::GarbageCollector;
use super::graph::{Node, Uid};
use crate::events::WARNING;

impl GarbageCollector {
    /// An owner of another namespace is why an object goes that seems to have one: its own events say so, as upstream's do.
    pub(super) fn tell_if_foreign(&self, uid: &Uid, node: &Node, owner: &OwnerReference) {
        let foreign = self.graph.lock().is_foreign(&node.namespace, owner);
        let (true, Some(resource)) = (foreign, &node.resource) else {
            return;
        };
        let about = ObjectReference {
            api_version: Some(resource.api.api_version.clone()),
            kind: Some(resource.api.kind.clone()),
            namespace: Some(node.namespace.to_string()),
            name: Some(node.name.to_string()),
            uid: Some(uid.to_string()),
            ..ObjectReference::default()
        };
        let OwnerReference {
            api_version,
            kind,
            name,
            uid,
            ..
        } = owner;
        let namespace = &node.namespace;
        let note = format!(
            "ownerRef [{api_version}/{kind}, namespace: {namespace}, name: {name}, uid: {uid}] does not exist in namespace \"{namespace}\""
        );
        let reason = "OwnerRefInvalidNamespace";
        self.recorder.event(&about, WARNING, reason, note);
    }
}
