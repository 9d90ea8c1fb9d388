//! What happens in the cluster that may let a pod fit that was ruled out.

use std::sync::Arc;

use k8s_openapi::api::{core::v1::Node, resource::v1::ResourceClaim};

use super::change::Change;
use crate::{pod_info::PodInfo, snapshot::NodeInfo};

/// Something that may let a pod fit that did not before.
#[derive(Clone, Copy)]
pub struct ClusterEvent<'a> {
    pub change: Change,
    /// As it is now; of a node that was removed, as it was.
    pub node: &'a NodeInfo,
    /// As it was, where the node itself changed.
    pub before: Option<&'a Node>,
    /// The pods nominated to it, as it is now.
    pub nominated: &'a [Arc<PodInfo>],
    /// The pod that was added, changed or removed.
    pub pod: Option<&'a PodInfo>,
    /// As it was, where its labels changed.
    pub pod_before: Option<&'a PodInfo>,
}

impl<'a> ClusterEvent<'a> {
    /// A change of the node itself.
    pub fn of_node(change: Change, node: &'a NodeInfo, before: Option<&'a Node>) -> Self {
        Self {
            change,
            node,
            before,
            nominated: &[],
            pod: None,
            pod_before: None,
        }
    }

    /// A change of a pod on the node.
    pub fn of_pod(change: Change, node: &'a NodeInfo, pod: &'a PodInfo) -> Self {
        Self {
            change,
            node,
            before: None,
            nominated: &[],
            pod: Some(pod),
            pod_before: None,
        }
    }

    /// The pod that was removed.
    pub fn freed(&self) -> Option<&'a PodInfo> {
        self.pod.filter(|_| self.change == Change::PodRemoved)
    }
}

/// A claim, a volume or a class came or changed, or something of a driver's.
#[derive(Clone, Copy, Debug)]
pub enum VolumeEvent<'a> {
    Claim {
        namespace: &'a str,
        name: &'a str,
    },
    Volume,
    Class,
    /// A driver came to a node, has more room, or asks for less; a volume was detached.
    Csi,
}

/// A claim of devices changed, or what devices there are.
#[derive(Clone, Copy, Debug)]
pub enum DeviceEvent<'a> {
    /// As it was, where it was known before, and as it is, unless it is gone.
    Claim {
        old: Option<&'a ResourceClaim>,
        new: Option<&'a ResourceClaim>,
    },
    /// Slices, their taints, or classes.
    Devices,
}

impl VolumeEvent<'_> {
    /// As upstream's metrics have it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Claim { .. } => "PersistentVolumeClaimUpdate",
            Self::Volume => "PersistentVolumeUpdate",
            Self::Class => "StorageClassUpdate",
            Self::Csi => "CSINodeUpdate",
        }
    }
}

impl DeviceEvent<'_> {
    /// As upstream's metrics have it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Claim { old: None, .. } => "ResourceClaimAdd",
            Self::Claim { new: None, .. } => "ResourceClaimDelete",
            Self::Claim { .. } => "ResourceClaimUpdate",
            Self::Devices => "ResourceSliceUpdate",
        }
    }
}
