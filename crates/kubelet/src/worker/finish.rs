//! The last stages: containers end, the status is told, and nothing of the pod is left behind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1::PodSandboxState;
use kube::{
    Api,
    api::{DeleteParams, Preconditions},
};

use super::{Done, Stage, Stop, Update, Worker, kill};
use crate::{
    context::{self, Context, Shared},
    observed::View,
    stats::{GroupWork, PodWork, VolumeWork},
    status::writer,
    volume,
};

const DELETE_TIMEOUT: Duration = Duration::from_secs(10);
/// Grace in seconds of a pod whose object vanished: upstream's minimum.
const VANISHED_GRACE_SECONDS: i64 = 2;

/// Seconds the containers get.
fn grace(update: &Update) -> i64 {
    let meta = &update.pod.metadata;
    let own = kill::grace_of(&update.pod);
    if update.gone {
        return meta
            .deletion_grace_period_seconds
            .unwrap_or(own)
            .min(VANISHED_GRACE_SECONDS);
    }
    match meta.deletion_timestamp {
        Some(_) => meta.deletion_grace_period_seconds.unwrap_or(own),
        None => own,
    }
}

impl Worker {
    pub(super) fn stopping(&mut self, update: &Update, view: &Arc<View>) {
        self.probes.retain(view);
        // The start ends by itself, soon; what it has made by then is seen here.
        if self.start.is_some() {
            return;
        }
        let mut grace = grace(update);
        if let Some(most) = self.eviction.borrow().as_ref().and_then(|one| one.grace) {
            grace = grace.min(most);
        }
        match &self.stop {
            // Someone has run out of patience: ask again with less.
            Some(stop) if grace < stop.grace => {
                stop.task.abort();
                self.stop = None;
            }
            Some(_) => return,
            None => {}
        }
        let ready = view
            .sandboxes
            .iter()
            .any(|s| s.state() == PodSandboxState::SandboxReady);
        if !ready && view.running().next().is_none() {
            self.probes.stop();
            // Before anybody is told: who comes in its place must find the room.
            self.ctx.allocations.release(&self.uid);
            self.ctx.alignment.release(&self.uid);
            self.stage = Stage::Stopped;
            return;
        }
        if self.held() {
            return;
        }
        let work = kill::pod(self.ctx.clone(), update.pod.clone(), view.clone(), grace);
        let durations = self.ctx.stats.durations.clone();
        let task = self.tasks.spawn(async move {
            let began = Instant::now();
            let done = work.await;
            durations.of_pod(PodWork::Kill, began.elapsed());
            Done::Stopped(done)
        });
        self.stop = Some(Stop { task, grace });
    }

    pub(super) fn stopped(&mut self, update: &Update) {
        if self.finishing || self.refreshing || self.held() {
            return;
        }
        let ctx = self.ctx.clone();
        let pod = update.pod.clone();
        if !self.cleaned {
            self.finishing = true;
            self.tasks.spawn(async move {
                let began = Instant::now();
                let done = clean(&ctx, context::uid(&pod)).await;
                let durations = &ctx.stats.durations;
                durations.of_pod(PodWork::Terminated, began.elapsed());
                Done::Cleaned(done)
            });
            return;
        }
        let deleted = update.gone || self.lost || pod.metadata.deletion_timestamp.is_some();
        // The API hears how the pod ended before its object goes. A mirror goes later, and a pod that has one ends without the API.
        let own = update.is_own();
        if !deleted || self.writing || (own && !self.reported) {
            return;
        }
        self.finishing = true;
        let gone = update.gone || self.lost || !own;
        self.tasks
            .spawn(async move { Done::Deleted(delete(ctx, &pod, gone).await) });
    }
}

/// Devices, volumes, directories and cgroups.
pub(crate) async fn clean(ctx: &Context, uid: &str) -> Result<(), String> {
    ctx.dra.unprepare(uid).await?;
    ctx.alignment.release(uid);
    ctx.devices.release(uid)?;
    volumes(ctx, uid).await?;
    ctx.users.release(uid);
    let began = Instant::now();
    let (cgroups, uid) = (ctx.cgroups.clone(), uid.to_owned());
    let removed = tokio::task::spawn_blocking(move || cgroups.remove(&uid)).await;
    let durations = &ctx.stats.durations;
    durations.of_group(GroupWork::Destroy, began.elapsed());
    removed.map_err(|error| error.to_string())
}

/// Undoes the pod's volumes, which are counted by what makes them.
async fn volumes(ctx: &Context, uid: &str) -> Result<(), String> {
    let began = Instant::now();
    let plugins = volume::plugins(ctx.config.pod_dir(uid)).await;
    let undone = async {
        ctx.csi.teardown(uid).await?;
        let done = volume::teardown(ctx.config.pod_dir(uid)).await;
        done.map_err(|error| format!("cannot clean up volumes: {error}"))
    };
    let undone = undone.await;
    for plugin in plugins {
        let (took, ok) = (began.elapsed(), undone.is_ok());
        let durations = &ctx.stats.durations;
        durations.of_volume(plugin, VolumeWork::Unmount, took, ok);
    }
    undone
}

async fn delete(ctx: Shared, pod: &Pod, gone: bool) -> Result<(), String> {
    let uid = context::uid(pod);
    kill::remove(&ctx, uid)
        .await
        .map_err(|error| error.to_string())?;
    // The runtime has let go of the cgroups below ours only now.
    ctx.cgroups.remove(uid);
    let logs = ctx
        .config
        .pod_logs(context::namespace(pod), context::name(pod), uid);
    let removing = tokio::task::spawn_blocking(move || {
        knarr_host::remove(&logs).inspect_err(
            |error| tracing::warn!(%error, logs = %logs.display(), "logs are not removed"),
        )
    });
    // What stays is swept at the next start.
    let _told = removing.await;
    if gone {
        return Ok(());
    }
    let api: Api<Pod> = Api::namespaced(ctx.client.clone(), context::namespace(pod));
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        }),
        ..Default::default()
    };
    match tokio::time::timeout(DELETE_TIMEOUT, api.delete(context::name(pod), &params)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) if knarr_client::errors::is_not_found(&error) => Ok(()),
        Ok(Err(error))
            if knarr_client::errors::is_conflict(&error) && writer::is_gone(&api, pod).await =>
        {
            Ok(())
        }
        Ok(Err(error)) => Err(knarr_client::errors::message(&error)),
        Err(_) => Err("context deadline exceeded".to_owned()),
    }
}
