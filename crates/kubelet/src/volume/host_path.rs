//! `hostPath` volumes: the node's own files, checked against the declared type.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::HostPathVolumeSource;

use super::{Error, MountedVolume, Target, VolumeType, within};

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
    let checking = within(target.pod, move || Ok(check(&place, &own)));
    let checked = checking
        .await
        .unwrap_or_else(|error| Err(error.to_string()));
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
    let (kind, noun) = match wanted {
        "Directory" | "DirectoryOrCreate" => ("Directory", "directory"),
        "File" | "FileOrCreate" => ("File", "file"),
        "Socket" => ("Socket", "socket file"),
        "CharDevice" => ("CharDevice", "character device"),
        "BlockDevice" => ("BlockDevice", "block device"),
        _ => return Err(format!("{wanted} is an invalid volume type")),
    };
    let place = &source.path;
    match kind_of(path, place) {
        Ok(found) if found == kind => Ok(()),
        Ok(found) => Err(format!(
            "hostPath type check failed: {place} is not a {noun}, it's a {found}"
        )),
        Err(why) => Err(format!(
            "hostPath type check failed, {place} is not a {noun}, unable to determine its type: {why}"
        )),
    }
}

/// What a path is, as a volume would declare it; `place` is what errors call it.
fn kind_of(path: &Path, place: &str) -> Result<&'static str, String> {
    let kind = match fs::metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!("path \"{place}\" does not exist"));
        }
        Err(error) => return Err(error.to_string()),
    };
    match () {
        () if kind.is_socket() => Ok("Socket"),
        () if kind.is_block_device() => Ok("BlockDevice"),
        () if kind.is_char_device() => Ok("CharDevice"),
        () if kind.is_dir() => Ok("Directory"),
        () if kind.is_file() => Ok("File"),
        () => Err(
            "only recognise file, directory, socket, block device and character device".to_owned(),
        ),
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
        let fails = |noun: &str, is: &str| {
            let why = format!("hostPath type check failed: /p is not a {noun}, it's a {is}");
            Err(why)
        };
        let missing = |noun: &str| {
            Err(format!(
                "hostPath type check failed, /p is not a {noun}, unable to determine its type: path \"/p\" does not exist"
            ))
        };
        // What is to be there is not made.
        assert_eq!(at(&directory, "Directory"), missing("directory"));
        assert_eq!(at(&file, "File"), missing("file"));
        assert_eq!(at(&directory, ""), Ok(()));
        assert!(!directory.exists() && !file.exists());
        assert_eq!(at(&directory, "DirectoryOrCreate"), Ok(()));
        assert_eq!(at(&file, "FileOrCreate"), Ok(()));
        for (path, kind, wanted) in [
            (&directory, "Directory", Ok(())),
            (&file, "File", Ok(())),
            (&socket, "Socket", Ok(())),
            (&file, "Directory", fails("directory", "File")),
            (&directory, "FileOrCreate", fails("file", "Directory")),
            (&file, "Socket", fails("socket file", "File")),
            (&file, "BlockDevice", fails("block device", "File")),
            (&file, "CharDevice", fails("character device", "File")),
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
