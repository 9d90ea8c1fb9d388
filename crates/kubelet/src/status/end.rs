//! The containers of a pod that has ended: each has an end, too, as upstream has it (`TerminatePod` in
//! `pkg/kubelet/status/status_manager.go`).

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodSpec, PodStatus};

use super::container::{UNLOCATED, unknown_end};
use crate::worker::plan;

/// Has those end that nobody saw end, or even start: all main ones of a pod that was initialized, and init ones up to the last that
/// was begun. `told` is what the API knows of the pod.
pub(super) fn unlocated(
    spec: &PodSpec,
    told: &PodStatus,
    init: &mut [ContainerStatus],
    main: &mut [ContainerStatus],
) {
    if is_initialized(spec, told) {
        main.iter_mut().for_each(end);
    }
    // Of those that have not been begun, the first was about to.
    let begun = init.iter().rposition(has_begun).unwrap_or(0);
    init.iter_mut().take(begun + 1).for_each(end);
}

fn end(status: &mut ContainerStatus) {
    if status.state.as_ref().is_none_or(|s| s.terminated.is_none()) {
        status.state = Some(unknown_end(UNLOCATED, None));
    }
}

fn has_begun(status: &ContainerStatus) -> bool {
    let ended = |state: &ContainerState| state.terminated.is_some();
    let waits = status.state.as_ref().is_none_or(|s| s.waiting.is_some());
    !waits || status.last_state.as_ref().is_some_and(ended)
}

/// Whether the main containers could have been started, by what the API knows.
fn is_initialized(spec: &PodSpec, told: &PodStatus) -> bool {
    let Some(last) = spec.init_containers.as_ref().and_then(|list| list.last()) else {
        return true;
    };
    if told.container_statuses.iter().flatten().any(has_begun) {
        return true;
    }
    let mut list = told.init_container_statuses.iter().flatten();
    let Some(status) = list.find(|status| status.name == last.name) else {
        return false;
    };
    if plan::is_sidecar(last) {
        let running = status.state.as_ref().is_some_and(|s| s.running.is_some());
        return running && status.started == Some(true);
    }
    let states = [&status.last_state, &status.state].into_iter().flatten();
    let mut ends = states.filter_map(|state| state.terminated.as_ref());
    ends.any(|end| end.exit_code == 0)
}
