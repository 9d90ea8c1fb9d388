//! The pod's phase, as upstream's getPhase counts it.

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod};

use super::REMOVED_TO_RESTART;
use crate::worker::plan::{self, Role};

/// Whether an init container does not hold the next ones up any more.
pub(super) fn initialized(status: &ContainerStatus, container: &Container) -> bool {
    if plan::is_sidecar(container) {
        return status.started == Some(true) || ended(status).is_some();
    }
    ended(status) == Some(0)
}

fn ended(status: &ContainerStatus) -> Option<i32> {
    let state = status.state.as_ref()?;
    state.terminated.as_ref().map(|t| t.exit_code)
}

fn is_running(status: &ContainerStatus) -> bool {
    let state = status.state.as_ref();
    state.is_some_and(|state| state.running.is_some())
}

fn last_ended(status: &ContainerStatus) -> Option<i32> {
    status
        .last_state
        .as_ref()?
        .terminated
        .as_ref()
        .map(|t| t.exit_code)
}

/// Whether the container waits to be started anew with all others.
fn was_removed(status: &ContainerStatus) -> bool {
    let last = status.last_state.as_ref();
    let ended = last.and_then(|state| state.terminated.as_ref());
    ended.is_some_and(|ended| ended.reason.as_deref() == Some(REMOVED_TO_RESTART))
}

/// The phase by the states of the containers. `begun`: a main container has run in the present sandbox; what ran in one before it, as
/// before the machine was started anew, does not count. `over`: nothing will be started any more.
pub(super) fn of(
    pod: &Pod,
    init: &[ContainerStatus],
    main: &[ContainerStatus],
    begun: bool,
    over: bool,
) -> &'static str {
    let Some(spec) = &pod.spec else {
        return "Pending";
    };
    let policy = spec.restart_policy.as_deref().unwrap_or("Always");
    let mut pending_init = false;
    let mut failed_init = false;
    for (status, container) in init.iter().zip(spec.init_containers.iter().flatten()) {
        if plan::is_sidecar(container) {
            let starts = match is_running(status) {
                true => status.started != Some(true),
                false => ended(status).is_none() && last_ended(status).is_none(),
            };
            pending_init |= starts;
            continue;
        }
        if is_running(status) {
            pending_init = true;
            continue;
        }
        let exit = ended(status).or_else(|| last_ended(status));
        match exit {
            Some(0) => {}
            Some(_) if ended(status).is_none() && was_removed(status) && !over => {}
            Some(code) if over || !plan::restarts(pod, container, Role::Init, code) => {
                failed_init = true;
            }
            _ => pending_init = true,
        }
    }
    let (mut waiting, mut running, mut stopped, mut succeeded) = (0, 0, 0, 0);
    // Its own policy or rules may start a container again in a pod that starts none.
    let mut restarting = false;
    for (status, container) in main.iter().zip(&spec.containers) {
        let exit = ended(status).or_else(|| last_ended(status));
        restarting |= exit.is_some_and(|code| plan::restarts(pod, container, Role::Main, code))
            || (ended(status).is_none() && was_removed(status));
        if is_running(status) {
            running += 1;
        } else if let Some(code) = ended(status) {
            stopped += 1;
            succeeded += usize::from(code == 0);
        } else if last_ended(status).is_some() {
            stopped += 1;
        } else {
            waiting += 1;
        }
    }
    if failed_init {
        return "Failed";
    }
    if over && running == 0 {
        // What never started has not succeeded.
        return if waiting == 0 && stopped == succeeded && stopped > 0 {
            "Succeeded"
        } else {
            "Failed"
        };
    }
    if waiting > 0 || (pending_init && !begun) {
        return "Pending";
    }
    if running > 0 || restarting {
        return "Running";
    }
    match (policy, stopped == succeeded) {
        ("Always", _) => "Running",
        (_, true) => "Succeeded",
        ("Never", false) => "Failed",
        (_, false) => "Running",
    }
}
