//! The status of one container.

use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated,
    ContainerStateWaiting, ContainerStatus,
};
use knarr_cri::v1;

use super::{Input, cri_time, health, mounts, resources};
use crate::{
    labels,
    worker::{
        plan::{self, Role},
        restart_all,
    },
};

const CREATING: &str = "ContainerCreating";
const INITIALIZING: &str = "PodInitializing";

/// Of a container that has not started: upstream names what is done with the pod, whichever of its containers it is.
fn not_started(input: &Input<'_>) -> ContainerState {
    let spec = input.pod.spec.as_ref();
    let init = spec.and_then(|s| s.init_containers.as_ref());
    let initializing = init.is_some_and(|list| !list.is_empty());
    let reason = if initializing { INITIALIZING } else { CREATING };
    waiting_state(reason, "")
}

pub(super) fn make(input: &Input<'_>, container: &Container, role: Role) -> ContainerStatus {
    let name = &container.name;
    let mut instances = input.view.of(name);
    let newest = instances.next();
    let before = instances.find(|c| c.state() == v1::ContainerState::ContainerExited);
    let list = match role {
        Role::Init => &input.base.init_container_statuses,
        Role::Main => &input.base.container_statuses,
        Role::Ephemeral => &input.base.ephemeral_container_statuses,
    };
    let old = list.iter().flatten().find(|s| s.name == *name);
    let mut status = match newest {
        Some(newest) => from_runtime(input, container, newest, before, role, old),
        None => lost(input, container, role, old),
    };
    status.volume_mounts = mounts::of(container, input.recursive_read_only);
    let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
    // One that has ended for good waits for nothing, even if its start had failed.
    let ended = newest.is_some_and(|c| {
        c.state() == v1::ContainerState::ContainerExited
            && !plan::restarts(input.pod, container, role, c.exit_code)
    });
    let wait = input.waiting.get(name);
    let wait = wait.filter(|_| !running && !ended && !input.over);
    if let Some(wait) = wait {
        let ended = status.state.as_mut().and_then(|s| s.terminated.take());
        if ended.is_some() {
            status.last_state = Some(ContainerState {
                terminated: ended,
                ..Default::default()
            });
        }
        status.state = Some(waiting_state(&wait.reason, &wait.message));
    }
    if role == Role::Ephemeral {
        // Nothing waits for it.
    } else if running && (role == Role::Main || plan::is_sidecar(container)) {
        let id = newest.map_or("", |c| c.id.as_str());
        let (started, ready) = health(container, id, input.memory);
        status.started = Some(started);
        status.ready = ready;
    } else if role == Role::Init && !plan::is_sidecar(container) {
        let ended = status.state.as_ref().and_then(|s| s.terminated.as_ref());
        status.ready = ended.is_some_and(|t| t.exit_code == 0);
        status.started = Some(running);
    } else {
        status.ready = false;
        status.started = Some(false);
    }
    status
}

fn waiting_state(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    let waiting = ContainerStateWaiting {
        reason: Some(reason.to_owned()),
        message,
    };
    ContainerState {
        waiting: Some(waiting),
        ..Default::default()
    }
}

fn from_runtime(
    input: &Input<'_>,
    container: &Container,
    newest: &v1::ContainerStatus,
    before: Option<&v1::ContainerStatus>,
    role: Role,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    let id = format!("{}://{}", input.runtime, newest.id);
    let state = match newest.state() {
        v1::ContainerState::ContainerRunning => ContainerState {
            running: Some(ContainerStateRunning {
                started_at: cri_time(newest.started_at),
            }),
            ..Default::default()
        },
        v1::ContainerState::ContainerExited | v1::ContainerState::ContainerUnknown => {
            // What the API was told once stays: message files are gone after a while.
            let told = old.filter(|o| o.container_id.as_deref() == Some(&id));
            let told = told
                .and_then(|o| o.state.as_ref())
                .and_then(|s| s.terminated.clone());
            let ended = told.unwrap_or_else(|| terminated(input, newest));
            ContainerState {
                terminated: Some(ended),
                ..Default::default()
            }
        }
        v1::ContainerState::ContainerCreated => not_started(input),
    };
    let created = newest.state() == v1::ContainerState::ContainerCreated;
    let same = old.filter(|o| o.container_id.as_deref() == Some(&id));
    let last = match (before, same) {
        (_, Some(same))
            if same
                .last_state
                .as_ref()
                .is_some_and(|l| l.terminated.is_some()) =>
        {
            same.last_state.clone()
        }
        (Some(before), _) => {
            let told = old.and_then(|o| {
                let of = [o.state.as_ref(), o.last_state.as_ref()];
                let mut ended = of
                    .into_iter()
                    .flatten()
                    .filter_map(|s| s.terminated.as_ref());
                let id = format!("{}://{}", input.runtime, before.id);
                ended
                    .find(|t| t.container_id.as_deref() == Some(&id))
                    .cloned()
            });
            let ended = told.unwrap_or_else(|| terminated(input, before));
            Some(ContainerState {
                terminated: Some(ended),
                ..Default::default()
            })
        }
        (None, None) => old
            .filter(|_| role == Role::Main || restart_all::is_possible(input.pod))
            .and_then(|o| told_before(input, o)),
        (None, Some(same)) => same.last_state.clone(),
    };
    // The runtime's name of it: what `busybox` is called may be `docker.io/library/busybox:latest`.
    let image = newest.image.as_ref().map(|spec| spec.image.clone());
    let image = image.filter(|name| !name.is_empty());
    ContainerStatus {
        name: container.name.clone(),
        container_id: (!created).then_some(id),
        image: image
            .or_else(|| container.image.clone())
            .unwrap_or_default(),
        image_id: newest.image_ref.clone(),
        restart_count: i32::try_from(labels::restart_count(newest)).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: Some(last.unwrap_or_default()),
        allocated_resources: container
            .resources
            .as_ref()
            .and_then(|resources| resources.requests.clone()),
        resources: Some(resources::actual(
            container,
            newest,
            input.given.get(&container.name),
        )),
        user: mounts::user(newest),
        ..Default::default()
    }
}

