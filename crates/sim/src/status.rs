//! Statuses of pods, as a kubelet writes them.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::{
    plan::{StatusUpdate, backoff},
    pod::{Container, Phase, Pod},
};

/// Where a pod is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    pub host: IpAddr,
    pub pod: Option<IpAddr>,
}

/// The patch of a pod's status. `now` is as objects have times; the uid keeps it from another pod of the name.
pub(crate) fn patch(pod: &Pod, told: StatusUpdate, addresses: Addresses, now: &str) -> Value {
    let mut status = json!({
        "phase": match told {
            StatusUpdate::Begun => "Pending",
            StatusUpdate::Runs | StatusUpdate::BacksOff { .. } => "Running",
            StatusUpdate::Ended { phase: Phase::Succeeded, .. } => "Succeeded",
            StatusUpdate::Ended { .. } => "Failed",
        },
        "hostIP": addresses.host,
        "hostIPs": [{"ip": addresses.host}],
        "conditions": conditions(pod, told, now),
        "containerStatuses": containers(pod, told, now),
    });
    if !pod.is_begun {
        status["startTime"] = now.into();
    }
    if let Some(generation) = pod.generation {
        status["observedGeneration"] = generation.into();
    }
    if let Some(ip) = addresses.pod {
        status["podIP"] = json!(ip);
        status["podIPs"] = json!([{"ip": ip}]);
    }
    if !pod.init.is_empty() {
        let init = pod
            .init
            .iter()
            .map(|container| init(pod, container, told, now));
        status["initContainerStatuses"] = init.collect();
    }
    json!({"metadata": {"uid": pod.uid}, "status": status})
}

/// Type, whether it holds, and why not; reasons are upstream's.
fn conditions(pod: &Pod, told: StatusUpdate, now: &str) -> Value {
    let names: Vec<&str> = pod.containers.iter().map(|c| &*c.name).collect();
    let unready = || {
        Some(format!(
            "containers with unready status: [{}]",
            names.join(" ")
        ))
    };
    let (ready, reason, message) = match told {
        StatusUpdate::Runs => (true, None, None),
        StatusUpdate::Begun | StatusUpdate::BacksOff { .. } => {
            (false, Some("ContainersNotReady"), unready())
        }
        StatusUpdate::Ended {
            phase: Phase::Succeeded,
            ..
        } => (false, Some("PodCompleted"), None),
        StatusUpdate::Ended { .. } => (false, Some("PodFailed"), None),
    };
    let has_sandbox = matches!(told, StatusUpdate::Runs | StatusUpdate::BacksOff { .. });
    let is_initialized = pod.init.is_empty() || told != StatusUpdate::Begun;
    let condition = |kind: &str, holds: bool, reason: Option<&str>, message: Option<&String>| {
        let status = if holds { "True" } else { "False" };
        json!({"type": kind, "status": status, "reason": reason, "message": message,
            "lastProbeTime": null, "lastTransitionTime": now, "observedGeneration": pod.generation})
    };
    let waits = (!is_initialized).then_some("ContainersNotInitialized");
    json!([
        condition("PodReadyToStartContainers", has_sandbox, None, None),
        condition("Initialized", is_initialized, waits, None),
        condition("Ready", ready, reason, message.as_ref()),
        condition("ContainersReady", ready, reason, message.as_ref()),
    ])
}

fn terminated(exit: i32, now: &str) -> Value {
    let reason = if exit == 0 { "Completed" } else { "Error" };
    json!({"terminated": {"exitCode": exit, "reason": reason, "startedAt": now, "finishedAt": now}})
}

/// The status of one container.
fn container(pod: &Pod, container: &Container, state: Value, last: Value, restarts: i32) -> Value {
    let runs = state.get("running").is_some();
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": if runs { &*container.image } else { "" },
        "containerID": runs.then(|| format!("hollow://{}-{}", pod.uid, container.name)),
        "state": state,
        "lastState": last,
        "ready": runs,
        "started": runs,
        "restartCount": restarts,
    })
}

fn containers(pod: &Pod, told: StatusUpdate, now: &str) -> Value {
    let status = |one: &Container| {
        let (state, last, restarts) = match told {
            StatusUpdate::Begun if pod.init.is_empty() => {
                (waiting("ContainerCreating", None), json!({}), 0)
            }
            StatusUpdate::Begun => (waiting("PodInitializing", None), json!({}), 0),
            StatusUpdate::Runs => (
                json!({"running": {"startedAt": now}}),
                json!({}),
                pod.restarts,
            ),
            StatusUpdate::Ended { exit, .. } => (terminated(exit, now), json!({}), pod.restarts),
            StatusUpdate::BacksOff { restarts, exit } => {
                let message = format!(
                    "back-off {}s restarting failed container={} pod={}_{}({})",
                    backoff(restarts).as_secs(),
                    one.name,
                    pod.name,
                    pod.namespace,
                    pod.uid
                );
                let state = waiting("CrashLoopBackOff", Some(&message));
                (state, terminated(exit, now), restarts)
            }
        };
        container(pod, one, state, last, restarts)
    };
    pod.containers.iter().map(status).collect()
}

