//! The kubelet's pod conditions. Those of others (scheduler, controllers, readiness gates) are left alone.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, PodCondition, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_cri::v1::PodSandboxState;

use super::{Input, phase, whole};
use crate::{
    eviction,
    worker::{memory::Condition, plan, resize, restart_all},
};

/// Tells that a pod was ended for another's sake, and by whom.
const DISRUPTION: &str = "DisruptionTarget";
const TERMINATION: &str = "TerminationByKubelet";
const READY_TO_START: &str = "PodReadyToStartContainers";
const SANDBOX_NOT_READY: &str = "PodSandboxNotReady";

/// The conditions that are the kubelet's alone, in upstream's order. They come after those of others.
const OWN: [&str; 8] = [
    resize::PENDING,
    resize::IN_PROGRESS,
    READY_TO_START,
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    restart_all::CONDITION,
];

/// Whether nobody but the kubelet tells of it.
pub(super) fn is_own(condition: &PodCondition) -> bool {
    OWN.contains(&condition.type_.as_str())
}

/// Sets the conditions from the rest of the status, which is complete.
pub(super) fn apply(input: &Input<'_>, status: &mut PodStatus) {
    let mut set = Setter {
        input,
        list: status.conditions.take().unwrap_or_default(),
    };
    let over = ended(status).is_some();
    let resize = &input.memory.resize;
    set.change(resize::PENDING, resize.pending.as_ref().filter(|_| !over));
    set.change(
        resize::IN_PROGRESS,
        resize.progress.as_ref().filter(|_| !over),
    );
    let (value, reason, message) = match without_sandbox(input) {
        None => yes(),
        Some(why) => no(SANDBOX_NOT_READY, Some(why.to_owned())),
    };
    set.put(READY_TO_START, value, reason, message);
    let (value, reason, message) = initialized(input, status);
    set.put("Initialized", value, reason, message);
    let (value, reason, message) = containers(input, status);
    let pod = if value {
        gates(input, status, &set.list)
    } else {
        (value, reason.clone(), message.clone())
    };
    set.put("Ready", pod.0, pod.1, pod.2);
    set.put("ContainersReady", value, reason, message);
    // The scheduler sets it too, but does not say of which generation; a pod that is here is scheduled, as upstream has it.
    set.put("PodScheduled", true, None, None);
    if restart_all::is_possible(input.pod) {
        let (value, reason, message) = restarting(input, status);
        set.put(restart_all::CONDITION, value, reason, message);
    }
    if let Some(verdict) = input.verdict.filter(|verdict| verdict.disruption) {
        let message = match verdict.reason == eviction::PREEMPTING {
            true => eviction::PREEMPTED.to_owned(),
            false => verdict.message.clone(),
        };
        let reason = TERMINATION.to_owned();
        set.put(DISRUPTION, true, Some(reason), Some(message));
    }
    let mut list = set.list;
    // An order that another has made is no reason to write.
    if input.base.conditions.as_ref() != Some(&list) {
        list.sort_by_key(|condition| OWN.iter().position(|own| *own == condition.type_));
    }
    status.conditions = Some(list);
}

/// Whether the pod's first containers wait for its volumes. Upstream makes the sandbox after those and has none to tell of until
/// then; here both are made at once. A kubelet that has just begun does not know of volumes that were set up before.
pub(super) fn awaits_volumes(input: &Input<'_>) -> bool {
    let told = input.base.conditions.iter().flatten();
    let mut told = told.filter(|condition| condition.type_ == READY_TO_START);
    input.memory.volumes.is_none()
        && input.view.containers.is_empty()
        && !told.any(|condition| condition.status == "True")
}

/// Why containers cannot start yet, or no longer, in upstream's words.
fn without_sandbox(input: &Input<'_>) -> Option<&'static str> {
    const NONE: &str = "no pod sandbox exists";
    let Some(sandbox) = input.view.sandbox() else {
        return Some(NONE);
    };
    let spec = input.pod.spec.as_ref();
    let host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
    if sandbox.state() != PodSandboxState::SandboxReady {
        Some("pod sandbox is not ready")
    } else if awaits_volumes(input) {
        Some(NONE)
    } else if !host && input.view.ips().is_empty() {
        Some("pod sandbox has no IP address")
    } else {
        None
    }
}

type Verdict = (bool, Option<String>, Option<String>);

fn yes() -> Verdict {
    (true, None, None)
}

fn no(reason: &str, message: Option<String>) -> Verdict {
    (false, Some(reason.to_owned()), message)
}

struct Setter<'a> {
    input: &'a Input<'a>,
    list: Vec<PodCondition>,
}

