//! Exports of NFS servers: `nfs` of pods and of PersistentVolumes, mounted by the host's `mount.nfs` (upstream's `pkg/volume/nfs`).
//!
//! A server that does not answer holds whoever looks at what is mounted. So nothing is looked at: the kernel's table of mounts tells
//! what there is, and what does not let itself be unmounted in time is detached.

mod helper;

use std::{
    ffi::OsString,
    fs, io,
    net::Ipv6Addr,
    path::{Path, PathBuf},
    time::Duration,
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{NFSVolumeSource, PersistentVolume};
use nix::mount::{MntFlags, umount2};

use super::{Error, MountedVolume, Target, VolumeType, blocking, directory, mount};
use helper::{Failure, Work};

const KIND: &str = "nfs";
/// Of PersistentVolumes, from before they had a field for it.
const OPTIONS_ANNOTATION: &str = "volume.beta.kubernetes.io/mount-options";
/// Longest a mount may take: somewhat more than `mount.nfs` itself tries for unless an option says otherwise.
const MOUNT_TIMEOUT: Duration = Duration::from_secs(150);
/// Upstream's `unMountTimeout`; then it is forced.
const UNMOUNT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long that may take before the mount is detached.
const FORCE_TIMEOUT: Duration = Duration::from_secs(10);

/// The programs of the host.
#[derive(Clone, Debug)]
struct Programs {
    mount: PathBuf,
    umount: PathBuf,
    unmount_timeout: Duration,
    force_timeout: Duration,
}

impl Default for Programs {
    fn default() -> Self {
        Self {
            mount: "mount".into(),
            umount: "umount".into(),
            unmount_timeout: UNMOUNT_TIMEOUT,
            force_timeout: FORCE_TIMEOUT,
        }
    }
}

pub(super) struct Nfs;

#[async_trait]
impl VolumeType for Nfs {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let source = target.volume.nfs.as_ref()?;
        let name = &target.volume.name;
        let export = Export::of_pod(source, target.named_dir(KIND, name));
        Some(mounted(name, export).await)
    }
}

/// Sets up a PersistentVolume, which the claim's user has read-only or not.
pub(super) async fn setup(
    target: &Target<'_>,
    volume: &PersistentVolume,
    source: &NFSVolumeSource,
    read_only: bool,
) -> Result<MountedVolume, Error> {
    let name = knarr_volumes::volume::name(volume);
    let directory_of = target.named_dir(KIND, name);
    let export = Export::new(source, read_only, options(volume), directory_of);
    mounted(name, export).await
}

/// Whether the pod has the PersistentVolume of this name, or may have it: by the name alone, which no server is asked for.
pub(super) fn has(target: &Target<'_>, name: &str) -> bool {
    let own = target.named_dir(KIND, name);
    let names = own.parent().and_then(|kind| fs::read_dir(kind).ok());
    let mut names = names.into_iter().flatten().flatten();
    names.any(|entry| entry.file_name() == name)
}

/// The options that administrators have given it.
fn options(volume: &PersistentVolume) -> Vec<String> {
    let annotations = volume.metadata.annotations.as_ref();
    if let Some(annotated) = annotations.and_then(|all| all.get(OPTIONS_ANNOTATION)) {
        return annotated.split(',').map(str::to_owned).collect();
    }
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.mount_options.clone())
        .unwrap_or_default()
}

async fn mounted(name: &str, export: Result<Export, String>) -> Result<MountedVolume, Error> {
    let failed = |why: String| Error::set_up(name, why);
    let export = export.map_err(failed)?;
    mount(&Programs::default(), &export).await.map_err(failed)?;
    Ok(MountedVolume {
        read_only: export.read_only,
        ..MountedVolume::writable(export.directory)
    })
}

/// `SERVER:PATH`.
fn source_of(source: &NFSVolumeSource) -> Result<String, String> {
    let server = &source.server;
    let server = match server.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{server}]"),
        // It would be an option of the program's.
        Err(_) if server.starts_with('-') => return Err(format!("invalid server {server:?}")),
        Err(_) => server.clone(),
    };
    Ok(format!("{server}:{}", source.path))
}

/// In order, each once.
fn joined(options: Vec<String>, read_only: bool) -> Vec<String> {
    let mut all = options;
    all.extend(read_only.then(|| "ro".to_owned()));
    all.sort_unstable();
    all.dedup();
    all
}

/// What is mounted, and where.
#[derive(Debug)]
struct Export {
    source: String,
    options: Vec<String>,
    read_only: bool,
    directory: PathBuf,
}

impl Export {
    /// # Errors
    /// The server is none.
    fn new(
        source: &NFSVolumeSource,
        read_only: bool,
        options: Vec<String>,
        directory: PathBuf,
    ) -> Result<Self, String> {
        Ok(Self {
            source: source_of(source)?,
            options: joined(options, read_only),
            read_only,
            directory,
        })
    }

