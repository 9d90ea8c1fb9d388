//! `hostPath` volumes: the node's own files, checked against the declared type.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{Error, MountedVolume, Target, VolumeType};

pub(super) struct HostPath;

#[async_trait]
impl VolumeType for HostPath {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let source = target.volume.host_path.as_ref()?;
        Some(setup(target, &target.volume.name, source).await)
    }
}

/// Sets up a place of the node's own, named by a pod or by a PersistentVolume; `name` is what errors call it. What upstream's
/// kubelet has below its root is below this one's.
pub(super) async fn setup(
    target: &Target<'_>,
    name: &str,
    source: &HostPathVolumeSource,
) -> Result<MountedVolume, Error> {
    let path = target.ctx.config.root().resolve(Path::new(&source.path));
    let (place, own) = (path.clone(), source.clone());
    let checked = tokio::task::spawn_blocking(move || check(&place, &own)).await;
    let checked = checked.unwrap_or_else(|error| Err(error.to_string()));
    checked
        .map(|()| MountedVolume::writable(path))
        .map_err(|message| Error::set_up(name, message))
}

/// Checks, and creates where the type says so; the message is upstream's.
fn check(path: &Path, source: &HostPathVolumeSource) -> Result<(), String> {
    let wanted = source.type_.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(());
    }
    create(path, wanted).map_err(|error| error.to_string())?;
    let kind = fs::metadata(path).map(|m| m.file_type()).ok();
    let fits = kind.is_some_and(|kind| match wanted {
        "Directory" | "DirectoryOrCreate" => kind.is_dir(),
        "File" | "FileOrCreate" => kind.is_file(),
        "Socket" => kind.is_socket(),
        "CharDevice" => kind.is_char_device(),
        "BlockDevice" => kind.is_block_device(),
        _ => false,
    });
    let noun = match wanted {
        "Directory" | "DirectoryOrCreate" => "directory",
        "File" | "FileOrCreate" => "file",
        "Socket" => "socket file",
        "CharDevice" => "character device",
        "BlockDevice" => "block device",
        _ => return Err(format!("{wanted} is an invalid volume type")),
    };
    if fits {
        Ok(())
    } else {
        Err(format!(
            "hostPath type check failed: {} is not a {noun}",
            source.path
        ))
    }
}

fn create(path: &Path, wanted: &str) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    match wanted {
        "DirectoryOrCreate" => {
            fs::create_dir_all(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        }
        "FileOrCreate" => {
            fs::File::create_new(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o644))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_of_the_type_that_was_declared() {
        let dir = tempfile::tempdir().unwrap();
        let (directory, file) = (dir.path().join("d"), dir.path().join("f"));
        let socket = dir.path().join("s");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let at = |path: &Path, kind: &str| {
            let source = HostPathVolumeSource {
                path: "/p".to_owned(),
                type_: Some(kind.to_owned()),
            };
            check(path, &source)
        };
        let fails = |noun: &str| Err(format!("hostPath type check failed: /p is not a {noun}"));
        // What is to be there is not made.
        assert_eq!(at(&directory, "Directory"), fails("directory"));
        assert_eq!(at(&file, "File"), fails("file"));
        assert_eq!(at(&directory, ""), Ok(()));
        assert!(!directory.exists() && !file.exists());
        assert_eq!(at(&directory, "DirectoryOrCreate"), Ok(()));
        assert_eq!(at(&file, "FileOrCreate"), Ok(()));
        for (path, kind, wanted) in [
            (&directory, "Directory", Ok(())),
            (&file, "File", Ok(())),
            (&socket, "Socket", Ok(())),
            (&file, "Directory", fails("directory")),
            (&directory, "FileOrCreate", fails("file")),
            (&file, "Socket", fails("socket file")),
            (&file, "BlockDevice", fails("block device")),
            (&file, "CharDevice", fails("character device")),
            (
                &file,
                "Odd",
                Err("Odd is an invalid volume type".to_owned()),
            ),
        ] {
            assert_eq!(at(path, kind), wanted, "{kind}");
        }
        assert_eq!(at(Path::new("/dev/null"), "CharDevice"), Ok(()));
    }
}
