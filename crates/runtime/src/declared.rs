//! Volumes that an image declares (`VOLUME`): directories that its programs expect to write to. A container has them below its own
//! root, where they begin with what the image has there, and can be written to also when the root cannot. Elsewhere they are plain
//! directories, made where the image has none: what is written to the root is the container's own anyway, so that nothing is copied.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use knarr_cri::v1;
use knarr_host::Directory;

use crate::Error;
use crate::images::ImageConfig;
use crate::owners;
use crate::users::Users;

/// Of one image.
const MAX_VOLUMES: usize = 128;
/// Of those that the image does not have as directories.
const MODE: u32 = 0o755;

/// A directory that stays writable.
#[derive(Debug, PartialEq, Eq)]
pub struct Declared {
    /// In the container.
    pub destination: PathBuf,
    /// On the host, in the container's root file system.
    pub source: PathBuf,
}

/// Makes what an image declares and no mount covers, and finds what has to stay writable: nothing of a container whose root can be
/// written to. What is made belongs to `users`, if they are not the host's.
pub fn volumes(
    rootfs: &Path,
    image: &ImageConfig,
    config: &v1::ContainerConfig,
    users: Option<&Users>,
) -> Result<Vec<Declared>, Error> {
    let declared = image.config.as_ref().and_then(|c| c.volumes.as_ref());
    let Some(declared) = declared else {
        return Ok(Vec::new());
    };
    if declared.len() > MAX_VOLUMES {
        return Err(Error::Unsupported(format!(
            "the image declares {} volumes, more than {MAX_VOLUMES}",
            declared.len()
        )));
    }
    let covered = |path: &Path| {
        let mut mounts = config.mounts.iter();
        mounts.any(|mount| path.starts_with(&mount.container_path))
    };
    let wanted = declared.keys().map(Path::new);
    let wanted = wanted.filter(|path| path.is_absolute() && path.parent().is_some());
    let stays_writable = is_read_only(config);
    let found = wanted.filter(|path| !covered(path)).filter_map(|path| {
        match one(rootfs, path, users) {
            Ok(found) => stays_writable.then_some(Ok(found)),
            // A file of the image, which can be written to as it is.
            Err(error) if !stays_writable && is_in_the_way(&error) => None,
            Err(error) => Some(Err(error)),
        }
    });
    let found: io::Result<Vec<Declared>> = found.collect();
    found.map_err(Error::io("make the volumes that the image declares"))
}

fn is_read_only(config: &v1::ContainerConfig) -> bool {
    let linux = config.linux.as_ref();
    let security = linux.and_then(|linux| linux.security_context.as_ref());
    security.is_some_and(|security| security.readonly_rootfs)
}

fn is_in_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists
    )
}

fn one(rootfs: &Path, path: &Path, users: Option<&Users>) -> io::Result<Declared> {
    let inside = path.strip_prefix("/").unwrap_or(path);
    let root = Directory::open(rootfs)?;
    root.make_directories_in_root(inside, MODE)?;
    if let Some(users) = users {
        owners::give_directory(&root, inside, users)?;
    }
    let opened = root.child_in_root(inside)?;
    Ok(Declared {
        destination: path.to_owned(),
        // Where links lead, within the root.
        source: fs::read_link(format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd()))?,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::images::ProcessConfig;

    fn declaring(paths: &[&str]) -> ImageConfig {
        let volumes = paths
            .iter()
            .map(|path| ((*path).to_owned(), serde_json::json!({})));
        ImageConfig {
            config: Some(ProcessConfig {
                volumes: Some(volumes.collect::<BTreeMap<_, _>>()),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn container(readonly_rootfs: bool) -> v1::ContainerConfig {
        let mount = v1::Mount {
            container_path: "/var/lib".to_owned(),
            ..Default::default()
        };
        let security = v1::LinuxContainerSecurityContext {
            readonly_rootfs,
            ..Default::default()
        };
        v1::ContainerConfig {
            mounts: vec![mount],
            linux: Some(v1::LinuxContainerConfig {
                security_context: Some(security),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_an_image_declares_is_there() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap();
        fs::create_dir(root.join("etc")).unwrap();
        fs::write(root.join("etc/app.conf"), "of the image").unwrap();
        let image = declaring(&["/data/db", "/var/lib/x", "/etc/app.conf", "/etc/app.conf/d"]);
        assert_eq!(volumes(&root, &image, &container(false), None).unwrap(), []);
        assert!(root.join("data/db").is_dir());
        assert!(!root.join("var").exists());
        let kept = fs::read_to_string(root.join("etc/app.conf")).unwrap();
        assert_eq!(kept, "of the image");
    }

    #[test]
    fn what_an_image_declares_stays_writable_unless_it_is_covered() {
        let home = tempfile::tempdir().unwrap();
        let root = home.path().canonicalize().unwrap().join("rootfs");
        fs::create_dir_all(root.join("srv/real")).unwrap();
        symlink("/srv/real", root.join("link")).unwrap();
        symlink("/srv/nothing", root.join("void")).unwrap();
        let image = declaring(&[
            "/data",
            "/link",
            "/void",
            "/var/lib",
            "/var/lib/x",
            "/",
            "relative",
        ]);
        let found = volumes(&root, &image, &container(true), None).unwrap();
        let wanted = |destination: &str, source: &str| Declared {
            destination: destination.into(),
            source: root.join(source),
        };
        assert_eq!(
            found,
            [
                wanted("/data", "data"),
                wanted("/link", "srv/real"),
                wanted("/void", "srv/nothing"),
            ]
        );
        assert!(root.join("data").is_dir());
        assert_eq!(volumes(&root, &image, &container(false), None).unwrap(), []);
        let many: Vec<String> = (0..=MAX_VOLUMES).map(|n| format!("/{n}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(volumes(&root, &declaring(&many), &container(true), None).is_err());
    }
}