    /// Of a volume that a pod describes itself.
    fn of_pod(source: &NFSVolumeSource, directory: PathBuf) -> Result<Self, String> {
        let read_only = source.read_only.unwrap_or(false);
        Self::new(source, read_only, Vec::new(), directory)
    }
}

/// Mounts it unless it is mounted.
async fn mount(programs: &Programs, export: &Export) -> Result<(), String> {
    let place = export.directory.clone();
    let is_mounted = blocking(move || match mount::is_mounted(&place)? {
        true => Ok(true),
        false => directory(&place, 0o750).map(|()| false),
    });
    if is_mounted.await? {
        return Ok(());
    }
    let mut arguments: Vec<OsString> = vec!["-t".into(), KIND.into()];
    if !export.options.is_empty() {
        arguments.extend(["-o".into(), export.options.join(",").into()]);
    }
    arguments.extend([(&export.source).into(), export.directory.clone().into()]);
    let done = helper::run(
        &programs.mount,
        &arguments,
        (&export.directory, Work::Mount),
        MOUNT_TIMEOUT,
    );
    let Err(failure) = done.await else {
        return Ok(());
    };
    match failure {
        Failure::Busy => Err("mount failed: another mount of it is still under way".to_owned()),
        Failure::Ended { how, output } => {
            // What it may have mounted before it ended must not be taken for the volume.
            let place = export.directory.clone();
            let undone = undo(programs, &place).await;
            if let Err(error) = undone {
                tracing::warn!(%error, place = %place.display(), "a mount that failed is not undone");
            }
            let arguments: Vec<_> = arguments.iter().map(|one| one.to_string_lossy()).collect();
            Err(format!(
                "mount failed: {how}\nMounting command: {}\nMounting arguments: {}\nOutput: {output}",
                programs.mount.display(),
                arguments.join(" ")
            ))
        }
    }
}

async fn undo(programs: &Programs, place: &Path) -> io::Result<()> {
    let looked = place.to_owned();
    let is_mounted = blocking(move || mount::is_mounted(&looked)).await;
    if is_mounted.map_err(io::Error::other)? {
        unmount(programs, place).await?;
    }
    let place = place.to_owned();
    let removed = blocking(move || match fs::remove_dir(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    removed.await.map_err(io::Error::other)
}

/// Unmounts what is below the directory of a pod that has such volumes; nothing of another pod's.
///
/// # Errors
/// Something is still being mounted, or does not even let itself be detached.
pub(super) async fn teardown(pod_dir: &Path) -> io::Result<()> {
    teardown_with(&Programs::default(), pod_dir).await
}

async fn teardown_with(programs: &Programs, pod_dir: &Path) -> io::Result<()> {
    let below = pod_dir.to_owned();
    let points = blocking(move || {
        let own = below.join("volumes").join(format!("kubernetes.io~{KIND}"));
        match own.exists() {
            // Parts of them are mounted elsewhere (`subPath`), and the last to go is what waits for the server.
            true => mount::below(&below),
            false => Ok(Vec::new()),
        }
    });
    for point in points.await.map_err(io::Error::other)?.iter().rev() {
        unmount(programs, point).await?;
    }
    if helper::is_mounting_below(pod_dir) {
        let message = format!("volumes of {} are still being mounted", pod_dir.display());
        return Err(io::Error::other(message));
    }
    Ok(())
}

async fn unmount(programs: &Programs, point: &Path) -> io::Result<()> {
    let tries: [(&[&str], Duration); 2] = [
        (&[], programs.unmount_timeout),
        (&["-f"], programs.force_timeout),
    ];
    for (options, patience) in tries {
        let mut arguments: Vec<OsString> = options.iter().map(OsString::from).collect();
        arguments.push(point.into());
        match helper::run(
            &programs.umount,
            &arguments,
            (point, Work::Unmount),
            patience,
        )
        .await
        {
            Ok(()) => return Ok(()),
            Err(failure) => {
                tracing::debug!(?failure, point = %point.display(), "a volume is not unmounted");
            }
        }
    }
    tracing::warn!(point = %point.display(), "a server does not let go of a volume: it is detached");
    let place = point.to_owned();
    let detach = move || match umount2(&place, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW) {
        // It was the program's doing after all.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => Ok(()),
        done => done.map_err(io::Error::from),
    };
    match tokio::time::timeout(FORCE_TIMEOUT, blocking(detach)).await {
        Ok(done) => done.map_err(io::Error::other),
        Err(_) => Err(io::Error::other(format!(
            "{} cannot be detached",
            point.display()
        ))),
    }
}

#[cfg(test)]
mod tests;
