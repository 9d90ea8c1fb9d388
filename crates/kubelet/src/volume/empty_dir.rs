//! `emptyDir` volumes: a directory, memory or huge pages, for the pod's life.

mod huge_pages;

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;

use super::{Error, MountedVolume, Target, VolumeType, blocking, mount, ownership};
use crate::{config::Config, resources};

const KIND: &str = "empty-dir";

pub(super) struct EmptyDir;

#[async_trait]
impl VolumeType for EmptyDir {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let source = target.volume.empty_dir.clone()?;
        let path = target.dir(KIND);
        let (place, fs_group) = (path.clone(), target.fs_group());
        let most = resources::pod_limits(target.pod).memory;
        let size = memory_size(&source, most, target.ctx.machine.memory_bytes);
        let error = |message| Error::set_up(&target.volume.name, message);
        let medium = source.medium.as_deref().unwrap_or_default();
        let medium = match huge_pages::page_size(medium, target.pod) {
            Ok(Some(page_size)) => Medium::HugePages { page_size },
            Ok(None) if medium == "Memory" => Medium::Memory { size },
            Ok(None) => Medium::Disk,
            Err(wrong) => return Some(Err(error(wrong.to_string()))),
        };
        let made = blocking(move || make(&place, medium, fs_group)).await;
        Some(made.map(|()| MountedVolume::writable(path)).map_err(error))
    }
}

/// Where a volume of a pod is.
pub(crate) fn path(config: &Config, uid: &str, volume: &str) -> PathBuf {
    super::directory_of(config, uid, KIND, volume)
}

/// How large a volume in memory is, in bytes: no larger than what its pod (`most`) and the node have, as upstream's
/// `calculateEmptyDirMemorySize`. `None` on a node whose memory could not be read.
fn memory_size(source: &EmptyDirVolumeSource, most: Option<i64>, node: i64) -> Option<i64> {
    let stated = source.size_limit.as_ref().and_then(resources::parse);
    let sizes = [stated.map(|quantity| quantity.value()), most, Some(node)];
    sizes.into_iter().flatten().filter(|size| *size > 0).min()
}

/// What a volume is on; sizes in bytes.
#[derive(Clone, Copy)]
enum Medium {
    Disk,
    Memory { size: Option<i64> },
    HugePages { page_size: i64 },
}

fn make(path: &Path, medium: Medium, fs_group: Option<i64>) -> io::Result<()> {
    let fresh = !path.exists();
    fs::create_dir_all(path)?;
    // What is mounted has the mode that the kernel gives its root; upstream leaves it.
    let mode = match medium {
        Medium::Memory { size } if !mount::is_mount(path)? => {
            mount::tmpfs(path, size)?;
            0o1777
        }
        Medium::HugePages { page_size } if !mount::is_mount(path)? => {
            mount::huge_pages(path, page_size)?;
            0o755
        }
        _ if fresh => 0o777,
        _ => return Ok(()),
    };
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    match fs_group {
        Some(group) => ownership::apply(path, group, true),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

    use super::*;

    #[test]
    fn the_mode_is_that_of_the_medium() {
        if !nix::unistd::geteuid().is_root() {
            return eprintln!("skipped: mounting needs root");
        }
        for (medium, wanted) in [
            (Medium::Memory { size: None }, 0o1777),
            (Medium::Disk, 0o777),
            (Medium::HugePages { page_size: 2 << 20 }, 0o755),
        ] {
            let known = fs::read_to_string("/proc/filesystems").unwrap();
            if matches!(medium, Medium::HugePages { .. }) && !known.contains("hugetlbfs") {
                eprintln!("not tested: huge pages, which this kernel has not");
                continue;
            }
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("volume");
            make(&path, medium, None).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
            assert_eq!(mode, wanted, "{mode:o}");
            mount::unmount_below(dir.path()).unwrap();
        }
    }

    #[test]
    fn memory_is_no_larger_than_what_the_pod_has() {
        let cases = [
            (None, None, 100, Some(100)),
            (None, Some(64), 100, Some(64)),
            (None, Some(200), 100, Some(100)),
            (Some("10"), Some(64), 100, Some(10)),
            (Some("80"), Some(64), 100, Some(64)),
            (Some("1Ki"), None, 100, Some(100)),
            (Some("0"), Some(64), 100, Some(64)),
            (None, Some(0), 100, Some(100)),
            (None, None, 0, None),
        ];
        for (limit, pod, node, wanted) in cases {
            let source = EmptyDirVolumeSource {
                size_limit: limit.map(|limit| Quantity(limit.to_owned())),
                ..Default::default()
            };
            let size = memory_size(&source, pod, node);
            assert_eq!(size, wanted, "{limit:?} {pod:?} {node}");
        }
    }
}
