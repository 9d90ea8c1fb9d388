//! Stopping containers, and whole pods.

use std::{borrow::Cow, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_cri::v1;

use super::hooks;
use crate::{
    context::{self, Context, Shared},
    ephemeral,
    events::{NORMAL, WARNING},
    labels,
    observed::View,
    runtime::Result,
};

/// What a container always gets after its preStop hook, as upstream has it.
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
    (id, name): (&str, &str),
    message: Option<String>,
    grace: i64,
) -> Result<()> {
    let note = message.unwrap_or_else(|| format!("Stopping container {name}"));
    ctx.events.container(pod, name, NORMAL, "Killing", note);
    let begun = std::time::Instant::now();
    let mut left = grace.max(0);
    let spec = find(pod, name);
    let hook = spec
        .as_deref()
        .and_then(|c| c.lifecycle.as_ref())
        .and_then(|l| l.pre_stop.as_ref());
    if let (Some(spec), Some(hook), true) = (spec.as_deref(), hook, left > 0) {
        let ips = ctx
            .facts(pod, ctx.observed.view(context::uid(pod)).ips())
            .pod_ips;
        let ip = ips.first().map(String::as_str).unwrap_or_default();
        let limit = Duration::from_secs(u64::try_from(left).unwrap_or(0));
        if let Err(error) = hooks::run(ctx, spec, id, ip, hook, limit).await {
            tracing::warn!(
                pod = context::display(pod),
                container = name,
                error,
                "preStop hook failed"
            );
            ctx.events.container(
                pod,
                name,
                WARNING,
                "FailedPreStopHook",
                "PreStopHook failed",
            );
        }
        let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
        left = left.saturating_sub(used).max(MIN_GRACE_SECONDS);
    }
    let left = Duration::from_secs(u64::try_from(left).unwrap_or(0));
    match ctx.runtime.stop_container(id, left).await {
        Err(error) if !error.is_not_found() => return Err(error),
        _ => {}
    }
    ctx.observed.refresh_container(context::uid(pod), id).await
}

/// Stops every container (sidecars after the others, in reverse order) and then the sandboxes.
pub(crate) async fn pod(ctx: Shared, pod: Arc<Pod>, view: Arc<View>, grace: i64) -> Result<()> {
    let uid = context::uid(&pod);
    let begun = std::time::Instant::now();
    let sidecars: Vec<&str> = pod
        .spec
        .iter()
        .flat_map(|s| s.init_containers.iter().flatten())
        .filter(|c| super::plan::is_sidecar(c))
        .map(|c| c.name.as_str())
        .collect();
    let (last, first): (Vec<_>, Vec<_>) = view
        .running()
        .partition(|c| sidecars.contains(&labels::container_name(c)));
    let stops = first
        .into_iter()
        .map(|c| container(&ctx, &pod, (&c.id, labels::container_name(c)), None, grace));
    let mut results = futures::future::join_all(stops).await;
    for name in sidecars.iter().rev() {
        for status in last.iter().filter(|c| labels::container_name(c) == *name) {
            let used = i64::try_from(begun.elapsed().as_secs()).unwrap_or(i64::MAX);
            let left = grace.saturating_sub(used).max(MIN_GRACE_SECONDS.min(grace));
            results.push(container(&ctx, &pod, (&status.id, name), None, left).await);
        }
    }
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
    for container in &view.containers {
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