/// How the instance ended that was here before, of which only the API knows.
fn told_before(input: &Input<'_>, old: &ContainerStatus) -> Option<ContainerState> {
    let ended = old.state.as_ref().and_then(|s| s.terminated.clone());
    let removed = ended.filter(|_| restart_all::is_possible(input.pod));
    let removed = removed.map(|terminated| ContainerState {
        terminated: Some(terminated),
        ..Default::default()
    });
    removed.or_else(|| old.last_state.clone())
}

fn terminated(input: &Input<'_>, status: &v1::ContainerStatus) -> ContainerStateTerminated {
    let reason = match (status.reason.as_str(), status.exit_code) {
        ("", 0) => "Completed",
        ("", _) => "Error",
        (reason, _) => reason,
    };
    ContainerStateTerminated {
        exit_code: status.exit_code,
        reason: Some(reason.to_owned()),
        message: input
            .messages
            .get(&status.id)
            .filter(|m| !m.is_empty())
            .cloned(),
        started_at: cri_time(status.started_at),
        finished_at: cri_time(status.finished_at),
        container_id: Some(format!("{}://{}", input.runtime, status.id)),
        signal: None,
    }
}

/// How a container ended that was removed to be started anew with all others.
pub(crate) const REMOVED_TO_RESTART: &str = "RestartingAllContainers";

/// Of a container that was removed to be started anew with all others, and that had been started.
fn removed(old: &ContainerStatus, mut status: ContainerStatus) -> ContainerStatus {
    let message = "The container is removed because RestartAllContainers in place";
    let ended = ContainerStateTerminated {
        exit_code: 137,
        reason: Some(REMOVED_TO_RESTART.to_owned()),
        message: Some(message.to_owned()),
        ..Default::default()
    };
    status.state = Some(waiting_state(REMOVED_TO_RESTART, message));
    status.last_state = Some(ContainerState {
        terminated: Some(ended),
        ..Default::default()
    });
    status.restart_count = old.restart_count.saturating_add(1);
    status.image_id.clone_from(&old.image_id);
    status
}

/// How a container ended that the runtime has no record of.
pub(crate) const UNKNOWN_END: &str = "ContainerStatusUnknown";

/// What is told of a container that has not ended although its pod has.
pub(super) const UNLOCATED: &str = "The container could not be located when the pod was terminated";

/// The end of a container that ran when it was last seen.
fn unseen_end(old: &ContainerStatus, over: bool) -> ContainerState {
    let message = match over {
        true => UNLOCATED,
        false => {
            "The container could not be located when the pod was deleted.  The container used to be Running"
        }
    };
    unknown_end(message, old.container_id.clone())
}

/// Nobody knows how it ended: it counts as a failure.
pub(super) fn unknown_end(message: &str, container_id: Option<String>) -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: 137,
            reason: Some(UNKNOWN_END.to_owned()),
            message: Some(message.to_owned()),
            container_id,
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The runtime knows nothing of the container: it was never made, or its record is gone.
fn lost(
    input: &Input<'_>,
    container: &Container,
    role: Role,
    old: Option<&ContainerStatus>,
) -> ContainerStatus {
    // One that does not run again is not waited for.
    let over = input.over || role == Role::Ephemeral;
    let mut status = ContainerStatus {
        name: container.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        state: Some(not_started(input)),
        last_state: Some(ContainerState::default()),
        ..Default::default()
    };
    let Some(old) = old else { return status };
    let state = old.state.as_ref();
    let restarting = input.memory.restarting_all || restart_all::told(Some(input.base));
    let waited = state.is_none_or(|s| s.running.is_none() && s.terminated.is_none());
    if restarting && role != Role::Ephemeral && !over {
        if !waited {
            return removed(old, status);
        }
        let told = state.and_then(|s| s.waiting.as_ref());
        if told.is_some_and(|waiting| waiting.reason.as_deref() == Some(REMOVED_TO_RESTART)) {
            return old.clone();
        }
    }
    if state.is_some_and(|s| s.terminated.is_some()) && (over || role == Role::Init) {
        return old.clone();
    }
    if state.is_some_and(|s| s.running.is_some()) {
        let ended = unseen_end(old, over);
        if over {
            status.state = Some(ended);
        } else {
            status.last_state = Some(ended);
        }
    } else {
        status.last_state = old
            .last_state
            .clone()
            .or_else(|| Some(ContainerState::default()));
        if let Some(ended) = state.and_then(|s| s.terminated.clone()) {
            let ended = ContainerState {
                terminated: Some(ended),
                ..Default::default()
            };
            status.last_state = Some(ended);
        }
    }
    status.restart_count = old.restart_count;
    // Upstream counts an end that nobody saw here, any other with the start that follows it.
    let ran = state.is_some_and(|s| s.running.is_some());
    if ran && !over && input.pod.metadata.deletion_timestamp.is_none() {
        status.restart_count = old.restart_count.saturating_add(1);
    }
    status.image_id.clone_from(&old.image_id);
    status
}
