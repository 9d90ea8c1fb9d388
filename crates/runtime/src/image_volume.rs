//! Image volumes: images that a container reads as directories, each mounted once below the container's own.
//!
//! What containers get of one is a bind of a directory in a read-only overlay of the image's layers: not even who may mount can
//! make it writable, and whiteouts and attributes are as in a container that is run from the image. Names follow from the
//! container's directory and the image's digest, so that a mount is found again whatever has happened since.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use knarr_cri::v1;
use knarr_host::Directory;

use crate::files;
use crate::images::{Image, ImageStore, StoreError, implied};
use crate::mapped::Layers;
use crate::overlay;
use crate::users::{self, Users};

/// In the container's directory.
const DIRECTORY: &str = "images";

/// Why a container cannot have an image as a directory. Kubelets know the failure by its first word, of k8s.io/cri-api
/// `pkg/errors`.
#[derive(Debug, thiserror::Error)]
#[error("ImageVolumeMountFailed: mount {path}: {source}")]
pub struct Error {
    /// Where the container wants it.
    path: String,
    pub source: Cause,
}

#[derive(Debug, thiserror::Error)]
pub enum Cause {
    #[error("host_path must be empty where there is an image")]
    HostPath,
    #[error("readonly must be true where there is an image")]
    Writable,
    #[error("image {0:?} not found")]
    UnknownImage(String),
    #[error("image {0} has no layers")]
    NoLayers(String),
    #[error("sub path {path:?} of the image: {source}")]
    SubPath { path: String, source: io::Error },
    #[error(transparent)]
    Layers(#[from] StoreError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The images that a container's mounts name, by their ids.
#[derive(Default)]
pub struct ImageVolumes {
    images: BTreeMap<String, (Image, Vec<PathBuf>)>,
}

/// Directories on the host by what mounts say: id of the image and path in it.
pub type Sources = BTreeMap<(String, String), PathBuf>;

impl ImageVolumes {
    /// Finds the images, and notes the id of each in its mount.
    pub fn resolve(images: &ImageStore, mounts: &mut [v1::Mount]) -> Result<Self, Error> {
        let mut found = Self::default();
        for mount in mounts.iter_mut().filter(|mount| mount.image.is_some()) {
            found.add(images, mount).map_err(|source| Error {
                path: mount.container_path.clone(),
                source,
            })?;
        }
        Ok(found)
    }

    fn add(&mut self, images: &ImageStore, mount: &mut v1::Mount) -> Result<(), Cause> {
        if !mount.host_path.is_empty() {
            return Err(Cause::HostPath);
        }
        if !mount.readonly {
            return Err(Cause::Writable);
        }
        let Some(wanted) = &mut mount.image else {
            return Ok(());
        };
        let image = images
            .find(&wanted.image)
            .ok_or_else(|| Cause::UnknownImage(wanted.image.clone()))?;
        let layers = images.layers(&image)?;
        if layers.is_empty() {
            return Err(Cause::NoLayers(image.id));
        }
        wanted.image_ref.clone_from(&image.id);
        self.images.insert(image.id.clone(), (image, layers));
        Ok(())
    }

    /// Mounts them below the container's directory, and finds what each mount wants of them. They belong to `users`, if those are
    /// not the host's.
    pub fn mount(
        &self,
        container: &Path,
        mounts: &[v1::Mount],
        users: Option<&Users>,
    ) -> Result<Sources, Error> {
        let mut sources = Sources::new();
        let mut roots: BTreeMap<&str, PathBuf> = BTreeMap::new();
        for mount in mounts {
            let Some(wanted) = &mount.image else { continue };
            let Some((id, (image, layers))) = self.images.get_key_value(&wanted.image_ref) else {
                continue;
            };
            let failed = |source| Error {
                path: mount.container_path.clone(),
                source,
            };
            let root = match roots.get(id.as_str()) {
                Some(root) => root.clone(),
                None => {
                    let mounted = mount_one(container, image, layers, users);
                    let root = mounted.map_err(|error| failed(error.into()))?;
                    roots.insert(id, root.clone());
                    root
                }
            };
            let directory = in_image(&root, &mount.image_sub_path).map_err(|source| {
                failed(Cause::SubPath {
                    path: mount.image_sub_path.clone(),
                    source,
                })
            })?;
            sources.insert((id.clone(), mount.image_sub_path.clone()), directory);
        }
        Ok(sources)
    }
}

/// Mounts an image; where it is.
fn mount_one(
    container: &Path,
    image: &Image,
    layers: &[PathBuf],
    users: Option<&Users>,
) -> io::Result<PathBuf> {
    let name = image.id.trim_start_matches("sha256:");
    let root = container.join(DIRECTORY).join(name);
    // The topmost layer: it has the directories that are not as the image's own topmost has them.
    let top = container.join(DIRECTORY).join(format!("{name}.top"));
    for path in [&root, &top] {
        fs::create_dir_all(path)?;
    }
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755))?;
    users::give(&top, users)?;
    implied::make(&top, &image.kept, users)?;
    let mut layers = Layers::of(container, layers, users)?;
    layers.paths.push(top);
    overlay::mount(&root, &layers.paths, None)?;
    Ok(root)
}

/// A directory of the image. Links in its path are followed as the image's programs would, so that none leads out of it.
fn in_image(root: &Path, sub_path: &str) -> io::Result<PathBuf> {
    if sub_path.is_empty() {
        return Ok(root.to_owned());
    }
    let opened = Directory::open(root)?.child_in_root(Path::new(sub_path))?;
    fs::read_link(format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd()))
}

/// Unmounts what a container's directory has of them; it is removed with the directory.
pub fn unmount(container: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(container.join(DIRECTORY)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        files::unmount(&entry?.path())?;
    }
    Ok(())
}
