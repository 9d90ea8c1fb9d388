//! Layers of images as the users of a pod own them. An overlay cannot have mapped owners itself, but the layers below it can: one
//! mount of the directory that they are all in, which the overlay holds on to when it is made.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use knarr_shim::tree;

use crate::files;
use crate::users::Users;

/// In the container's directory, while an overlay is made.
const DIRECTORY: &str = "layers";

/// Layers, to be used while this lives.
pub struct Layers {
    pub paths: Vec<PathBuf>,
    mounted: Option<PathBuf>,
}

impl Layers {
    /// The layers themselves, or, for users that are not the host's, as they own them.
    pub fn of(container: &Path, layers: &[PathBuf], users: Option<&Users>) -> io::Result<Self> {
        let parent = layers.first().and_then(|layer| layer.parent());
        let (Some(users), Some(parent)) = (users, parent) else {
            return Ok(Self {
                paths: layers.to_vec(),
                mounted: None,
            });
        };
        let at = container.join(DIRECTORY);
        let paths = layers
            .iter()
            .map(|layer| Some(at.join(layer.strip_prefix(parent).ok()?)));
        let paths: Option<Vec<PathBuf>> = paths.collect();
        let apart = || io::Error::other("the layers of an image are not in one directory");
        let made = Self {
            paths: paths.ok_or_else(apart)?,
            mounted: Some(at.clone()),
        };
        fs::create_dir_all(&at)?;
        let tree = tree::copy(parent, false)?;
        tree::map_owners(&tree, File::open(&users.path)?)?;
        tree::attach(&tree, &at)?;
        Ok(made)
    }
}

impl Drop for Layers {
    fn drop(&mut self) {
        if let Some(at) = &self.mounted
            && let Err(error) = files::unmount(at).and_then(|()| files::remove(at))
        {
            tracing::warn!(%error, at = %at.display(), "layers stay mounted until their container is removed");
        }
    }
}

/// Unmounts what a crash has left in a container's directory.
pub fn unmount(container: &Path) -> io::Result<()> {
    files::unmount(&container.join(DIRECTORY))
}
