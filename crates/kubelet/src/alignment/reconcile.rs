//! Has containers that run follow the CPUs that are shared.

use knarr_cri::v1;
use tokio_util::sync::CancellationToken;

use crate::{
    context::{Context, Shared},
    labels,
};

/// Until the token is cancelled: when other CPUs are shared, and from time to time for what went wrong.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    let period = ctx
        .config
        .configuration
        .settings
        .cpu_manager_reconcile_period;
    let work = async {
        loop {
            let rung = ctx.alignment.changed.notified();
            let _either = tokio::time::timeout(period, rung).await;
            if ctx.alignment.state.lock().cpus.is_some() {
                once(&ctx).await;
            }
        }
    };
    token.run_until_cancelled(work).await;
}

/// Looks at every container that runs.
pub(super) async fn once(ctx: &Context) {
    for uid in ctx.observed.uids() {
        let view = ctx.observed.view(&uid);
        for container in view.running() {
            let name = labels::container_name(container);
            let Some(wanted) = ctx.alignment.cpus(&uid, name).map(|cpus| cpus.to_string()) else {
                continue;
            };
            let given = container.resources.as_ref().and_then(|r| r.linux.as_ref());
            if given.is_some_and(|given| given.cpuset_cpus == wanted) {
                continue;
            }
            if let Err(error) = update(ctx, &uid, &container.id, wanted).await {
                tracing::warn!(%error, uid, container = name, "a container is not moved to its CPUs");
            }
        }
    }
}

async fn update(
    ctx: &Context,
    uid: &str,
    id: &str,
    cpuset_cpus: String,
) -> crate::runtime::Result<()> {
    let linux = v1::LinuxContainerResources {
        cpuset_cpus,
        ..Default::default()
    };
    let request = v1::UpdateContainerResourcesRequest {
        container_id: id.to_owned(),
        linux: Some(linux),
        ..Default::default()
    };
    match ctx.runtime.update_container_resources(request).await {
        Err(error) if error.is_not_found() => return Ok(()),
        answer => answer?,
    };
    ctx.observed.refresh_container(uid, id).await
}
