//! The labels and annotations that tie sandboxes and containers to their pods. They are upstream's, so that tools
//! which read them (crictl, log agents) work, and all the memory a kubelet has after a restart.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_cri::v1;

pub(crate) const POD_NAME: &str = "io.kubernetes.pod.name";
pub(crate) const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub(crate) const POD_UID: &str = "io.kubernetes.pod.uid";
pub(crate) const CONTAINER_NAME: &str = "io.kubernetes.container.name";

pub(crate) const HASH: &str = "io.kubernetes.container.hash";
pub(crate) const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub(crate) const MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub(crate) const MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
/// The sandbox that a container is in; CRI tells it with lists only.
pub(crate) const SANDBOX: &str = "knarr.io/sandbox";
pub(crate) const GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

/// Label of sandboxes and containers that says which kubelet made them (its [`crate::Config::instance`]): a runtime may serve more than
/// one, and upstream's labels only name the pod.
pub const OWNER_LABEL: &str = "knarr.io/kubelet";

/// Labels of a pod's sandbox: the pod's own, its identity and its kubelet's.
pub(crate) fn sandbox(pod: &Pod, owner: &str) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> = pod
        .metadata
        .labels
        .clone()
        .unwrap_or_default()
        .into_iter()
        .collect();
    identity(&mut labels, pod);
    labels.insert(OWNER_LABEL.to_owned(), owner.to_owned());
    labels
}

/// Labels of one container.
pub(crate) fn container(pod: &Pod, name: &str, owner: &str) -> HashMap<String, String> {
    let mut labels = HashMap::from([
        (CONTAINER_NAME.to_owned(), name.to_owned()),
        (OWNER_LABEL.to_owned(), owner.to_owned()),
    ]);
    identity(&mut labels, pod);
    labels
}

fn identity(labels: &mut HashMap<String, String>, pod: &Pod) {
    let meta = &pod.metadata;
    labels.insert(POD_NAME.to_owned(), meta.name.clone().unwrap_or_default());
    labels.insert(
        POD_NAMESPACE.to_owned(),
        meta.namespace.clone().unwrap_or_default(),
    );
    labels.insert(POD_UID.to_owned(), meta.uid.clone().unwrap_or_default());
}

/// Annotations of one container: what its status needs when the API object is gone.
pub(crate) fn annotations(
    pod: &Pod,
    container: &Container,
    attempt: u32,
    sandbox: &str,
) -> HashMap<String, String> {
    let path = container.termination_message_path.clone();
    let policy = container.termination_message_policy.clone();
    let grace = pod
        .spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds)
        .unwrap_or(30);
    HashMap::from([
        (HASH.to_owned(), hash(container)),
        (RESTART_COUNT.to_owned(), attempt.to_string()),
        (SANDBOX.to_owned(), sandbox.to_owned()),
        (
            MESSAGE_PATH.to_owned(),
            path.unwrap_or_else(|| "/dev/termination-log".to_owned()),
        ),
        (
            MESSAGE_POLICY.to_owned(),
            policy.unwrap_or_else(|| "File".to_owned()),
        ),
        (GRACE.to_owned(), grace.to_string()),
    ])
}

/// Fingerprint of what a change of restarts a container: its name and image, which is all that may change in a
/// running pod. Fields that a newer API version adds do not restart anything.
pub(crate) fn hash(container: &Container) -> String {
    let image = container.image.as_deref().unwrap_or_default();
    let bytes = container.name.bytes().chain([0]).chain(image.bytes());
    // FNV-1a, 32 bits, as upstream's.
    let hash = bytes.fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    format!("{hash:x}")
}

/// The pod that a sandbox or container belongs to, if this kubelet made it.
pub(crate) fn pod_uid<'a>(labels: &'a HashMap<String, String>, owner: &str) -> Option<&'a str> {
    if labels.get(OWNER_LABEL).map(String::as_str) != Some(owner) {
        return None;
    }
    labels
        .get(POD_UID)
        .map(String::as_str)
        .filter(|uid| !uid.is_empty())
}

/// How often the container was started before this time.
pub(crate) fn restart_count(status: &v1::ContainerStatus) -> u32 {
    let attempt = status.metadata.as_ref().map_or(0, |m| m.attempt);
    status
        .annotations
        .get(RESTART_COUNT)
        .and_then(|n| n.parse().ok())
        .unwrap_or(attempt)
}

/// The container's name in the pod.
pub(crate) fn container_name(status: &v1::ContainerStatus) -> &str {
    match status.labels.get(CONTAINER_NAME) {
        Some(name) => name,
        None => status.metadata.as_ref().map_or("", |m| m.name.as_str()),
    }
}
