//! Local storage: what pods keep on the node's disk, and their own limits of it.

use std::{collections::HashMap, ops::ControlFlow, path::Path, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_host::Directory;
use knarr_meta::field::quote;

use crate::{
    context::{self, Shared},
    resources, stats,
    volume::empty_dir,
};

const RESOURCE: &str = "ephemeral-storage";
/// Entries of a volume that are counted: what is beyond is left out of the figure. Counting takes about a second.
const MAX_ENTRIES: u32 = 500_000;
/// What file systems count blocks in, whatever their own are.
const BLOCK_BYTES: u64 = 512;

/// Bytes on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Of `emptyDir` volumes on disk, by their names.
    pub volumes: HashMap<String, u64>,
    /// Of containers by their names: what they wrote into their root, and logs.
    pub containers: HashMap<String, u64>,
}

impl Used {
    pub(super) fn total(&self) -> u64 {
        let all = self.volumes.values().chain(self.containers.values());
        all.copied().fold(0, u64::saturating_add)
    }
}

fn empty_dirs(pod: &Pod) -> impl Iterator<Item = (&Volume, &EmptyDirVolumeSource)> {
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    // Those in memory have their size from their file system.
    volumes
        .filter_map(|volume| Some((volume, volume.empty_dir.as_ref()?)))
        .filter(|(_, source)| source.medium.as_deref() != Some("Memory"))
}

fn size_limit(source: &EmptyDirVolumeSource) -> Option<(&Quantity, u64)> {
    bytes(source.size_limit.as_ref()?)
}

fn bytes(quantity: &Quantity) -> Option<(&Quantity, u64)> {
    let value = resources::parse(quantity)?.value();
    let value = u64::try_from(value).ok().filter(|value| *value > 0);
    value.map(|value| (quantity, value))
}

fn limit(container: &Container) -> Option<(&Quantity, u64)> {
    let limits = container.resources.as_ref()?.limits.as_ref()?;
    bytes(limits.get(RESOURCE)?)
}

/// Whether anything of the pod's local storage has a limit.
pub(super) fn is_limited(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    let main = spec.into_iter().flat_map(|s| &s.containers);
    let init = spec
        .into_iter()
        .flat_map(|s| s.init_containers.iter().flatten());
    empty_dirs(pod).any(|(_, source)| size_limit(source).is_some())
        || main.chain(init).any(|container| limit(container).is_some())
}

/// Why the pod has to go: the first of its limits that it exceeds, in upstream's order and words.
pub(super) fn exceeded(pod: &Pod, used: &Used) -> Option<String> {
    for (volume, source) in empty_dirs(pod) {
        let used = used.volumes.get(&volume.name).copied().unwrap_or(0);
        if let Some((quantity, limit)) = size_limit(source)
            && used > limit
        {
            return Some(format!(
                "Usage of EmptyDir volume {} exceeds the limit {}. ",
                quote(&volume.name),
                quote(&quantity.0)
            ));
        }
    }
    let whole = resources::pod_limit_milli(pod, RESOURCE) / 1_000;
    if let Ok(limit) = u64::try_from(whole)
        && limit > 0
        && used.total() > limit
    {
        let limit = resources::memory_quantity(whole).0;
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
        ));
    }
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    for container in spec.containers.iter().chain(sidecars) {
        let used = used.containers.get(&container.name).copied().unwrap_or(0);
        if let Some((quantity, limit)) = limit(container)
            && used > limit
        {
            return Some(format!(
                "Container {} exceeded its local ephemeral storage limit {}. ",
                container.name,
                quote(&quantity.0)
            ));
        }
    }
    None
}

/// What these pods use. Nothing is asked of nobody for no pods.
///
/// # Errors
/// Why the runtime says nothing.
pub(super) async fn used(
    ctx: &Shared,
    pods: Vec<Arc<Pod>>,
) -> Result<Vec<(Arc<Pod>, Used)>, String> {
    if pods.is_empty() {
        return Ok(Vec::new());
    }
    let usage = ctx.stats.usage(ctx).await?;
    let ctx = ctx.clone();
    let work = move || {
        let by_uid: HashMap<&str, &stats::Pod> = usage
            .pods
            .iter()
            .map(|pod| (pod.uid.as_str(), pod))
            .collect();
        pods.into_iter()
            .map(|pod| {
                let known = by_uid.get(context::uid(&pod));
                let used = measure(&ctx, &pod, known.copied());
                (pod, used)
            })
            .collect()
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())
}

fn measure(ctx: &Shared, pod: &Pod, known: Option<&stats::Pod>) -> Used {
    let mut used = Used::default();
    for (volume, _) in empty_dirs(pod) {
        let place = empty_dir::path(&ctx.config, context::uid(pod), &volume.name);
        used.volumes.insert(volume.name.clone(), size(&place));
    }
    let logs = ctx.config.pod_logs(
        context::namespace(pod),
        context::name(pod),
        context::uid(pod),
    );
    for container in known.into_iter().flat_map(|known| &known.containers) {
        let written = container.stats.writable_layer.as_ref();
        let written = written.and_then(|layer| layer.used_bytes.as_ref());
        let (logged, _) = stats::logs_size(&logs.join(&container.name));
        let size = written
            .map_or(0, |bytes| bytes.value)
            .saturating_add(logged);
        used.containers.insert(container.name.clone(), size);
    }
    used
}

/// Bytes that a directory takes on disk. Its pod changes it meanwhile, and may have made it deep and wide: what was counted until
/// that ends the count is the figure.
fn size(place: &Path) -> u64 {
    let (mut bytes, mut entries) = (0_u64, 0_u32);
    let counted = Directory::open(place).and_then(|top| {
        knarr_host::walk(&top, |found| {
            entries = entries.saturating_add(1);
            let blocks = u64::try_from(found.stat.st_blocks).unwrap_or(0);
            bytes = bytes.saturating_add(blocks.saturating_mul(BLOCK_BYTES));
            Ok(match entries < MAX_ENTRIES {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            })
        })
    });
    if let Err(error) = counted {
        tracing::debug!(%error, place = %place.display(), "counted a part of a volume only");
    }
    bytes
}

#[cfg(test)]
mod tests;
