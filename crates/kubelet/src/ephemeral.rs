//! Ephemeral containers: they join a running pod so that somebody can look at it, are started once, and count for nothing: not for
//! readiness, not for the phase, not for resources.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, EphemeralContainer, Pod};

/// Those of a pod.
pub(crate) fn all(pod: &Pod) -> impl Iterator<Item = &EphemeralContainer> {
    let spec = pod.spec.as_ref();
    spec.into_iter()
        .flat_map(|spec| spec.ephemeral_containers.iter().flatten())
}

/// The one of that name.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<&'a EphemeralContainer> {
    all(pod).find(|container| container.name == name)
}

/// Whether the API was told that it ran: it does not run again, whatever the runtime remembers.
pub(crate) fn ran(pod: &Pod, name: &str) -> bool {
    let status = pod.status.as_ref();
    let mut statuses = status
        .into_iter()
        .flat_map(|status| status.ephemeral_container_statuses.iter().flatten());
    statuses.any(|status| status.name == name && has_id(status))
}

fn has_id(status: &ContainerStatus) -> bool {
    status
        .container_id
        .as_deref()
        .is_some_and(|id| !id.is_empty())
}

/// As a container: the same but for its target, and for what validation keeps out of it.
pub(crate) fn container(ephemeral: &EphemeralContainer) -> Container {
    let EphemeralContainer {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        name,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..
    } = ephemeral.clone();
    Container {
        args,
        command,
        env,
        env_from,
        image,
        image_pull_policy,
        name,
        security_context,
        stdin,
        stdin_once,
        termination_message_path,
        termination_message_policy,
        tty,
        volume_devices,
        volume_mounts,
        working_dir,
        ..Container::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::testing::object;

    #[test]
    fn everything_that_one_may_say_is_said_of_its_container() {
        let own = json!({
            "args": ["a"], "command": ["c"], "env": [{ "name": "E", "value": "v" }],
            "envFrom": [{ "prefix": "P_", "configMapRef": { "name": "cm" } }],
            "image": "img:1", "imagePullPolicy": "Always", "name": "debugger",
            "securityContext": { "runAsUser": 7 }, "stdin": true, "stdinOnce": true,
            "terminationMessagePath": "/last", "terminationMessagePolicy": "File", "tty": true,
            "volumeDevices": [{ "name": "disk", "devicePath": "/dev/x" }],
            "volumeMounts": [{ "name": "data", "mountPath": "/data" }], "workingDir": "/w",
        });
        let mut given = own.clone();
        given["targetContainerName"] = json!("main");
        let ephemeral: EphemeralContainer = object(given);
        let made = serde_json::to_value(container(&ephemeral)).unwrap();
        assert_eq!(made, own);
    }
}
