//! Stopping containers, and whole pods.

use std::{
    borrow::Cow,
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{Container, LifecycleHandler, Pod};
use knarr_cri::v1;
use tokio_util::sync::CancellationToken;

use super::hooks;
use crate::{
    context::{self, Context, Shared},
    ephemeral,
    events::{NORMAL, WARNING},
    labels,
    observed::View,
    runtime::Result,
};

/// What a container always gets between TERM and KILL, as upstream has it.
const MIN_GRACE_SECONDS: i64 = 2;

/// Finds a container of the pod by name, init containers and ephemeral ones included.
pub(crate) fn find<'a>(pod: &'a Pod, name: &str) -> Option<Cow<'a, Container>> {
    let spec = pod.spec.as_ref()?;
    let init = spec.init_containers.iter().flatten();
    let found = spec.containers.iter().chain(init).find(|c| c.name == name);
    let ephemeral = || ephemeral::find(pod, name).map(ephemeral::container);
    found
        .map(Cow::Borrowed)
        .or_else(|| ephemeral().map(Cow::Owned))
}

/// The pod's own grace period in seconds.
pub(crate) fn grace_of(pod: &Pod) -> i64 {
    pod.spec
        .as_ref()
        .and_then(|s| s.termination_grace_period_seconds)
        .unwrap_or(30)
}

/// Stops one container: preStop hook, TERM, and after `grace` seconds KILL.
pub(crate) async fn container(
    ctx: &Context,
    pod: &Pod,
    which: (&str, &str),
    message: Option<String>,
    grace: i64,
) -> Result<()> {
    in_turn(ctx, pod, which, message, grace, &[]).await
}

/// As [`container`]; between its hook and TERM it waits for those that must have ended `before` it, while grace is left.
async fn in_turn(
    ctx: &Context,
    pod: &Pod,
    (id, name): (&str, &str),
    message: Option<String>,
    grace: i64,
    before: &[CancellationToken],
) -> Result<()> {
    let note = message.unwrap_or_else(|| format!("Stopping container {name}"));
    ctx.events.container(pod, name, NORMAL, "Killing", note);
    let begun = Instant::now();
    let left = || {
        let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
        grace.saturating_sub(used)
    };
    let spec = find(pod, name);
    let hook = spec
        .as_deref()
        .and_then(|c| c.lifecycle.as_ref())
        .and_then(|l| l.pre_stop.as_ref());
    if let (Some(spec), Some(hook), true) = (spec.as_deref(), hook, grace > 0) {
        pre_stop(ctx, pod, (id, spec), hook, seconds(grace)).await;
    }
    if left() > 0 {
        let turn = futures::future::join_all(before.iter().map(CancellationToken::cancelled));
        // Whoever has not ended by then is killed.
        let _waited = tokio::time::timeout(seconds(left()), turn).await;
    }
    let left = seconds(left().max(MIN_GRACE_SECONDS));
    match ctx.runtime.stop_container(id, left).await {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    ctx.observed.refresh_container(context::uid(pod), id).await
}

fn seconds(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

async fn pre_stop(
    ctx: &Context,
    pod: &Pod,
    (id, spec): (&str, &Container),
    hook: &LifecycleHandler,
    limit: Duration,
) {
    let view = ctx.observed.view(context::uid(pod));
    let ips = ctx.facts(pod, view.ips()).pod_ips;
    let ip = ips.first().map(String::as_str).unwrap_or_default();
    if let Err(error) = hooks::run(ctx, (pod, spec), id, ip, hook, limit).await {
        let (pod_name, container) = (context::display(pod), &spec.name);
        tracing::warn!(pod = pod_name, container, error, "preStop hook failed");
        let (reason, note) = ("FailedPreStopHook", "PreStopHook failed");
        ctx.events.container(pod, container, WARNING, reason, note);
    }
}

/// Where a container comes in the order of the end: what is higher goes first. Sidecars in reverse order, after all that use them.
fn rank(pod: &Pod, name: &str) -> usize {
    let init = pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    let mut sidecars = init.filter(|c| super::plan::is_sidecar(c));
    sidecars.position(|c| c.name == name).unwrap_or(usize::MAX)
}

/// Stops every container, and then the sandboxes. The hooks of all run at once; sidecars end after the others, in reverse order.
pub(crate) async fn pod(ctx: Shared, pod: Arc<Pod>, view: Arc<View>, grace: i64) -> Result<()> {
    let uid = context::uid(&pod);
    let running: Vec<(&v1::ContainerStatus, usize, CancellationToken)> = view
        .running()
        .map(|c| {
            (
                c,
                rank(&pod, labels::container_name(c)),
                CancellationToken::new(),
            )
        })
        .collect();
    let stops = running.iter().map(|(status, own, ended)| {
        let before = running.iter().filter(|(_, rank, _)| rank > own);
        let before: Vec<_> = before.map(|(_, _, ended)| ended.clone()).collect();
        let (ctx, pod) = (&ctx, &pod);
        async move {
            // A container that cannot be stopped keeps the others from nothing.
            let _ended = ended.clone().drop_guard();
            let which = (status.id.as_str(), labels::container_name(status));
            in_turn(ctx, pod, which, None, grace, &before).await
        }
    });
    let results = futures::future::join_all(stops).await;
    results.into_iter().collect::<Result<()>>()?;
    sandboxes(&ctx, uid, &view).await
}

/// Stops the sandboxes: their addresses are given back.
pub(crate) async fn sandboxes(ctx: &Context, uid: &str, view: &View) -> Result<()> {
    let ready = view
        .sandboxes
        .iter()
        .filter(|s| s.state() == v1::PodSandboxState::SandboxReady);
    for sandbox in ready {
        let request = v1::StopPodSandboxRequest {
            pod_sandbox_id: sandbox.id.clone(),
        };
        match ctx.runtime.stop_pod_sandbox(request).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
        ctx.observed.refresh_sandbox(uid, &sandbox.id).await?;
    }
    Ok(())
}

/// Removes all containers and sandboxes of a pod that has been stopped.
pub(crate) async fn remove(ctx: &Context, uid: &str) -> Result<()> {
    let view = ctx.observed.view(uid);
    // The oldest first: what is left of a container is told of while others go.
    for container in view.containers.iter().rev() {
        remove_container(ctx, uid, &container.id).await?;
    }
    for sandbox in &view.sandboxes {
        let request = v1::RemovePodSandboxRequest {
            pod_sandbox_id: sandbox.id.clone(),
        };
        match ctx.runtime.remove_pod_sandbox(request).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => ctx.observed.remove_sandbox(uid, &sandbox.id),
        }
    }
    Ok(())
}

/// Removes one container that does not run.
pub(crate) async fn remove_container(ctx: &Context, uid: &str, id: &str) -> Result<()> {
    let request = v1::RemoveContainerRequest {
        container_id: id.to_owned(),
    };
    match ctx.runtime.remove_container(request).await {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => ctx.observed.remove_container(uid, id),
    }
    Ok(())
}
