//! Local storage: what pods keep on the node's disk, and their own limits of it.

use std::{collections::HashMap, path::Path, sync::Arc};

use k8s_openapi::{
    api::core::v1::{Container, EmptyDirVolumeSource, Pod, Volume},
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_cri::v1;
use knarr_meta::field::quote;

use crate::{
    context::{self, Shared},
    disk, resources, stats,
    volume::empty_dir,
};

const RESOURCE: &str = "ephemeral-storage";

/// What something takes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Size {
    pub bytes: u64,
    pub inodes: u64,
}

impl Size {
    fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            bytes: sum.bytes.saturating_add(one.bytes),
            inodes: sum.inodes.saturating_add(one.inodes),
        })
    }
}

/// What a pod has on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Used {
    /// Of `emptyDir` volumes on disk, by their names.
    pub volumes: HashMap<String, Size>,
    /// Of what containers wrote into their roots, by their names.
    pub written: HashMap<String, Size>,
    /// Of the logs of containers, by their names.
    pub logs: HashMap<String, Size>,
}

impl Used {
    /// Of everything.
    pub(super) fn total(&self) -> Size {
        let sums = [self.local(), self.of_images()];
        Size::sum(sums.into_iter())
    }

    /// Of what is beside the kubelet's own files.
    pub(super) fn local(&self) -> Size {
        Size::sum(self.volumes.values().chain(self.logs.values()).copied())
    }

    /// Of what is beside the images.
    pub(super) fn of_images(&self) -> Size {
        Size::sum(self.written.values().copied())
    }

    /// Bytes that containers wrote, logs included, by their names.
    pub(super) fn of_containers(&self) -> Vec<(String, u64)> {
        let named = |name: &String| (name.clone(), self.container(name));
        let mut all: Vec<(String, u64)> = self.logs.keys().map(named).collect();
        all.sort();
        all
    }

    fn container(&self, name: &str) -> u64 {
        let of = |sizes: &HashMap<String, Size>| sizes.get(name).map_or(0, |size| size.bytes);
        of(&self.written).saturating_add(of(&self.logs))
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

/// Why the pod has to go: the first of its limits that it exceeds, in upstream's order and words, after its name in metrics.
pub(super) fn exceeded(pod: &Pod, used: &Used) -> Option<(&'static str, String)> {
    for (volume, source) in empty_dirs(pod) {
        let used = used.volumes.get(&volume.name).map_or(0, |size| size.bytes);
        if let Some((quantity, limit)) = size_limit(source)
            && used > limit
        {
            let message = format!(
                "Usage of EmptyDir volume {} exceeds the limit {}. ",
                quote(&volume.name),
                quote(&quantity.0)
            );
            return Some(("emptydirfs.limit", message));
        }
    }
    let whole = resources::pod_limit_milli(pod, RESOURCE) / 1_000;
    if let Ok(limit) = u64::try_from(whole)
        && limit > 0
        && used.total().bytes > limit
    {
        let limit = resources::memory_quantity(whole).0;
        let message = format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "
        );
        return Some(("ephemeralpodfs.limit", message));
    }
    let spec = pod.spec.as_ref()?;
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|one| one.restart_policy.as_deref() == Some("Always"));
    for container in spec.containers.iter().chain(sidecars) {
        let used = used.container(&container.name);
        if let Some((quantity, limit)) = limit(container)
            && used > limit
        {
            let message = format!(
                "Container {} exceeded its local ephemeral storage limit {}. ",
                container.name,
                quote(&quantity.0)
            );
            return Some(("ephemeralcontainerfs.limit", message));
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
        let value = |value: Option<&v1::UInt64Value>| value.map_or(0, |value| value.value);
        let size = Size {
            bytes: value(written.and_then(|layer| layer.used_bytes.as_ref())),
            inodes: value(written.and_then(|layer| layer.inodes_used.as_ref())),
        };
        used.written.insert(container.name.clone(), size);
        let (bytes, inodes) = stats::logs_size(&logs.join(&container.name));
        used.logs
            .insert(container.name.clone(), Size { bytes, inodes });
    }
    used
}

fn size(place: &Path) -> Size {
    let (bytes, inodes) = disk::size(place);
    Size { bytes, inodes }
}

#[cfg(test)]
mod tests;