fn waiting(reason: &str, message: Option<&str>) -> Value {
    json!({"waiting": {"reason": reason, "message": message}})
}

/// Init containers have all succeeded when the others run; sidecars run as long as those do.
fn init(pod: &Pod, one: &Container, told: StatusUpdate, now: &str) -> Value {
    let state = match told {
        StatusUpdate::Begun => waiting("PodInitializing", None),
        StatusUpdate::Runs | StatusUpdate::BacksOff { .. } if one.is_sidecar => {
            json!({"running": {"startedAt": now}})
        }
        _ => terminated(0, now),
    };
    let is_done = told != StatusUpdate::Begun;
    let mut status = container(pod, one, state, json!({}), 0);
    status["ready"] = is_done.into();
    status
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::PodStatus;

    use super::*;
    use crate::fixtures::seen;

    const NOW: &str = "2030-01-01T12:00:00Z";

    fn pod() -> Pod {
        seen(
            &json!({"metadata": {"name": "p", "namespace": "x", "uid": "u", "generation": 3},
            "spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "k"}],
                "initContainers": [{"name": "s", "image": "i", "restartPolicy": "Always"}, {"name": "t", "image": "i"}]}}),
        )
    }

    fn told(told: StatusUpdate) -> PodStatus {
        let addresses = Addresses {
            host: "198.18.0.1".parse().expect("an address"),
            pod: (told != StatusUpdate::Begun).then(|| "10.42.1.2".parse().expect("an address")),
        };
        let patch = patch(&pod(), told, addresses, NOW);
        assert_eq!(patch["metadata"]["uid"], "u");
        serde_json::from_value(patch["status"].clone()).expect("a status")
    }

    /// Phase; whether the pod is ready; states of its containers; of its init containers.
    fn summary(status: &PodStatus) -> (String, bool, String, String) {
        let mut conditions = status.conditions.iter().flatten();
        let ready = conditions
            .find(|c| c.type_ == "Ready")
            .map(|c| c.status == "True");
        let states = |all: &Option<Vec<k8s_openapi::api::core::v1::ContainerStatus>>| {
            let state = |status: &k8s_openapi::api::core::v1::ContainerStatus| {
                let state = status.state.clone().unwrap_or_default();
                let waiting = state.waiting.and_then(|w| w.reason);
                let terminated = state.terminated.map(|t| format!("exit {}", t.exit_code));
                waiting.or(terminated).unwrap_or_else(|| "runs".to_owned())
            };
            all.iter()
                .flatten()
                .map(state)
                .collect::<Vec<_>>()
                .join(", ")
        };
        (
            status.phase.clone().unwrap_or_default(),
            ready.unwrap_or_default(),
            states(&status.container_statuses),
            states(&status.init_container_statuses),
        )
    }

    #[test]
    fn statuses_are_a_kubelets() {
        let back = StatusUpdate::BacksOff {
            restarts: 2,
            exit: 1,
        };
        let ended = |phase, exit| StatusUpdate::Ended { phase, exit };
        for (what, phase, ready, main, init) in [
            (
                StatusUpdate::Begun,
                "Pending",
                false,
                "PodInitializing",
                "PodInitializing, PodInitializing",
            ),
            (StatusUpdate::Runs, "Running", true, "runs", "runs, exit 0"),
            (back, "Running", false, "CrashLoopBackOff", "runs, exit 0"),
            (
                ended(Phase::Succeeded, 0),
                "Succeeded",
                false,
                "exit 0",
                "exit 0, exit 0",
            ),
            (
                ended(Phase::Failed, 143),
                "Failed",
                false,
                "exit 143",
                "exit 0, exit 0",
            ),
        ] {
            let both = format!("{main}, {main}");
            let expected = (phase.to_owned(), ready, both, init.to_owned());
            assert_eq!(summary(&told(what)), expected, "{what:?}");
        }
    }

    #[test]
    fn who_looks_finds_times_addresses_and_counts() {
        let status = told(StatusUpdate::BacksOff {
            restarts: 2,
            exit: 1,
        });
        assert_eq!(status.host_ip.as_deref(), Some("198.18.0.1"));
        assert_eq!(status.pod_ip.as_deref(), Some("10.42.1.2"));
        assert_eq!(status.observed_generation, Some(3));
        assert!(status.start_time.is_some());
        let containers = status.container_statuses.unwrap_or_default();
        assert_eq!(containers[0].restart_count, 2);
        let waiting = containers[0].state.clone().and_then(|state| state.waiting);
        let message = waiting.and_then(|waiting| waiting.message);
        assert_eq!(
            message.as_deref(),
            Some("back-off 20s restarting failed container=a pod=p_x(u)")
        );
        let last = containers[0]
            .last_state
            .clone()
            .and_then(|state| state.terminated);
        assert_eq!(last.map(|t| t.exit_code), Some(1));
    }
}
