//! A pod's volumes: directories under `pods/<uid>/volumes/kubernetes.io~<kind>/<name>`, and places of the node's own.
//!
//! A type of volumes is a [`VolumeType`]. [`setup`] is idempotent: it runs before the first container, after a kubelet restart, and whenever an object that
//! a volume shows has changed, so that "mount", "repair" and "update" are one path. What is shown to containers from
//! the API is written by [`atomic`], one rename a change. [`teardown`] undoes it all by looking at what is there, not
//! at the pod, so that it also works for pods nobody remembers. Drivers of CSI undo theirs first ([`csi`]).

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::LazyLock,
    time::Instant,
};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};
use knarr_tasks::Shares;

use crate::{
    config::Config,
    context::{self, Context},
    stats::VolumeWork,
};

pub(crate) mod atomic;
pub(crate) mod certificate;
mod claim;
pub(crate) mod csi;
pub(crate) mod empty_dir;
mod host_path;
mod local;
pub(crate) mod mount;
mod nested;
mod nfs;
mod ownership;
mod payload;
pub(crate) mod sub_path;
pub(crate) mod token;
mod trust_bundle;

/// The volumes of one pod, ready to be mounted into containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounted {
    /// Path on the node by volume name.
    pub paths: HashMap<String, PathBuf>,
    /// Volumes that are devices; their paths are the devices'.
    pub devices: std::collections::HashSet<String>,
    /// Volumes that containers may only read.
    pub read_only: std::collections::HashSet<String>,
    /// When tokens want to be renewed.
    pub refresh_at: Option<Timestamp>,
}

/// A volume cannot be set up; the pod waits. The words are upstream's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("MountVolume.{step} failed for volume \"{volume}\" : {message}")]
    Mount {
        step: &'static str,
        volume: String,
        message: String,
    },
    /// The same of a device.
    #[error("MapVolume.{step} failed for volume \"{volume}\" : {message}")]
    Map {
        step: &'static str,
        volume: String,
        message: String,
    },
    /// Nobody has attached it in time.
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[{volume}], failed to process volumes=[]: context deadline exceeded"
    )]
    Unattached { volume: String },
    /// It is not known yet what is to be mounted.
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process volumes=[{volume}]: {message}"
    )]
    Process { volume: String, message: String },
}

impl Error {
    /// Of the event that tells of it.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Error::Map { .. } => "FailedMapVolume",
            _ => "FailedMount",
        }
    }

    fn map(step: &'static str, volume: &str, message: impl ToString) -> Self {
        Error::Map {
            step,
            volume: volume.to_owned(),
            message: message.to_string(),
        }
    }

    fn set_up(volume: &str, message: impl ToString) -> Self {
        Error::Mount {
            step: "SetUp",
            volume: volume.to_owned(),
            message: message.to_string(),
        }
    }
}

/// One type of volumes. Each is a file, and knows its volumes by their source; [`teardown`] is the same for all but drivers'.
#[async_trait]
trait VolumeType: Send + Sync {
    /// Sets the volume up, or brings it up to date; `None` where it is of another type.
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>>;
}

const TYPES: &[&dyn VolumeType] = &[
    &empty_dir::EmptyDir,
    &host_path::HostPath,
    &nfs::Nfs,
    &payload::ApiObjects,
    &claim::Claim,
    &csi::Inline,
];

/// Threads that may be at work in volumes of a namespace's pods, and of all pods.
const MAX_WITHIN_OF_NAMESPACE: usize = 8;
const MAX_WITHIN: usize = 64;
/// How long an answer of the API server is waited for.
const READ_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// What is set up, and for whom.
struct Target<'a> {
    ctx: &'a Context,
    pod: &'a Pod,
    volume: &'a Volume,
}

impl Target<'_> {
    /// The group that files of the pod's volumes belong to.
    fn fs_group(&self) -> Option<i64> {
        let spec = self.pod.spec.as_ref()?;
        spec.security_context.as_ref()?.fs_group
    }

    /// Counts that the volume was mounted, or not.
    fn count(&self, plugin: String, began: Instant, ok: bool) {
        let durations = &self.ctx.stats.durations;
        durations.of_volume(plugin, VolumeWork::Mount, began.elapsed(), ok);
    }

    /// The volume's own place.
    fn dir(&self, kind: &str) -> PathBuf {
        self.named_dir(kind, &self.volume.name)
    }

    /// The place of what the pod knows under another name than the volume's.
    fn named_dir(&self, kind: &str, name: &str) -> PathBuf {
        directory_of(&self.ctx.config, context::uid(self.pod), kind, name)
    }
}

/// The place of a pod's volume of a kind.
fn directory_of(config: &Config, uid: &str, kind: &str, name: &str) -> PathBuf {
    let base = config.pod_dir(uid).join("volumes");
    base.join(format!("kubernetes.io~{kind}")).join(name)
}

/// A volume that is ready.
struct MountedVolume {
    path: PathBuf,
    read_only: bool,
    /// Containers get it as a device.
    is_device: bool,
    refresh_at: Option<Timestamp>,
}

