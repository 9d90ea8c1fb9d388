//! The plugins of each profile: a pod is scheduled by those of the scheduler that it names.

use super::{Change, ClusterEvent, DeviceEvent, Filter, Rejectors, Reserve, Score, VolumeEvent};
use crate::{config::Profile, plugins::default_preemption::DefaultPreemption, pod_info::PodInfo};

/// The plugins of a profile.
pub struct Plugins {
    pub scheduler_name: String,
    /// In the order in which nodes are filtered.
    pub filters: Vec<Box<dyn Filter>>,
    /// Places in `filters`, in the order in which PreFilter runs.
    pub pre_filters: Vec<usize>,
    pub scores: Vec<Scorer>,
    /// Makes room where there is none (upstream's PostFilter).
    pub preemption: Option<DefaultPreemption>,
    /// Take something for a pod, and have it made ready before it is bound. They are among the filters too.
    pub reserves: Vec<Box<dyn Reserve>>,
    /// Of 100 nodes, how many that fit are enough; 0: fewer in large clusters.
    pub percentage_of_nodes_to_score: usize,
    /// Whether nobody ranks nodes: then the first that fits is as good as any.
    pub first_is_best: bool,
}

/// A plugin that ranks, and how much that counts.
pub struct Scorer {
    pub plugin: Box<dyn Score>,
    pub weight: i64,
}

/// All plugins that there are.
pub struct Parts {
    /// Those that upstream does not know are not configured: they run first.
    pub filters: Vec<Box<dyn Filter>>,
    pub scores: Vec<Box<dyn Score>>,
    pub preemption: DefaultPreemption,
    /// In the order in which they take and make ready.
    pub reserves: Vec<Box<dyn Reserve>>,
}

impl Plugins {
    /// Those that a profile runs, in its order.
    pub fn new(profile: &Profile, parts: Parts, has_extenders: bool) -> Self {
        let (own, known): (Vec<_>, Vec<_>) = (parts.filters.into_iter())
            .partition(|filter| !Profile::default().filters.contains(&filter.name()));
        let mut filters = own;
        let unconfigured = filters.len();
        filters.extend(in_order(known, &profile.filters, |filter| filter.name()));
        let place = |name: &&str| filters.iter().position(|filter| filter.name() == *name);
        let pre_filters = profile.pre_filters.iter().filter_map(place);
        let pre_filters = (0..unconfigured).chain(pre_filters).collect();
        let names: Vec<_> = profile.scores.iter().map(|(name, _)| *name).collect();
        let scores = in_order(parts.scores, &names, |score| score.name());
        let weight = |name: &str| {
            let found = profile.scores.iter().find(|(score, _)| *score == name);
            found.map_or(1, |(_, weight)| *weight)
        };
        let scores = scores.into_iter().map(|plugin| Scorer {
            weight: weight(plugin.name()),
            plugin,
        });
        let mut reserves = parts.reserves;
        reserves.retain(|plugin| profile.filters.contains(&plugin.name()));
        Self {
            scheduler_name: profile.scheduler_name.clone(),
            pre_filters,
            scores: scores.collect(),
            preemption: profile.preempts.then_some(parts.preemption),
            reserves,
            percentage_of_nodes_to_score: profile.percentage_of_nodes_to_score,
            first_is_best: profile.scores.is_empty() && !has_extenders,
            filters,
        }
    }
}

/// Those that are named, in the order of the names.
fn in_order<T>(mut all: Vec<T>, names: &[&str], name_of: impl Fn(&T) -> &'static str) -> Vec<T> {
    let place = |one: &T| names.iter().position(|name| *name == name_of(one));
    all.retain(|one| place(one).is_some());
    all.sort_by_key(|one| place(one));
    all
}

/// The profiles of a scheduler, never none.
pub struct Profiles {
    all: Vec<Plugins>,
}

impl Profiles {
    /// `all`: not empty.
    pub fn new(all: Vec<Plugins>) -> Self {
        debug_assert!(!all.is_empty(), "a scheduler has a name");
        Self { all }
    }

    pub fn iter(&self) -> impl Iterator<Item = &Plugins> {
        self.all.iter()
    }

    /// Whether pods that name such a scheduler are ours.
    pub fn has(&self, scheduler_name: &str) -> bool {
        self.all.iter().any(|p| p.scheduler_name == scheduler_name)
    }

    /// The plugins of a pod's profile; of one that is nobody's, those of the first.
    pub fn of(&self, pod: &PodInfo) -> &Plugins {
        let name = pod.scheduler_name();
        let found = self.all.iter().find(|p| p.scheduler_name == name);
        found.unwrap_or(&self.all[0])
    }

    #[cfg(test)]
    pub fn into_only(mut self) -> Plugins {
        assert_eq!(self.all.len(), 1, "there is one profile");
        self.all.remove(0)
    }

    /// Has all look again who wait for what is made ready for their pods.
    pub fn wake_reserved(&self) {
        let reserves = self.all.iter().flat_map(|plugins| &plugins.reserves);
        reserves.for_each(|plugin| plugin.wake());
    }

    /// Whether such a change may help any pod that `rejectors` ruled out, whatever its profile.
    pub fn may_help(&self, rejectors: Rejectors, change: Change) -> bool {
        let mut all = self.all.iter();
        all.any(|plugins| plugins.may_help(rejectors, change))
    }

    /// Whether an event helps a pod that `rejectors` ruled out.
    pub fn helps(&self, rejectors: Rejectors, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        self.of(pod).helps(rejectors, pod, event)
    }

    /// Whether a change of claims, volumes or classes helps a pod that `rejectors` ruled out.
    pub fn volumes_help(
        &self,
        rejectors: Rejectors,
        pod: &PodInfo,
        event: &VolumeEvent<'_>,
    ) -> bool {
        self.of(pod).volumes_help(rejectors, pod, event)
    }

    /// Whether a change of claims of devices, slices or classes helps a pod that `rejectors` ruled out.
    pub fn devices_help(
        &self,
        rejectors: Rejectors,
        pod: &PodInfo,
        event: &DeviceEvent<'_>,
    ) -> bool {
        self.of(pod).devices_help(rejectors, pod, event)
    }
}

impl From<Plugins> for Profiles {
    fn from(only: Plugins) -> Self {
        Self::new(vec![only])
    }
}
