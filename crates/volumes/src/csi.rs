//! Volumes of CSI drivers, by the names that nodes, controllers and drivers know them by.

use std::fmt::Write;

use k8s_openapi::api::core::v1::{CSIPersistentVolumeSource, PersistentVolume};
use k8s_openapi::api::storage::v1::CSIDriver;
use sha2::{Digest, Sha256};

/// How names of such volumes begin in a node's status.
const PLUGIN: &str = "kubernetes.io/csi/";
/// Between a driver's name, which cannot have it, and the driver's own name for the volume.
const SEPARATOR: char = '^';
/// How names of attachments begin that upstream's controller makes.
const ATTACHMENT: &str = "csi-";
const DIGEST_BYTES: usize = 32;

/// What a volume of a CSI driver is to the driver.
pub fn source(volume: &PersistentVolume) -> Option<&CSIPersistentVolumeSource> {
    volume.spec.as_ref()?.csi.as_ref()
}

/// The volume's name in `volumesInUse` and `volumesAttached` of a node.
pub fn unique_name(driver: &str, handle: &str) -> String {
    format!("{PLUGIN}{driver}{SEPARATOR}{handle}")
}

/// Driver and handle of a name in a node's status; `None` for volumes of other kinds.
pub fn split_unique_name(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix(PLUGIN)?.split_once(SEPARATOR)
}

/// The name of the VolumeAttachment of a volume and a node: who looks for it need not list.
pub fn attachment_name(driver: &str, handle: &str, node: &str) -> String {
    let digest = Sha256::digest(format!("{handle}{driver}{node}"));
    let mut name = String::with_capacity(ATTACHMENT.len() + 2 * DIGEST_BYTES);
    name.push_str(ATTACHMENT);
    for byte in digest {
        // Writing to a string does not fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Whether a name may be one of [`attachment_name`].
pub fn is_attachment_name(name: &str) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    name.strip_prefix(ATTACHMENT)
        .is_some_and(|rest| rest.len() == 2 * DIGEST_BYTES && rest.bytes().all(is_digit))
}

/// Whether volumes of a driver have to be attached to a node before it can mount them. A driver that has not introduced itself
/// may need it.
pub fn needs_attachment(driver: Option<&CSIDriver>) -> bool {
    driver.is_none_or(|driver| driver.spec.attach_required != Some(false))
}

#[cfg(test)]
mod tests;
