//! A container's root file system: an overlay of its image's layers and a writable directory of its own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::files;
use crate::images::{KeptDirectory, implied};
use crate::mapped::Layers;
use crate::overlay::{self, Writable};
use crate::users::{self, Users};

/// Directories of a snapshot, below the container's.
#[derive(Debug)]
pub struct Snapshot {
    directory: PathBuf,
}

impl Snapshot {
    pub fn of(container: &Path) -> Self {
        Self {
            directory: container.to_path_buf(),
        }
    }

    pub fn rootfs(&self) -> PathBuf {
        self.directory.join("rootfs")
    }

    /// What the container has written.
    pub fn upper(&self) -> PathBuf {
        self.directory.join("upper")
    }

    /// Mounts `layers` (lowest first) and the writable directory, in which directories are that are not as the topmost layer
    /// has them. All of it belongs to `users`, if they are not the host's.
    pub fn mount(
        &self,
        layers: &[PathBuf],
        kept: &[KeptDirectory],
        users: Option<&Users>,
    ) -> io::Result<()> {
        let (upper, work) = (self.upper(), self.directory.join("work"));
        for path in [&self.rootfs(), &upper, &work] {
            fs::create_dir_all(path)?;
        }
        // The root directory's mode and owner are the upper one's.
        fs::set_permissions(&upper, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        users::give(&upper, users)?;
        implied::make(&upper, kept, users)?;
        let writable = Writable {
            upper: &upper,
            work: &work,
        };
        if layers.is_empty() {
            // An image without content: an overlay wants something to be on.
            let empty = self.directory.join("empty");
            fs::create_dir_all(&empty)?;
            return overlay::mount(&self.rootfs(), &[empty], Some(&writable));
        }
        let layers = Layers::of(&self.directory, layers, users)?;
        overlay::mount(&self.rootfs(), &layers.paths, Some(&writable))
    }

    pub fn unmount(&self) -> io::Result<()> {
        files::unmount(&self.rootfs())
    }
}