impl MountedVolume {
    fn writable(path: PathBuf) -> Self {
        Self {
            path,
            read_only: false,
            is_device: false,
            refresh_at: None,
        }
    }
}

/// Sets up, or brings up to date, every volume of the pod but its images, which the runtime mounts.
pub(crate) async fn setup(ctx: &Context, pod: &Pod) -> Result<Mounted, Error> {
    let mut mounted = Mounted::default();
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let own = volumes.filter(|volume| volume.image.is_none());
    let work = own.map(|volume| async move {
        let made = one(&Target { ctx, pod, volume }).await?;
        Ok::<_, Error>((volume.name.clone(), made))
    });
    // All of them, whatever becomes of one: what a driver has begun is to be done when it is asked for again.
    for made in futures::future::join_all(work).await {
        let (name, made) = made?;
        if made.is_device {
            mounted.devices.insert(name.clone());
        }
        if made.read_only {
            mounted.read_only.insert(name.clone());
        }
        mounted.refresh_at = match (mounted.refresh_at, made.refresh_at) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        mounted.paths.insert(name, made.path);
    }
    Ok(mounted)
}

async fn one(target: &Target<'_>) -> Result<MountedVolume, Error> {
    let began = Instant::now();
    for kind in TYPES {
        if let Some(made) = kind.setup(target).await {
            // What a claim stands for is known where it is found out.
            if knarr_volumes::pod::claim_of(target.pod, target.volume).is_none() {
                let csi = target.volume.csi.as_ref().map(|csi| csi.driver.as_str());
                target.count(plugin(&plugin_of(target.volume), csi), began, made.is_ok());
            }
            return made;
        }
    }
    let name = &target.volume.name;
    let why = format!("volume plugin for volume \"{name}\" is not supported");
    Err(Error::set_up(name, why))
}

/// Upstream's name of what makes a volume: of the one field that it has beside its name.
pub(crate) fn plugin_of(volume: &Volume) -> String {
    let tree = serde_json::to_value(volume).unwrap_or_default();
    let mut fields = tree.as_object().into_iter().flat_map(|tree| tree.keys());
    let source = fields.rfind(|field| *field != "name");
    match source.map(String::as_str) {
        Some("emptyDir") => "kubernetes.io/empty-dir".to_owned(),
        Some("hostPath") => "kubernetes.io/host-path".to_owned(),
        Some("configMap") => "kubernetes.io/configmap".to_owned(),
        Some("downwardAPI") => "kubernetes.io/downward-api".to_owned(),
        Some("csi" | "ephemeral" | "persistentVolumeClaim") => "kubernetes.io/csi".to_owned(),
        Some(other) => format!("kubernetes.io/{other}"),
        None => "kubernetes.io/empty-dir".to_owned(),
    }
}

/// Upstream's name of a plugin, with the driver that it drives.
fn plugin(name: &str, driver: Option<&str>) -> String {
    match driver {
        Some(driver) => format!("{name}:{driver}"),
        None => name.to_owned(),
    }
}

/// The plugins of the volumes below the pod's directory, one for each volume.
pub(crate) async fn plugins(pod_dir: PathBuf) -> Vec<String> {
    let look = move || {
        let kinds = fs::read_dir(pod_dir.join("volumes"))?.flatten();
        let of_kind = |kind: fs::DirEntry| {
            let volumes = fs::read_dir(kind.path()).map_or(0, Iterator::count);
            let name = kind.file_name().to_string_lossy().replace('~', "/");
            std::iter::repeat_n(name, volumes)
        };
        Ok(kinds.flat_map(of_kind).collect())
    };
    // Whoever has no such directory has no volumes.
    blocking(look).await.unwrap_or_default()
}

/// Runs what touches files off the async threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

/// Runs what touches what is in a volume: a server that somebody else runs may never answer for it, and the thread is lost until it
/// does. So a namespace has some of these threads and others wait for them, which takes none.
pub(crate) async fn within<T: Send + 'static>(
    pod: &Pod,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    static PLACES: LazyLock<Shares> =
        LazyLock::new(|| Shares::new(MAX_WITHIN_OF_NAMESPACE, MAX_WITHIN));
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let place = PLACES.take(namespace).await;
    let working = tokio::task::spawn_blocking(move || {
        let _place = place;
        work()
    });
    working.await.map_err(io::Error::other)?
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Unmounts and removes everything under the pod's directory.
pub(crate) async fn teardown(pod_dir: PathBuf) -> io::Result<()> {
    nfs::teardown(&pod_dir).await?;
    let work = move || {
        mount::unmount_below(&pod_dir)?;
        // Never remove through something that is still mounted: it could be the host's own data.
        if mount::any_below(&pod_dir)? {
            let message = format!("{} still has mounts", pod_dir.display());
            return Err(io::Error::other(message));
        }
        knarr_host::remove(&pod_dir)
    };
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
