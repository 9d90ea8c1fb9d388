//! PersistentVolumes of type `local`: directories of this node that claims can have.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use k8s_openapi::api::core::v1::LocalVolumeSource;

use super::{Error, MountedVolume, Target, claim, directory, ownership, within};
use crate::events;

/// Sets up the directory, which must be there. Its files get the pod's group, once for a pod and unless another pod of this
/// node has the volume: what that relies on stays as it is.
pub(super) async fn setup(
    target: &Target<'_>,
    name: &str,
    source: &LocalVolumeSource,
    read_only: bool,
) -> Result<MountedVolume, Error> {
    let path = PathBuf::from(&source.path);
    let place = claim::place(target, name);
    let group = target.fs_group().filter(|_| !read_only);
    let work = Work {
        path: path.clone(),
        place,
        pods: target.ctx.config.pods_dir(),
        group,
        only_if_root_differs: ownership::only_if_root_differs(target.pod),
    };
    match within(target.pod, move || work.run()).await {
        Ok(Outcome::Ready) => Ok(MountedVolume::writable(path)),
        Ok(Outcome::Missing) => Err(Error::Mount {
            step: "NewMounter initialization",
            volume: name.to_owned(),
            message: format!("path \"{}\" does not exist", path.display()),
        }),
        Ok(Outcome::Shared(has)) => {
            let wants = group.unwrap_or_default();
            let note = format!(
                "The requested fsGroup is {wants}, but the volume {name} has GID {has}. The volume may not be shareable."
            );
            let events = &target.ctx.events;
            events.pod(target.pod, events::WARNING, "AlreadyMountedVolume", note);
            Ok(MountedVolume::writable(path))
        }
        Err(error) => Err(Error::set_up(name, error.to_string())),
    }
}

enum Outcome {
    Ready,
    Missing,
    /// Another pod has it, with this group.
    Shared(u32),
}

struct Work {
    path: PathBuf,
    /// The pod's, there once it has the volume.
    place: PathBuf,
    /// Where all pods have theirs.
    pods: PathBuf,
    group: Option<i64>,
    only_if_root_differs: bool,
}

impl Work {
    fn run(self) -> io::Result<Outcome> {
        let top = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Outcome::Missing),
            top => top?,
        };
        if !top.is_dir() {
            return Err(io::Error::other(format!(
                "{} is not a directory",
                self.path.display()
            )));
        }
        if self.place.exists() {
            return Ok(Outcome::Ready);
        }
        let mut outcome = Outcome::Ready;
        if let Some(group) = self.group {
            if self.others_have_it()? {
                if i64::from(top.gid()) != group {
                    outcome = Outcome::Shared(top.gid());
                }
            } else {
                ownership::apply_to_volume(&self.path, group, self.only_if_root_differs)?;
            }
        }
        directory(&self.place, 0o750)?;
        Ok(outcome)
    }

    /// Whether another pod of this node has the volume.
    fn others_have_it(&self) -> io::Result<bool> {
        let own = self
            .place
            .strip_prefix(&self.pods)
            .map_err(io::Error::other)?;
        let within: PathBuf = own.components().skip(1).collect();
        for pod in fs::read_dir(&self.pods)? {
            let place = pod?.path().join(&within);
            if place != self.place && exists(&place) {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(test)]
mod tests;
