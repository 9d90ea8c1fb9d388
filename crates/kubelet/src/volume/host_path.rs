//! `hostPath` volumes: the node's own files, checked against the declared type.

use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

use k8s_openapi::api::core::v1::HostPathVolumeSource;

/// Checks, and creates where the type says so; the message is upstream's.
pub(super) fn check(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
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