impl Setter<'_> {
    /// Says how far a change of resources is, or nothing.
    fn change(&mut self, kind: &str, now: Option<&Condition>) {
        self.list.retain(|condition| condition.type_ != kind);
        let text = |text: &String| (!text.is_empty()).then(|| text.clone());
        self.list.extend(now.map(|now| PodCondition {
            type_: kind.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now.since)),
            reason: text(&now.reason),
            message: text(&now.message),
            observed_generation: now.generation,
            ..Default::default()
        }));
    }

    fn put(&mut self, kind: &str, value: bool, reason: Option<String>, message: Option<String>) {
        let value = if value { "True" } else { "False" };
        let now = Some(Time(whole(self.input.now)));
        let generation = self.input.pod.metadata.generation;
        let old = self.list.iter_mut().find(|c| c.type_ == kind);
        match old {
            Some(old) => {
                if old.status != value {
                    value.clone_into(&mut old.status);
                    old.last_transition_time = now;
                }
                old.reason = reason;
                old.message = message;
                old.observed_generation = generation;
            }
            None => self.list.push(PodCondition {
                type_: kind.to_owned(),
                status: value.to_owned(),
                last_transition_time: now,
                reason,
                message,
                observed_generation: generation,
                ..Default::default()
            }),
        }
    }
}

fn ended(status: &PodStatus) -> Option<Verdict> {
    match status.phase.as_deref() {
        Some("Succeeded") => Some(no("PodCompleted", None)),
        Some("Failed") => Some(no("PodFailed", None)),
        _ => None,
    }
}

/// Whether all containers are being removed to be started anew.
fn restarting(input: &Input<'_>, status: &PodStatus) -> Verdict {
    if let Some(ended) = ended(status) {
        return ended;
    }
    if !input.memory.restarting_all {
        return (false, None, None);
    }
    let reason = "RestartAllContainersStarted".to_owned();
    let message = "container exited with restart policy rule".to_owned();
    (true, Some(reason), Some(message))
}

/// Whether the pod had been initialized before all its containers were removed.
fn was_initialized(input: &Input<'_>) -> bool {
    let mut conditions = input.base.conditions.iter().flatten();
    restart_all::is_possible(input.pod)
        && conditions.any(|c| c.type_ == "Initialized" && c.status == "True")
}

fn initialized(input: &Input<'_>, status: &PodStatus) -> Verdict {
    let spec = input
        .pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    let statuses: Vec<&ContainerStatus> = status.init_container_statuses.iter().flatten().collect();
    let mut incomplete = Vec::new();
    for container in spec {
        let done = statuses
            .iter()
            .find(|s| s.name == container.name)
            .is_some_and(|s| phase::initialized(s, container));
        if !done {
            incomplete.push(container.name.clone());
        }
    }
    let main = status.container_statuses.iter().flatten();
    let begun = main.into_iter().any(|s| {
        s.state
            .as_ref()
            .is_some_and(|s| s.running.is_some() || s.terminated.is_some())
    });
    match status.phase.as_deref() {
        Some("Succeeded") => (true, Some("PodCompleted".to_owned()), None),
        _ if incomplete.is_empty() || begun || was_initialized(input) => yes(),
        _ => {
            let message = format!(
                "containers with incomplete status: [{}]",
                incomplete.join(" ")
            );
            no("ContainersNotInitialized", Some(message))
        }
    }
}

fn containers(input: &Input<'_>, status: &PodStatus) -> Verdict {
    if let Some(ended) = ended(status) {
        return ended;
    }
    let Some(spec) = &input.pod.spec else {
        return no("UnknownContainerStatuses", None);
    };
    let sidecars = spec
        .init_containers
        .iter()
        .flatten()
        .filter(|c| plan::is_sidecar(c));
    let all: Vec<&ContainerStatus> = status
        .container_statuses
        .iter()
        .chain(&status.init_container_statuses)
        .flatten()
        .collect();
    let unready: Vec<&str> = sidecars
        .chain(&spec.containers)
        .map(|c| c.name.as_str())
        .filter(|name| !all.iter().any(|s| s.name == *name && s.ready))
        .collect();
    if unready.is_empty() {
        return yes();
    }
    let message = format!("containers with unready status: [{}]", unready.join(" "));
    no("ContainersNotReady", Some(message))
}

fn gates(input: &Input<'_>, _status: &PodStatus, conditions: &[PodCondition]) -> Verdict {
    let gates = input
        .pod
        .spec
        .iter()
        .flat_map(|s| s.readiness_gates.iter().flatten());
    let mut messages = Vec::new();
    for gate in gates {
        let kind = &gate.condition_type;
        match conditions.iter().find(|c| c.type_ == *kind) {
            None => messages.push(format!(
                "corresponding condition of pod readiness gate \"{kind}\" does not exist."
            )),
            Some(c) if c.status != "True" => messages.push(format!(
                "the status of pod readiness gate \"{kind}\" is not \"True\", but {}",
                c.status
            )),
            Some(_) => {}
        }
    }
    if messages.is_empty() {
        yes()
    } else {
        no("ReadinessGatesNotReady", Some(messages.join(", ")))
    }
}
