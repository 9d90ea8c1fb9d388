//! The kubelet's root directory, under the path that it has and under the one that everybody knows.
//!
//! Manifests of CSI and DRA drivers mount `/var/lib/kubelet/plugins_registry`, `/var/lib/kubelet/plugins` and `/var/lib/kubelet/pods` of
//! their node, whatever cluster it is of, and a machine can have several nodes. So the root is a directory of the node's own, and
//! whoever names [`WELL_KNOWN`] means it: `hostPath` volumes below it are below the root, and so is a plugin's socket. A driver is
//! told paths as it names its own socket: the root by its own path to one that knows it, and by the well-known one to the others.

mod share;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where upstream's kubelet has its root.
pub(crate) const WELL_KNOWN: &str = "/var/lib/kubelet";

/// In the root directory; says whose kubelet has it.
pub const OWNER_FILE: &str = "instance";

/// What stands for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Root(PathBuf);

/// How somebody names what is below the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    /// By its own path.
    Own,
    /// By [`WELL_KNOWN`].
    WellKnown,
}

impl Root {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes the directory ready: it is `owner`'s alone, and mounts below it propagate. Blocks.
    ///
    /// # Errors
    /// What the file system says; another cluster's kubelet has it.
    pub(crate) fn prepare(&self, owner: &str) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        let path = self.0.join(OWNER_FILE);
        match fs::read_to_string(&path) {
            Ok(other) if other.trim() != owner => {
                return Err(io::Error::other(format!(
                    "{} is the root directory of another cluster's kubelet ({}); if that is gone, remove {}",
                    self.0.display(),
                    other.trim(),
                    path.display()
                )));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => fs::write(&path, owner)?,
            Err(error) => return Err(error),
        }
        if let Err(error) = share::share(&self.0) {
            let root = self.0.display();
            tracing::warn!(%root, %error, "mounts below the kubelet's root do not propagate: volumes of CSI drivers in pods cannot be mounted");
        }
        Ok(())
    }

    /// Where on this machine that is which a pod or a plugin calls `path`.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(WELL_KNOWN) {
            Ok(below) if below.as_os_str().is_empty() => self.0.clone(),
            Ok(below) => self.0.join(below),
            Err(_) => path.to_owned(),
        }
    }

    /// How he names the root who calls his socket `endpoint`.
    pub(crate) fn naming(&self, endpoint: &Path) -> Naming {
        let other = Path::new(WELL_KNOWN) != self.0;
        match other && endpoint.starts_with(WELL_KNOWN) {
            true => Naming::WellKnown,
            false => Naming::Own,
        }
    }

    /// What `path`, of this machine, is called by whoever names the root so.
    pub(crate) fn called(&self, path: &Path, naming: Naming) -> PathBuf {
        match (naming, path.strip_prefix(&self.0)) {
            (Naming::WellKnown, Ok(below)) => Path::new(WELL_KNOWN).join(below),
            _ => path.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_root_is_the_nodes_own() {
        let own = Root::new("/data/kubelet".into());
        let usual = Root::new(WELL_KNOWN.into());
        for (path, wanted) in [
            ("/var/lib/kubelet", "/data/kubelet"),
            ("/var/lib/kubelet/", "/data/kubelet"),
            ("/var/lib/kubelet/pods", "/data/kubelet/pods"),
            ("/var/lib/kubelets", "/var/lib/kubelets"),
            ("/var/lib", "/var/lib"),
        ] {
            assert_eq!(own.resolve(Path::new(path)), Path::new(wanted), "{path}");
            let same = path.trim_end_matches('/');
            assert_eq!(usual.resolve(Path::new(path)), Path::new(same), "{path}");
        }
    }

    #[test]
    fn drivers_are_told_paths_as_they_name_their_own() {
        let own = Root::new("/data/kubelet".into());
        let target = Path::new("/data/kubelet/pods/u1/mount");
        for (endpoint, wanted) in [
            (
                "/var/lib/kubelet/plugins/d/csi.sock",
                "/var/lib/kubelet/pods/u1/mount",
            ),
            (
                "/data/kubelet/plugins/d/csi.sock",
                "/data/kubelet/pods/u1/mount",
            ),
            ("/run/d.sock", "/data/kubelet/pods/u1/mount"),
        ] {
            let naming = own.naming(Path::new(endpoint));
            assert_eq!(own.called(target, naming), Path::new(wanted), "{endpoint}");
        }
        let usual = Root::new(WELL_KNOWN.into());
        let endpoint = Path::new("/var/lib/kubelet/plugins/d/csi.sock");
        assert_eq!(usual.naming(endpoint), Naming::Own);
    }
}
