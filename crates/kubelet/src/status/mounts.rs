//! What a container sees of its volumes and whom it runs as.

use k8s_openapi::api::core::v1::{Container, ContainerUser, LinuxContainerUser, VolumeMountStatus};
use knarr_cri::v1;

use crate::worker::container::recursive_read_only;

/// The container's mounts; of a read-only one it is told whether what is mounted below it is so too, which depends on the runtime
/// (`supported`).
pub(super) fn of(container: &Container, supported: bool) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.volume_mounts.as_ref()?.iter().map(|mount| {
        // With what makes no sense it does not start.
        let recursive = recursive_read_only(mount, supported).unwrap_or(false);
        let recursive = if recursive { "Enabled" } else { "Disabled" };
        let read_only = mount.read_only.filter(|is| *is);
        VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only,
            recursive_read_only: read_only.map(|_| recursive.to_owned()),
        }
    });
    let mounts: Vec<_> = mounts.collect();
    (!mounts.is_empty()).then_some(mounts)
}

/// Whom the first process of the container was started as, where the runtime tells.
pub(super) fn user(status: &v1::ContainerStatus) -> Option<ContainerUser> {
    let linux = status.user.as_ref()?.linux.as_ref()?;
    Some(ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: linux.uid,
            gid: linux.gid,
            supplemental_groups: (!linux.supplemental_groups.is_empty())
                .then(|| linux.supplemental_groups.clone()),
        }),
    })
}
