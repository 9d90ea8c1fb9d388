//! The directories of volumes, all in one.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use knarr_host::Directory;

/// Whoever a container runs as may write in its volume. Others do not get there: the directory above is root's alone.
const VOLUME_MODE: u32 = 0o777;
const TOP_MODE: u32 = 0o700;

#[derive(Clone)]
pub(super) struct Directories {
    top: PathBuf,
}

impl Directories {
    pub(super) fn new(top: PathBuf) -> Self {
        Self { top }
    }

    pub(super) fn path(&self) -> &Path {
        &self.top
    }

    /// Makes the directory of a volume, unless it is there.
    pub(super) async fn make(&self, volume: &str) -> io::Result<()> {
        let (top, name) = (self.top.clone(), PathBuf::from(checked(volume)?));
        off_thread(move || {
            if !top.exists() {
                fs::create_dir_all(&top)?;
                fs::set_permissions(&top, fs::Permissions::from_mode(TOP_MODE))?;
            }
            Directory::open(&top)?.make_directories(&name, VOLUME_MODE)?;
            knarr_host::sync_directory(&top)
        })
        .await
    }

    /// Removes the directory of a volume with all that is in it.
    pub(super) async fn remove(&self, volume: &str) -> io::Result<()> {
        let (top, name) = (self.top.clone(), PathBuf::from(checked(volume)?));
        off_thread(move || match Directory::open(&top) {
            Ok(top) => top.remove(&name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    /// Removes directories that are no volume's, where nothing is in them.
    pub(super) async fn sweep(
        &self,
        is_volume: impl Fn(&str) -> bool + Send + 'static,
    ) -> io::Result<()> {
        let top = self.top.clone();
        off_thread(move || {
            let entries = match fs::read_dir(&top) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                let name = entry.file_name();
                let Some(name) = name.to_str().filter(|name| checked(name).is_ok()) else {
                    continue;
                };
                // Only what is empty goes by this.
                if !is_volume(name) && fs::remove_dir(entry.path()).is_ok() {
                    tracing::info!(name, "removed a directory without a volume");
                }
            }
            Ok(())
        })
        .await
    }
}

/// The name of a directory is a volume's that a provisioner has named: `pvc-` and a uid. Nothing else is a path here.
fn checked(volume: &str) -> io::Result<&str> {
    let uid = volume.strip_prefix(super::plan::VOLUME_PREFIX);
    let plain =
        |uid: &str| !uid.is_empty() && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    match uid.is_some_and(plain) {
        true => Ok(volume),
        false => Err(io::Error::other(format!(
            "{volume:?} is no name of a provisioned volume"
        ))),
    }
}

async fn off_thread(work: impl FnOnce() -> io::Result<()> + Send + 'static) -> io::Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests;
