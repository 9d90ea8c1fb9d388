//! What events about nodes name.

use k8s_openapi::api::core::v1::{Node, ObjectReference};
use kube::Resource;

/// The node, without its version: it changes all the time, and an event would be another one each time. Its uid is the object's own,
/// unlike in kubelets' events, which come before they know it.
pub(crate) fn about(node: &Node) -> ObjectReference {
    ObjectReference {
        resource_version: None,
        ..node.object_ref(&())
    }
}
