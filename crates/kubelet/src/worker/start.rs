//! From a plan to running containers: one straight sequence without polling. Sandbox, volumes and images are prepared
//! at the same time; containers then start one after the other, as their order in the pod says.

use std::{io, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::api::node::v1::RuntimeClass;
use knarr_client::errors;
use knarr_cri::v1;
use kube::Api;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    container::{self, Pieces},
    hooks,
    images::{self, Awaited, Images},
    kill,
    memory::{Waiting, WorkerState},
    plan::{Plan, Sandbox, Start},
    sandbox,
};
use crate::{
    context::{self, Shared},
    disk, dra, ephemeral,
    events::{NORMAL, WARNING},
    image::{self, Wanted},
    logs::Log,
    resources,
    stats::GroupWork,
    termination,
    volume::{self, Mounted},
};

/// First wait after a failed sandbox or volume; doubles with each failure in a row.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// Longest wait between such tries.
const RETRY_LONGEST: Duration = Duration::from_secs(20);
/// Longest wait for a pod's RuntimeClass.
const CLASS_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after a container that could not be created: upstream's sync back-off.
pub(super) const CONTAINER_RETRY: Duration = Duration::from_secs(10);
/// Instances of a container that are kept: the present one, and the one before for its logs.
const KEPT_INSTANCES: usize = 2;

/// One run from a plan to running containers.
pub(crate) struct Sequence {
    pub ctx: Shared,
    pub pod: Arc<Pod>,
    pub state: WorkerState,
    pub plan: Plan,
    /// Cancelled when the pod is to end: the sandbox is finished, nothing else is begun.
    pub token: CancellationToken,
}

/// Why a container did not start.
struct Failure {
    reason: String,
    message: String,
    /// How long the next try waits; `None` for one that was made and has ended, which waits as any that ends.
    retry: Option<Duration>,
}

impl From<image::Failure> for Failure {
    fn from(failure: image::Failure) -> Self {
        Self {
            reason: failure.reason.to_owned(),
            message: failure.message,
            retry: Some(failure.retry),
        }
    }
}

impl Sequence {
    pub(crate) async fn run(self) {
        match self.unless_cancelled(self.prepare_devices()).await {
            Some(Ok(())) => {}
            Some(Err(())) => return self.pod_done(false),
            None => return,
        }
        let (found, awaited) = images::handover(&self.plan.start);
        let images = self.unless_cancelled(self.images(found));
        // On the heap: below it a server of this process is called, all on one stack.
        tokio::join!(images, Box::pin(self.containers(awaited)));
    }

    /// Starts the containers, each when its image is there.
    async fn containers(&self, images: Awaited) {
        let (sandbox, volumes, images) = tokio::join!(
            self.sandbox(),
            self.unless_cancelled(self.volumes()),
            images.volumes()
        );
        let (Some(volumes), Some(mut images)) = (volumes, images) else {
            return;
        };
        self.pod_done(sandbox.is_ok() && volumes.is_ok());
        let (Ok(sandbox), Ok(volumes)) = (sandbox, volumes) else {
            return;
        };
        for start in &self.plan.start {
            let Some(container) = kill::find(&self.pod, &start.name) else {
                continue;
            };
            if self.token.is_cancelled() {
                return;
            }
            let Some(image) = images.of_container(&start.name).await else {
                return;
            };
            let result = self
                .container((&sandbox, &volumes), &container, start, (image, &images))
                .await;
            self.state.write(|memory| match result {
                Ok(()) => {
                    memory.waiting.remove(&start.name);
                    memory.retry_at.remove(&start.name);
                }
                Err(failure) => {
                    let Failure {
                        reason,
                        message,
                        retry,
                    } = failure;
                    match retry.map(|wait| Instant::now() + wait) {
                        Some(at) => memory.retry_at.insert(start.name.clone(), at),
                        None => memory.retry_at.remove(&start.name),
                    };
                    memory
                        .waiting
                        .insert(start.name.clone(), Waiting { reason, message });
                }
            });
        }
    }

