//! What nobody uses on the node's disk: images, and containers of pods that have ended.
//!
//! ```text
//! every 5 minutes --images over the threshold, or too old--> least recently used first, down to the lower threshold
//! the disk runs short (crate::eviction) --> containers of ended pods, then all images that nobody uses
//! ```
//!
//! As upstream's `image_gc_manager.go` and `kuberuntime_gc.go`. When an image was last used is known since the kubelet's start.
//! What a worker removes anyway is not here: older instances of its containers, and all of a pod that is deleted.

mod images;

use std::{path::PathBuf, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::images::{Known, Policy};
use crate::{
    context::{self, Shared},
    pods, stats,
    worker::kill,
};

/// Upstream's `ImageGCPeriod`.
const PERIOD: Duration = Duration::from_secs(5 * 60);
/// Longest that one of the rounds may take: a runtime that does not answer holds up nobody for ever.
const ROUND_TIMEOUT: Duration = Duration::from_secs(10 * 60);
/// Why an image was removed, as upstream's metric has it.
const REASONS: [&str; 2] = ["age", "space"];

/// What is known of images, and how many have been removed.
#[derive(Default)]
pub(crate) struct Garbage {
    known: Mutex<Known>,
    /// In the order of [`REASONS`].
    removed: Mutex<[u64; REASONS.len()]>,
    /// One round at a time.
    round: tokio::sync::Mutex<()>,
}

impl Garbage {
    /// Images that were removed, by reason.
    pub(crate) fn removed(&self) -> [(&'static str, u64); REASONS.len()] {
        let [age, space] = *self.removed.lock();
        [(REASONS[0], age), (REASONS[1], space)]
    }
}

/// Which images are to go.
#[derive(Clone, Copy, Debug)]
enum Wanted {
    /// Those that are too old.
    Old,
    /// So many bytes of them.
    Bytes(u64),
}

/// Looks from time to time until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    let policy = Policy::of(&ctx.config.configuration.settings);
    if policy.is_never() {
        // A part that ends by itself has failed.
        return token.cancelled().await;
    }
    let began = Instant::now();
    let work = async {
        let mut failed = false;
        loop {
            let round = tokio::time::timeout(ROUND_TIMEOUT, collect(&ctx, &policy, began));
            let result = round
                .await
                .unwrap_or_else(|_| Err("it takes too long".to_owned()));
            if let Err(error) = &result {
                tracing::warn!(error, "image garbage collection failed");
                // What fails once may be that the runtime has just been started.
                if failed {
                    let node = &ctx.config.node_name;
                    ctx.events
                        .node_warning(node, "ImageGCFailed", error.clone());
                }
            }
            failed = result.is_err();
            tokio::time::sleep(PERIOD).await;
        }
    };
    token.run_until_cancelled(work).await;
}

/// One round.
async fn collect(ctx: &Shared, policy: &Policy, began: Instant) -> Result<(), String> {
    if !policy.most_age.is_zero() && began.elapsed() > policy.most_age {
        remove(ctx, policy, Wanted::Old).await?;
    } else {
        notice(ctx).await?;
    }
    let place = place_of_images(ctx).await?;
    let disk = tokio::task::spawn_blocking(move || stats::disk(&place));
    let disk = disk.await.map_err(|error| error.to_string())?;
    let disk = disk.ok_or_else(|| "the image file system cannot be read".to_owned())?;
    if disk.capacity == 0 {
        let error = "invalid capacity 0 on image filesystem";
        let node = &ctx.config.node_name;
        ctx.events.node_warning(node, "InvalidDiskCapacity", error);
        return Err(error.to_owned());
    }
    let Some((used_percent, excess)) = policy.excess(disk.capacity, disk.available) else {
        return Ok(());
    };
    tracing::info!(
        used_percent,
        excess,
        "images that nobody uses are removed to make room"
    );
    let freed = remove(ctx, policy, Wanted::Bytes(excess)).await?;
    if freed >= excess {
        return Ok(());
    }
    let message = format!(
        "Insufficient free disk space on the node's image filesystem ({used_percent}% of {} used). \
         Failed to free sufficient space by deleting unused images (freed {freed} bytes). \
         Investigate disk usage, as it could be used by active images, logs, volumes, or other data.",
        images::size(disk.capacity)
    );
    let node = &ctx.config.node_name;
    ctx.events
        .node_warning(node, "FreeDiskSpaceFailed", message.clone());
    Err(message)
}

/// Removes everything that can go: the node runs short.
pub(crate) async fn everything(ctx: &Shared) {
    let policy = Policy::of(&ctx.config.configuration.settings);
    let work = async {
        containers(ctx).await;
        if let Err(error) = remove(ctx, &policy, Wanted::Bytes(u64::MAX)).await {
            tracing::warn!(error, "cannot remove all images that nobody uses");
        }
    };
    if tokio::time::timeout(ROUND_TIMEOUT, work).await.is_err() {
        tracing::warn!("removing what nobody uses takes too long");
    }
}

/// Where the runtime keeps its images.
///
/// # Errors
/// Why it does not say.
pub(crate) async fn place_of_images(ctx: &Shared) -> Result<PathBuf, String> {
    let answer = ctx.runtime.image_fs_info(v1::ImageFsInfoRequest {}).await;
    let answer = answer.map_err(|error| format!("failed to get image stats: {error}"))?;
    let mut all = answer.image_filesystems.into_iter();
    let place = all.find_map(|one| Some(one.fs_id?.mountpoint));
    let place = place.filter(|place| !place.is_empty());
    place
        .map(PathBuf::from)
        .ok_or_else(|| "failed to get image stats: there is no image filesystem".to_owned())
}

/// Takes note of the images that are there and of those in use. Returns those that may go, least recently used first.
async fn notice(ctx: &Shared) -> Result<Vec<images::Image>, String> {
    let listed = ctx
        .runtime
        .list_images(v1::ListImagesRequest { filter: None });
    let listed = listed.await.map_err(|error| error.to_string())?.images;
    // Those of others count as well: the runtime's images are everybody's.
    let containers = ctx
        .runtime
        .list_containers(v1::ListContainersRequest { filter: None });
    let containers = containers.await.map_err(|error| error.to_string())?;
    let mut used = images::of_containers(&containers.containers);
    let mounted: Vec<_> = ctx
        .observed
        .uids()
        .into_iter()
        .map(|uid| ctx.observed.view(&uid))
        .collect();
    for view in &mounted {
        used.extend(images::of_mounts(&view.containers));
    }
    used.extend(ctx.images.wanted_lately());
    Ok(ctx
        .garbage
        .known
        .lock()
        .notice(&listed, &used, Instant::now()))
}

/// Removes images; returns how many bytes they had.
async fn remove(ctx: &Shared, policy: &Policy, wanted: Wanted) -> Result<u64, String> {
    let _alone = ctx.garbage.round.lock().await;
    let now = Instant::now();
    let (mut freed, mut errors) = (0_u64, Vec::new());
    for image in notice(ctx).await? {
        let goes = match wanted {
            Wanted::Old => policy.is_too_old(&image, now),
            Wanted::Bytes(enough) => freed < enough && policy.may_go(&image, now),
        };
        if !goes {
            continue;
        }
        tracing::info!(image = image.id, bytes = image.size, "removing an image");
        let request = v1::RemoveImageRequest {
            image: Some(v1::ImageSpec {
                image: image.id.clone(),
                ..Default::default()
            }),
        };
        match ctx.runtime.remove_image(request).await {
            Ok(_) => {
                freed = freed.saturating_add(image.size);
                ctx.garbage.known.lock().forget(&image.id);
                ctx.images.forget_image(&image.id);
                let [age, space] = &mut *ctx.garbage.removed.lock();
                match wanted {
                    Wanted::Old => *age += 1,
                    Wanted::Bytes(_) => *space += 1,
                }
            }
            Err(error) => errors.push(error.to_string()),
        }
    }
    match errors.is_empty() {
        true => Ok(freed),
        false => Err(format!(
            "freed {freed} bytes space with errors in image deletion: [{}]",
            errors.join(", ")
        )),
    }
}

/// Removes the containers of pods that have ended and whose end has been told. Their logs go with them, as upstream's do.
async fn containers(ctx: &Shared) {
    for pod in pods::list(ctx).into_iter().filter(has_ended) {
        let uid = context::uid(&pod);
        let view = ctx.observed.view(uid);
        if view.running().next().is_some() {
            continue;
        }
        for container in &view.containers {
            tracing::info!(
                pod = context::display(&pod),
                container = container.id,
                "removing a container that has ended"
            );
            if let Err(error) = kill::remove_container(ctx, uid, &container.id).await {
                tracing::warn!(%error, container = container.id, "cannot remove a container");
            }
            remove_log(ctx, container).await;
        }
    }
}

fn has_ended(pod: &Arc<Pod>) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    pod.metadata.deletion_timestamp.is_none() && matches!(phase, Some("Succeeded" | "Failed"))
}

async fn remove_log(ctx: &Shared, container: &v1::ContainerStatus) {
    if container.log_path.is_empty() {
        return;
    }
    let log = crate::logs::Log::new(ctx.config.logs_dir(), &container.log_path);
    let removed = tokio::task::spawn_blocking(move || log.remove()).await;
    if let Ok(Err(error)) = removed
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, path = container.log_path, "cannot remove a log");
    }
}

#[cfg(test)]
mod tests;
