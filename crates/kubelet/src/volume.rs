//! A pod's volumes: directories under `pods/<uid>/volumes/kubernetes.io~<kind>/<name>`.
//!
//! [`setup`] is idempotent: it runs before the first container, after a kubelet restart, and whenever an object that
//! a volume shows has changed, so that "mount", "repair" and "update" are one path. What is shown to containers from
//! the API is written by [`atomic`], one rename a change. [`teardown`] undoes it all by looking at what is there, not
//! at the pod, so that it also works for pods nobody remembers.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, Pod, Volume};

use crate::{
    context::{self, Context},
    resources,
};

pub(crate) mod atomic;
mod host_path;
pub(crate) mod mount;
mod ownership;
mod payload;
pub(crate) mod sub_path;
pub(crate) mod token;

/// The volumes of one pod, ready to be mounted into containers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mounted {
    /// Path on the node by volume name.
    pub paths: HashMap<String, PathBuf>,
    /// Volumes that containers may only read.
    pub read_only: std::collections::HashSet<String>,
    /// When tokens want to be renewed.
    pub refresh_at: Option<Timestamp>,
}

/// A volume cannot be set up; the pod waits.
#[derive(Debug, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
pub(crate) struct Error {
    pub volume: String,
    pub message: String,
}

/// Sets up, or brings up to date, every volume of the pod.
pub(crate) async fn setup(ctx: &Context, pod: &Pod) -> Result<Mounted, Error> {
    let mut mounted = Mounted::default();
    let volumes = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten());
    let work = volumes.map(|volume| async move {
        let made = one(ctx, pod, volume).await;
        made.map(|made| (volume.name.clone(), made))
            .map_err(|message| Error {
                volume: volume.name.clone(),
                message,
            })
    });
    for (name, made) in futures::future::try_join_all(work).await? {
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

struct MountedVolume {
    path: PathBuf,
    read_only: bool,
    refresh_at: Option<Timestamp>,
}

async fn one(ctx: &Context, pod: &Pod, volume: &Volume) -> Result<MountedVolume, String> {
    let fs_group = pod
        .spec
        .as_ref()
        .and_then(|s| s.security_context.as_ref()?.fs_group);
    let dir = |kind: &str| {
        let base = ctx.config.pod_dir(context::uid(pod)).join("volumes");
        base.join(format!("kubernetes.io~{kind}"))
            .join(&volume.name)
    };
    if let Some(source) = &volume.empty_dir {
        let path = dir("empty-dir");
        let (target, source) = (path.clone(), source.clone());
        blocking(move || empty_dir(&target, &source, fs_group)).await?;
        return Ok(MountedVolume {
            path,
            read_only: false,
            refresh_at: None,
        });
    }
    if let Some(source) = &volume.host_path {
        let source = source.clone();
        let path = PathBuf::from(&source.path);
        tokio::task::spawn_blocking(move || host_path::check(&source))
            .await
            .map_err(|error| error.to_string())??;
        return Ok(MountedVolume {
            path,
            read_only: false,
            refresh_at: None,
        });
    }
    let Some(payload) = payload::make(ctx, pod, volume).await? else {
        return Err(format!(
            "volume plugin for volume \"{}\" is not supported",
            volume.name
        ));
    };
    let path = dir(payload.kind);
    let target = path.clone();
    let (files, memory) = (payload.files, payload.memory);
    blocking(move || {
        directory(&target, 0o755)?;
        if memory && !mount::is_mount(&target)? {
            mount::tmpfs(&target, None)?;
            fs::set_permissions(&target, fs::Permissions::from_mode(0o1777))?;
        } else if !memory {
            fs::set_permissions(&target, fs::Permissions::from_mode(0o777))?;
        }
        atomic::write(&target, &files, fs_group)
    })
    .await?;
    Ok(MountedVolume {
        path,
        read_only: true,
        refresh_at: payload.refresh_at,
    })
}

async fn blocking(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> Result<(), String> {
    let done = tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| error.to_string())?;
    done.map_err(|error| error.to_string())
}

fn directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

fn empty_dir(path: &Path, source: &EmptyDirVolumeSource, fs_group: Option<i64>) -> io::Result<()> {
    let fresh = !path.exists();
    fs::create_dir_all(path)?;
    if source.medium.as_deref() == Some("Memory") && !mount::is_mount(path)? {
        let limit = source
            .size_limit
            .as_ref()
            .and_then(resources::parse)
            .map(|q| q.value());
        mount::tmpfs(path, limit)?;
    } else if !fresh {
        return Ok(());
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    match fs_group {
        Some(group) => ownership::apply(path, group, true),
        None => Ok(()),
    }
}

/// Unmounts and removes everything under the pod's directory.
pub(crate) async fn teardown(pod_dir: PathBuf) -> io::Result<()> {
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
