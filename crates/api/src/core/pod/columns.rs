//! How `kubectl get pods` shows a pod.

use knarr_meta::{
    object::{self, bool_at, i64_at, list_at, str_at, struct_at},
    time,
};
use serde_json::{Value, json};

use crate::{
    core::pod_spec::is_sidecar,
    kind::Column,
    now::Now,
    shown::Shown,
    table::{self, AGE, NAME, column, wide},
};

pub(super) const COLUMNS: &[Column] = &[
    NAME,
    column("Ready", "string", "Ready containers of all containers."),
    column("Status", "string", "What the pod's containers are up to."),
    column(
        "Restarts",
        "string",
        "How often containers were restarted, and when last.",
    ),
    AGE,
    wide("IP", "string", "The pod's address."),
    wide("Node", "string", "The node the pod is bound to."),
    wide(
        "Nominated Node",
        "string",
        "The node where a preemption makes room.",
    ),
    wide(
        "Readiness Gates",
        "string",
        "Gates that are true, of all gates.",
    ),
];

/// What [`cells`] and [`conditions`] look at.
pub(super) static SHOWN: Shown = Shown::Only(&[
    (
        "metadata",
        Shown::Only(&[
            ("name", Shown::All),
            ("creationTimestamp", Shown::All),
            ("deletionTimestamp", Shown::All),
        ]),
    ),
    (
        "spec",
        Shown::Only(&[
            ("containers", Shown::Only(&[])),
            (
                "initContainers",
                Shown::Only(&[("name", Shown::All), ("restartPolicy", Shown::All)]),
            ),
            ("nodeName", Shown::All),
            ("readinessGates", Shown::All),
        ]),
    ),
    (
        "status",
        Shown::Only(&[
            ("conditions", Shown::All),
            ("containerStatuses", CONTAINER),
            ("initContainerStatuses", CONTAINER),
            ("nominatedNodeName", Shown::All),
            ("phase", Shown::All),
            ("podIP", Shown::All),
            ("podIPs", Shown::All),
            ("reason", Shown::All),
        ]),
    ),
]);

const CONTAINER: Shown = Shown::Only(&[
    ("lastState", Shown::All),
    ("name", Shown::All),
    ("ready", Shown::All),
    ("restartCount", Shown::All),
    ("started", Shown::All),
    ("state", Shown::All),
]);

/// What the statuses of containers add up to.
struct Summary {
    reason: String,
    ready: usize,
    total: usize,
    restarts: i64,
    /// Unix seconds of the last termination before a restart.
    last_restart: Option<i64>,
}

/// Of a pod that has come to its end.
pub(super) fn conditions(pod: &Value) -> Option<Value> {
    let phase = str_at(pod, &["status", "phase"]);
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!([{"type": "Completed", "status": "True", "reason": phase, "message": message}]))
}

pub(super) fn cells(pod: &Value, now: &Now) -> Vec<Value> {
    let summary = summarize(pod);
    let last_restart = summary.last_restart.filter(|_| summary.restarts != 0);
    let restarts = match last_restart {
        Some(at) => format!("{} ({} ago)", summary.restarts, now.since_seconds(at)),
        None => summary.restarts.to_string(),
    };
    let ip = list_at(pod, &["status", "podIPs"])
        .first()
        .map_or(str_at(pod, &["status", "podIP"]), |ip| str_at(ip, &["ip"]));
    vec![
        table::name(pod),
        format!("{}/{}", summary.ready, summary.total).into(),
        summary.reason.into(),
        restarts.into(),
        table::age(pod, now),
        table::or(ip, "<none>"),
        table::or(str_at(pod, &["spec", "nodeName"]), "<none>"),
        table::or(str_at(pod, &["status", "nominatedNodeName"]), "<none>"),
        readiness_gates(pod),
    ]
}

fn summarize(pod: &Value) -> Summary {
    let status = pod.get("status").unwrap_or(&Value::Null);
    let phase = str_at(status, &["phase"]);
    let mut reason = match str_at(status, &["reason"]) {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    let conditions = list_at(status, &["conditions"]);
    if conditions.iter().any(|condition| {
        str_at(condition, &["type"]) == "PodScheduled"
            && str_at(condition, &["reason"]) == "SchedulingGated"
    }) {
        "SchedulingGated".clone_into(&mut reason);
    }
    let sidecars = list_at(pod, &["spec", "initContainers"])
        .iter()
        .filter(|container| is_sidecar(container))
        .count();
    let mut summary = Summary {
        reason,
        ready: 0,
        total: list_at(pod, &["spec", "containers"]).len() + sidecars,
        restarts: 0,
        last_restart: None,
    };
    let (initializing, sidecar_restarts) = add_init(pod, status, &mut summary);
    if !initializing || is_true(conditions, "Initialized") {
        (summary.restarts, summary.last_restart) = sidecar_restarts;
        add_containers(status, conditions, &mut summary);
    }
    if object::deletion_timestamp(pod).is_some() {
        if str_at(status, &["reason"]) == "NodeLost" {
            "Unknown".clone_into(&mut summary.reason);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut summary.reason);
        }
    }
    summary
}