    /// What the pod's containers share is there, or is to be tried again later.
    fn pod_done(&self, ok: bool) {
        self.state.write(|memory| {
            if ok {
                memory.pod_failures = 0;
                memory.pod_retry_at = None;
            } else {
                let wait = RETRY_FIRST.saturating_mul(1 << memory.pod_failures.min(8));
                memory.pod_failures += 1;
                memory.pod_retry_at = Some(Instant::now() + wait.min(RETRY_LONGEST));
            }
        });
    }

    async fn unless_cancelled<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.token.run_until_cancelled(work).await
    }

    /// The id of the sandbox to use, which is made if the plan says so.
    async fn sandbox(&self) -> Result<String, ()> {
        let uid = context::uid(&self.pod);
        let Sandbox::Create(attempt) = self.plan.sandbox else {
            let view = self.ctx.observed.view(uid);
            return view.sandbox().map(|s| s.id.clone()).ok_or(());
        };
        let made = self.create_sandbox(uid, attempt).await;
        made.map_err(|error| {
            tracing::warn!(
                pod = context::display(&self.pod),
                error,
                "cannot make a sandbox"
            );
            let note = format!("Failed to create pod sandbox: {error}");
            self.ctx
                .events
                .pod(&self.pod, WARNING, "FailedCreatePodSandBox", note);
        })
    }

    /// Gives the pod devices of plugins, and has drivers prepare what it claims, before anything is made or pulled for it. Containers
    /// that start anew in the same sandbox have them already.
    async fn prepare_devices(&self) -> Result<(), ()> {
        if !matches!(self.plan.sandbox, Sandbox::Create(_)) {
            return Ok(());
        }
        if let Err(rejection) = self.ctx.alignment.admit(&self.pod, &self.ctx.devices).await {
            self.state.write(|memory| memory.rejected = Some(rejection));
            return Err(());
        }
        if !dra::has_claims(&self.pod) {
            return Ok(());
        }
        let prepared = self.ctx.dra.prepare(&self.ctx.client, &self.pod).await;
        prepared.map_err(|error| {
            let note =
                format!("Failed to prepare dynamic resources: prepare dynamic resources: {error}");
            let reason = "FailedPrepareDynamicResources";
            self.ctx.events.pod(&self.pod, WARNING, reason, note);
        })
    }

    async fn create_sandbox(&self, uid: &str, attempt: u32) -> Result<String, String> {
        let (ctx, pod) = (&self.ctx, &self.pod);
        let old = ctx.observed.view(uid);
        if !old.sandboxes.is_empty() {
            ctx.events.pod(
                pod,
                NORMAL,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            );
            let stopped =
                kill::pod(ctx.clone(), pod.clone(), old.clone(), kill::grace_of(pod)).await;
            stopped.map_err(|error| error.to_string())?;
        }
        let handler = self.handler().await?;
        let (cgroups, own) = (ctx.cgroups.clone(), pod.clone());
        let began = Instant::now();
        let made = tokio::task::spawn_blocking(move || cgroups.create(&own)).await;
        let durations = &ctx.stats.durations;
        durations.of_group(GroupWork::Create, began.elapsed());
        made.map_err(|error| error.to_string())?
            .map_err(|error| format!("cannot make the pod's cgroup: {error}"))?;
        ctx.allocations.give_cgroup(uid, resources::pod_limits(pod));
        for note in sandbox::resolver(ctx, pod).notes {
            ctx.events.pod(pod, WARNING, "DNSConfigForming", note);
        }
        let config = sandbox::config(ctx, pod, attempt)?;
        disk::waiting(|| std::fs::create_dir_all(&config.log_directory))
            .map_err(|error| error.to_string())?;
        let request = v1::RunPodSandboxRequest {
            config: Some(config),
            runtime_handler: handler,
        };
        let id = ctx
            .runtime
            .run_pod_sandbox(request)
            .await
            .map_err(|e| e.to_string())?
            .pod_sandbox_id;
        ctx.observed
            .refresh_sandbox(uid, &id)
            .await
            .map_err(|e| e.to_string())?;
        Ok(id)
    }

    /// What the runtime calls the way in which the pod's class is run; empty for a pod without a class.
    async fn handler(&self) -> Result<String, String> {
        let spec = self.pod.spec.as_ref();
        let class = spec.and_then(|s| s.runtime_class_name.as_deref());
        let Some(class) = class.filter(|class| !class.is_empty()) else {
            return Ok(String::new());
        };
        let api: Api<RuntimeClass> = Api::all(self.ctx.client.clone());
        let failed = |why: &str| format!("failed to get sandbox runtime: {why}");
        match timeout(CLASS_TIMEOUT, api.get(class)).await {
            Ok(Ok(class)) => Ok(class.handler),
            Ok(Err(error)) => Err(failed(&errors::message(&error))),
            Err(_) => Err(failed("the API server did not answer")),
        }
    }

    async fn volumes(&self) -> Result<Mounted, ()> {
        match volume::setup(&self.ctx, &self.pod).await {
            Ok(mounted) => {
                // The status says so from now on, however long images take.
                self.state
                    .write(|memory| memory.volumes = Some(mounted.clone()));
                Ok(mounted)
            }
            Err(error) => {
                self.ctx
                    .events
                    .pod(&self.pod, WARNING, error.reason(), error.to_string());
                Err(())
            }
        }
    }

    async fn container(
        &self,
        (sandbox, volumes): (&str, &Mounted),
        container: &Container,
        start: &Start,
        (image, images): (images::Outcome, &Images),
    ) -> Result<(), Failure> {
        let (ctx, pod) = (&self.ctx, &self.pod);
        let uid = context::uid(pod);
        let fail = |reason: &str, message: String| {
            let note = format!("Error: {message}");
            ctx.events
                .container(pod, &container.name, WARNING, "Failed", note);
            Failure {
                reason: reason.to_owned(),
                message,
                retry: Some(CONTAINER_RETRY),
            }
        };
        let of_volumes = images.of_volumes(container).map_err(|failure| {
            let note = format!("Error: {}", failure.reason);
            ctx.events
                .container(pod, &container.name, WARNING, "Failed", note);
            Failure::from(failure)
        })?;
        // Of a missing one it has been told when it was looked for.
        let image = image.map_err(Failure::from)?;
        if image.was_there {
            ctx.images.tell_of_present(Wanted::of(pod, container));
        }
        let view = ctx.observed.view(uid);
        let pod_ips = ctx.facts(pod, view.ips()).pod_ips;
        let pieces = Pieces {
            ctx,
            pod,
            pod_ips: &pod_ips,
            sandbox,
            volumes,
            images: &of_volumes,
        };
        let config = container::config(&pieces, container, &image, start.attempt).await;
        let config =
            config.map_err(|error| fail("CreateContainerConfigError", error.to_string()))?;
        if let Some(unused) = &start.replaces {
            let removed = kill::remove_container(ctx, uid, unused).await;
            removed.map_err(|error| fail("CreateContainerError", error.to_string()))?;
        }
        let attempt = view
            .sandbox()
            .and_then(|s| s.metadata.as_ref())
            .map_or(0, |m| m.attempt);
        let of_sandbox = sandbox::config(ctx, pod, attempt)
            .map_err(|error| fail("CreateContainerConfigError", error))?;
        let request = v1::CreateContainerRequest {
            pod_sandbox_id: sandbox.to_owned(),
            config: Some(config),
            sandbox_config: Some(of_sandbox),
        };
        let created = ctx.runtime.create_container(request).await;
        let id = created
            .map_err(|error| fail("CreateContainerError", error.description))?
            .container_id;
        let note = "Container created".to_owned();
        ctx.events
            .container(pod, &container.name, NORMAL, "Created", note);
        let hook = container
            .lifecycle
            .as_ref()
            .and_then(|l| l.post_start.as_ref());
        if hook.is_some() {
            self.state.edit(|memory| memory.hooks.insert(id.clone()));
        }
        // Before it can be seen to run.
        if ephemeral::find(pod, &container.name).is_none() {
            let given = container.resources.clone().unwrap_or_default();
            ctx.allocations.give(uid, &container.name, given);
        }
        let begun = v1::StartContainerRequest {
            container_id: id.clone(),
        };
        let started = ctx.runtime.start_container(begun).await;
        let read = ctx.observed.refresh_container(uid, &id).await;
        if let Err(error) = started {
            self.state.edit(|memory| memory.hooks.remove(&id));
            let retry = self.retry_of(uid, &id);
            let failure = fail("RunContainerError", error.description);
            return Err(Failure { retry, ..failure });
        }
        if let Err(error) = read {
            tracing::warn!(%error, container = container.name, "cannot read a started container back");
        }
        let note = "Container started".to_owned();
        ctx.events
            .container(pod, &container.name, NORMAL, "Started", note);
        if let Some(hook) = hook {
            let ip = pod_ips.first().map(String::as_str).unwrap_or_default();
            let limit = hooks::POST_START_TIMEOUT;
            let run = hooks::run(ctx, (pod, container), &id, ip, hook, limit);
            let result = self.unless_cancelled(run).await.unwrap_or(Ok(()));
            self.state.write(|memory| memory.hooks.remove(&id));
            if let Err(error) = result {
                return Err(self.failed_hook(container, &id, error).await);
            }
        }
        self.prune(uid, &container.name).await;
        Ok(())
    }

    async fn failed_hook(&self, container: &Container, id: &str, error: String) -> Failure {
        let (ctx, pod, name) = (&self.ctx, &self.pod, &container.name);
        tracing::warn!(
            pod = context::display(pod),
            container = name,
            error,
            "postStart hook failed"
        );
        ctx.events.container(
            pod,
            name,
            WARNING,
            "FailedPostStartHook",
            "PostStartHook failed",
        );
        let message = Some("FailedPostStartHook".to_owned());
        let grace = kill::grace_of(pod);
        if let Err(error) = kill::container(ctx, pod, (id, name), message, grace).await {
            tracing::warn!(%error, container = name, "cannot stop a container");
        }
        Failure {
            reason: "PostStartHookError".to_owned(),
            message: error,
            retry: self.retry_of(context::uid(pod), id),
        }
    }

    /// The wait after a container that failed when it was to be started: some runtimes have no end of it.
    fn retry_of(&self, uid: &str, id: &str) -> Option<Duration> {
        let view = self.ctx.observed.view(uid);
        let exited = v1::ContainerState::ContainerExited;
        let mut containers = view.containers.iter();
        let ended = containers.any(|c| c.id == id && c.state() == exited);
        (!ended).then_some(CONTAINER_RETRY)
    }

    /// Removes instances of the container that nobody needs, with their logs.
    async fn prune(&self, uid: &str, name: &str) {
        let view = self.ctx.observed.view(uid);
        let old: Vec<&v1::ContainerStatus> = view
            .of(name)
            .skip(KEPT_INSTANCES)
            .filter(|c| c.state() != v1::ContainerState::ContainerRunning)
            .collect();
        for status in old {
            if let Err(error) = kill::remove_container(&self.ctx, uid, &status.id).await {
                tracing::warn!(%error, container = name, "cannot remove an old instance");
                continue;
            }
            let (ctx, status) = (self.ctx.clone(), status.clone());
            let removing = tokio::task::spawn_blocking(move || {
                Log::new(ctx.config.logs_dir(), &status.log_path).remove()?;
                termination::remove(&ctx.config, &status)
            });
            let removed = removing.await.map_err(io::Error::other);
            if let Err(error) = removed.and_then(|removed| removed) {
                // They are left to the pod's end.
                tracing::debug!(%error, container = name, "files of an old instance are not removed");
            }
        }
    }
}

/// Takes out of the plan what has failed and has to wait; returns when the first of it may be tried again.
pub(crate) fn due(state: &WorkerState, plan: &mut Plan) -> Option<Instant> {
    let now = Instant::now();
    state.read(|memory| {
        if let Some(at) = memory.pod_retry_at.filter(|at| *at > now) {
            plan.start.clear();
            plan.sandbox = Sandbox::Keep;
            return Some(at);
        }
        let mut next: Option<Instant> = None;
        plan.start
            .retain(|start| match memory.retry_at.get(&start.name) {
                Some(at) if *at > now => {
                    next = Some(next.map_or(*at, |next| next.min(*at)));
                    false
                }
                _ => true,
            });
        next
    })
}
