//! What a worker takes over from the one before it, of a kubelet that was here before.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;

use super::memory::{Health, WorkerState};
use crate::{context::Shared, observed::View};

/// After a restart, what the API was told of running containers holds until probes say otherwise.
pub(super) fn adopt_health(ctx: &Shared, pod: &Pod, view: &View, state: &WorkerState) {
    let Some(status) = &pod.status else { return };
    let all = [&status.container_statuses, &status.init_container_statuses];
    for container in view.running() {
        let id = format!("{}://{}", ctx.runtime_name, container.id);
        let reported = all
            .into_iter()
            .flat_map(|list| list.iter().flatten())
            .find(|s| s.container_id.as_deref() == Some(&id));
        if let Some(reported) = reported {
            let health = Health {
                started: reported.started,
                ready: Some(reported.ready),
            };
            state.edit(|memory| memory.health.insert(container.id.clone(), health));
        }
    }
}

/// After a restart, containers that had been restarted before are held off as long as they would have been.
pub(super) fn adopt_backoff(view: &View, state: &WorkerState, longest: Duration) {
    for container in &view.containers {
        let name = crate::labels::container_name(container);
        let begun = Timestamp::from_nanosecond(i128::from(container.created_at)).ok();
        let ago = begun.and_then(|at| Duration::try_from(Timestamp::now().duration_since(at)).ok());
        let restarts = crate::labels::restart_count(container);
        let backoff = crate::backoff::Backoff::after(restarts, ago.unwrap_or_default(), longest);
        // Newest first: older instances of the same container have nothing to add.
        state.edit(|memory| {
            memory.backoff.entry(name.to_owned()).or_insert(backoff);
        });
    }
}