fn is_true(conditions: &[Value], kind: &str) -> bool {
    conditions.iter().any(|condition| {
        str_at(condition, &["type"]) == kind && str_at(condition, &["status"]) == "True"
    })
}

/// The latest time at which a container's previous run ended.
fn last_termination(container: &Value) -> Option<i64> {
    time::parse_unix_seconds(str_at(
        container,
        &["lastState", "terminated", "finishedAt"],
    ))
}

/// The state of this name, where the container is in it.
fn state<'a>(container: &'a Value, name: &str) -> Option<&'a Value> {
    struct_at(container, &["state", name])
}

/// `Init:Error`, `Init:Signal:9`, `ExitCode:1`, …
fn termination(prefix: &str, terminated: &Value) -> String {
    let reason = str_at(terminated, &["reason"]);
    if !reason.is_empty() {
        return format!("{prefix}{reason}");
    }
    match i64_at(terminated, &["signal"]).unwrap_or_default() {
        0 => format!(
            "{prefix}ExitCode:{}",
            i64_at(terminated, &["exitCode"]).unwrap_or_default()
        ),
        signal => format!("{prefix}Signal:{signal}"),
    }
}

/// Walks init containers up to the one that is at work. Returns whether there is one, and the restarts of sidecars.
fn add_init(pod: &Value, status: &Value, summary: &mut Summary) -> (bool, (i64, Option<i64>)) {
    let specs = list_at(pod, &["spec", "initContainers"]);
    let mut sidecars = (0, None);
    let statuses = list_at(status, &["initContainerStatuses"]);
    for (index, container) in statuses.iter().enumerate() {
        let name = str_at(container, &["name"]);
        let sidecar = specs
            .iter()
            .any(|spec| str_at(spec, &["name"]) == name && is_sidecar(spec));
        let restarts = i64_at(container, &["restartCount"]).unwrap_or_default();
        let terminated_at = last_termination(container);
        summary.restarts += restarts;
        summary.last_restart = summary.last_restart.max(terminated_at);
        if sidecar {
            sidecars.0 += restarts;
            sidecars.1 = sidecars.1.max(terminated_at);
        }
        let waiting = state(container, "waiting")
            .map(|waiting| str_at(waiting, &["reason"]))
            .filter(|reason| !matches!(*reason, "" | "PodInitializing"));
        let terminated = state(container, "terminated");
        match (terminated, waiting) {
            (Some(terminated), _) if i64_at(terminated, &["exitCode"]).unwrap_or_default() == 0 => {
                continue;
            }
            _ if sidecar && bool_at(container, &["started"]) => {
                if bool_at(container, &["ready"]) {
                    summary.ready += 1;
                }
                continue;
            }
            (Some(terminated), _) => summary.reason = termination("Init:", terminated),
            (None, Some(reason)) => summary.reason = format!("Init:{reason}"),
            (None, None) => summary.reason = format!("Init:{index}/{}", specs.len()),
        }
        return (true, sidecars);
    }
    (false, sidecars)
}

fn add_containers(status: &Value, conditions: &[Value], summary: &mut Summary) {
    let mut running = false;
    let mut failed = None;
    for container in list_at(status, &["containerStatuses"]).iter().rev() {
        summary.restarts += i64_at(container, &["restartCount"]).unwrap_or_default();
        summary.last_restart = summary.last_restart.max(last_termination(container));
        let waiting = state(container, "waiting")
            .map(|waiting| str_at(waiting, &["reason"]))
            .filter(|reason| !reason.is_empty());
        if let Some(reason) = waiting {
            reason.clone_into(&mut summary.reason);
        } else if let Some(terminated) = state(container, "terminated") {
            summary.reason = termination("", terminated);
            if i64_at(terminated, &["exitCode"]).unwrap_or_default() != 0 {
                failed = Some(summary.reason.clone());
            }
        } else if bool_at(container, &["ready"]) && state(container, "running").is_some() {
            running = true;
            summary.ready += 1;
        }
    }
    // One container is done; others may run, or have failed.
    if summary.reason == "Completed" {
        if running && is_true(conditions, "Ready") {
            "Running".clone_into(&mut summary.reason);
        } else if let Some(failed) = failed {
            summary.reason = failed;
        } else if running {
            "NotReady".clone_into(&mut summary.reason);
        }
    }
}

fn readiness_gates(pod: &Value) -> Value {
    let gates = list_at(pod, &["spec", "readinessGates"]);
    if gates.is_empty() {
        return "<none>".into();
    }
    let conditions = list_at(pod, &["status", "conditions"]);
    let passed = gates
        .iter()
        .filter(|gate| is_true(conditions, str_at(gate, &["conditionType"])))
        .count();
    format!("{passed}/{}", gates.len()).into()
}
