//! `emptyDir` volumes: a directory, or memory, for the pod's life.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{Error, MountedVolume, Target, VolumeType, blocking, mount, ownership};
use crate::{config::Config, resources};

const KIND: &str = "empty-dir";

pub(super) struct EmptyDir;

#[async_trait]
impl VolumeType for EmptyDir {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let source = target.volume.empty_dir.clone()?;
        let path = target.dir(KIND);
        let (place, fs_group) = (path.clone(), target.fs_group());
        let made = blocking(move || make(&place, &source, fs_group)).await;
        let error = |message| Error::set_up(&target.volume.name, message);
        Some(made.map(|()| MountedVolume::writable(path)).map_err(error))
    }
}

/// Where a volume of a pod is.
pub(crate) fn path(config: &Config, uid: &str, volume: &str) -> PathBuf {
    super::directory_of(config, uid, KIND, volume)
}

fn make(path: &Path, source: &EmptyDirVolumeSource, fs_group: Option<i64>) -> io::Result<()> {
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
