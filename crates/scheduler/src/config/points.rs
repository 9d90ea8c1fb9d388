//! Which plugins there are, and at which extension points each one runs.

/// An extension point of a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
    PlacementGenerate,
    PlacementScore,
    PodGroupPostFilter,
}

use Point::{
    Bind, Filter, Permit, PlacementGenerate, PlacementScore, PodGroupPostFilter, PostBind,
    PostFilter, PreBind, PreEnqueue, PreFilter, PreScore, QueueSort, Reserve, Score,
};

pub const ALL: [Point; 15] = [
    PreEnqueue,
    QueueSort,
    PreFilter,
    Filter,
    PostFilter,
    PreScore,
    Score,
    Reserve,
    Permit,
    PreBind,
    Bind,
    PostBind,
    PlacementGenerate,
    PlacementScore,
    PodGroupPostFilter,
];

impl Point {
    /// Its field in `plugins`.
    pub fn field(self) -> &'static str {
        match self {
            PreEnqueue => "preEnqueue",
            QueueSort => "queueSort",
            PreFilter => "preFilter",
            Filter => "filter",
            PostFilter => "postFilter",
            PreScore => "preScore",
            Score => "score",
            Reserve => "reserve",
            Permit => "permit",
            PreBind => "preBind",
            Bind => "bind",
            PostBind => "postBind",
            PlacementGenerate => "placementGenerate",
            PlacementScore => "placementScore",
            PodGroupPostFilter => "podGroupPostFilter",
        }
    }

    /// The name of upstream's interface, which its errors show.
    pub fn interface(self) -> String {
        let field = self.field();
        let (first, rest) = field.split_at(1);
        format!("{}{rest}Plugin", first.to_uppercase())
    }
}

/// A plugin of upstream's registry.
pub struct Known {
    pub name: &'static str,
    /// In the default profile, 0 where it does not score.
    pub weight: i32,
    pub points: &'static [Point],
    /// Its PreFilter only prepares: without its Filter it does nothing.
    pub only_prepares: bool,
}

/// A plugin whose PreFilter, if it has one, only prepares.
const fn plugin(name: &'static str, weight: i32, points: &'static [Point]) -> Known {
    Known {
        name,
        weight,
        points,
        only_prepares: true,
    }
}

/// A plugin whose PreFilter rules nodes out by itself.
const fn deciding(name: &'static str, weight: i32, points: &'static [Point]) -> Known {
    Known {
        only_prepares: false,
        ..plugin(name, weight, points)
    }
}

/// The plugins of the default profile, in its order (upstream `getDefaultPlugins`).
pub const DEFAULT: [Known; 20] = [
    plugin("SchedulingGates", 0, &[PreEnqueue]),
    plugin("PrioritySort", 0, &[QueueSort]),
    plugin("NodeName", 0, &[PreFilter, Filter]),
    plugin("NodeUnschedulable", 0, &[PreFilter, Filter]),
    plugin("TaintToleration", 3, &[PreFilter, Filter, PreScore, Score]),
    deciding("NodeAffinity", 2, &[PreFilter, Filter, PreScore, Score]),
    plugin("NodePorts", 0, &[PreFilter, Filter]),
    plugin("NodeResourcesFit", 1, &[PreFilter, Filter, PreScore, Score]),
    deciding("VolumeRestrictions", 0, &[PreFilter, Filter]),
    plugin("NodeVolumeLimits", 0, &[PreFilter, Filter]),
    deciding(
        "VolumeBinding",
        1,
        &[PreFilter, Filter, PreScore, Score, Reserve, PreBind],
    ),
    deciding("VolumeZone", 0, &[PreFilter, Filter]),
    plugin(
        "PodTopologySpread",
        2,
        &[PreFilter, Filter, PreScore, Score],
    ),
    plugin("InterPodAffinity", 2, &[PreFilter, Filter, PreScore, Score]),
    deciding(
        "DynamicResources",
        2,
        &[
            PreEnqueue, PreFilter, Filter, PostFilter, Score, Reserve, PreBind,
        ],
    ),
    plugin("DefaultPreemption", 0, &[PreEnqueue, PostFilter]),
    plugin("NodeResourcesBalancedAllocation", 1, &[PreScore, Score]),
    plugin("ImageLocality", 1, &[Score]),
    plugin("DefaultBinder", 0, &[Bind]),
    plugin("NodeDeclaredFeatures", 0, &[PreFilter, Filter]),
];

/// A plugin by its name.
pub fn find(name: &str) -> Option<&'static Known> {
    DEFAULT.iter().find(|known| known.name == name)
}
