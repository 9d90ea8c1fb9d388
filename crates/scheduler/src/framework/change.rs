//! What happens to nodes and to the pods on them.

/// What happened to a node, or to a pod on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    NodeAdded,
    NodeRemoved,
    NodeLabels,
    NodeTaints,
    NodeUncordoned,
    NodeAllocatable,
    /// What its kubelet declares to be able to do.
    NodeFeatures,
    /// A pod was bound to it.
    PodAdded,
    /// The labels of a pod on it changed.
    PodLabels,
    /// A pod on it ended, was deleted, could not be bound, takes less than before, or is nominated to it no longer.
    PodRemoved,
}

impl Change {
    /// As upstream's metrics have it.
    pub fn label(self) -> &'static str {
        match self {
            Self::NodeAdded => "NodeAdd",
            Self::NodeRemoved => "NodeDelete",
            Self::NodeLabels => "NodeUpdateNodeLabel",
            // A cordon is known by its taint there.
            Self::NodeTaints | Self::NodeUncordoned => "NodeUpdateNodeTaint",
            Self::NodeAllocatable => "NodeUpdateNodeAllocatable",
            Self::NodeFeatures => "NodeUpdateNodeDeclaredFeature",
            Self::PodAdded => "AssignedPodAdd",
            Self::PodLabels => "AssignedPodUpdatePodLabel",
            Self::PodRemoved => "AssignedPodDelete",
        }
    }
}
