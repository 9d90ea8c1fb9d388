//! Runs the plugins of an extension point.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    Change, ClusterEvent, CycleState, DeviceEvent, Filter, FilterSet, Plugins, PreFilter, Reason,
    Refusal, Rejectors, Reservation, ScoreState, VolumeEvent,
};
use crate::{
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// What PreFilter found.
#[derive(Default)]
pub struct Prepared {
    pub state: CycleState,
    /// The only nodes that plugins want to be asked about, and which plugins say so.
    pub only: Option<(BTreeSet<String>, FilterSet)>,
}

impl Plugins {
    /// Runs PreFilter.
    ///
    /// # Errors
    /// The filter that rules out every node, and why.
    pub fn pre_filter(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
    ) -> Result<Prepared, (usize, Reason)> {
        let mut prepared = Prepared::default();
        let filters = self.pre_filters.iter();
        for (index, filter) in filters.filter_map(|at| Some((*at, self.filters.get(*at)?))) {
            match filter.pre_filter(pod, cluster, &mut prepared.state) {
                Ok(PreFilter::All) => {}
                Ok(PreFilter::Skip) => prepared.state.skipped.insert(index),
                Ok(PreFilter::Only(nodes)) => {
                    let (mut all, mut by) = match prepared.only.take() {
                        Some((before, by)) => (&before & &nodes, by),
                        None => (nodes, FilterSet::default()),
                    };
                    by.insert(index);
                    prepared.only = Some((std::mem::take(&mut all), by));
                }
                Err(why) => return Err((index, why)),
            }
        }
        Ok(prepared)
    }

    /// Runs Filter for one node.
    ///
    /// # Errors
    /// The first filter that rules it out, and why.
    pub fn filter(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
        state: &CycleState,
    ) -> Result<(), (usize, Refusal)> {
        for (index, filter) in self.filters.iter().enumerate() {
            if !state.skipped.contains(index) {
                let verdict = filter.filter(pod, node, state);
                verdict.map_err(|refusal| (index, refusal))?;
            }
        }
        Ok(())
    }

    /// Runs Filter for one node, as it will be once the pods of this or a higher priority that are nominated to it are
    /// there, and as it is: some plugins need what is there now (upstream `RunFilterPluginsWithNominatedPods`).
    ///
    /// # Errors
    /// As [`Plugins::filter`].
    pub fn filter_with_nominated(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
        state: &CycleState,
        cluster: &Snapshot,
    ) -> Result<(), (usize, Refusal)> {
        let before = |other: &&Arc<PodInfo>| other.priority >= pod.priority && other.uid != pod.uid;
        let nominated = cluster.nominated.to(node.name()).iter().filter(before);
        let mut with: Option<(NodeInfo, CycleState)> = None;
        for other in nominated {
            let (node, state) = with.get_or_insert_with(|| (node.clone(), state.clone()));
            node.add(other.clone());
            self.add_pod(pod, other, node, state);
        }
        if let Some((node, state)) = &with {
            self.filter(pod, node, state)?;
        }
        self.filter(pod, node, state)
    }

    /// Tells the state of a pod more on the node.
    pub fn add_pod(&self, pod: &PodInfo, added: &PodInfo, node: &NodeInfo, state: &mut CycleState) {
        for (_, filter) in self.asked(state.skipped) {
            filter.add_pod(pod, added, node, state);
        }
    }

    /// Tells the state of a pod less on the node.
    pub fn remove_pod(
        &self,
        pod: &PodInfo,
        removed: &PodInfo,
        node: &NodeInfo,
        state: &mut CycleState,
    ) {
        for (_, filter) in self.asked(state.skipped) {
            filter.remove_pod(pod, removed, node, state);
        }
    }

    /// Runs the scoring plugins; the total of each node. `each` is told what a plugin adds to it.
    pub fn score(
        &self,
        pod: &PodInfo,
        cluster: &Snapshot,
        nodes: &[&NodeInfo],
        mut each: impl FnMut(&'static str, &[i64]),
    ) -> Vec<i64> {
        let mut totals = vec![0; nodes.len()];
        let mut scores = Vec::with_capacity(nodes.len());
        let mut state = ScoreState::default();
        for scorer in &self.scores {
            let plugin = &scorer.plugin;
            if !plugin.pre_score(pod, cluster, nodes, &mut state) {
                continue;
            }
            scores.clear();
            scores.extend(nodes.iter().map(|node| plugin.score(pod, node, &state)));
            plugin.normalize(nodes, &state, &mut scores);
            for (total, score) in totals.iter_mut().zip(&mut scores) {
                *score = score.saturating_mul(scorer.weight);
                *total += *score;
            }
            each(plugin.name(), &scores);
        }
        totals
    }

    fn asked(&self, skipped: FilterSet) -> impl Iterator<Item = (usize, &dyn Filter)> {
        let filters = self.filters.iter().enumerate();
        filters
            .filter(move |(index, _)| !skipped.contains(*index))
            .map(|(index, filter)| (index, filter.as_ref()))
    }

    /// Some of the filters.
    pub fn of(&self, some: FilterSet) -> impl Iterator<Item = &dyn Filter> {
        let filters = self.filters.iter().enumerate();
        filters
            .filter(move |(index, _)| some.contains(*index))
            .map(|(_, filter)| filter.as_ref())
    }

    /// Whether such a change may help any pod that `rejectors` ruled out.
    pub fn may_help(&self, rejectors: Rejectors, change: Change) -> bool {
        anything_helps(rejectors) || self.of(rejectors).any(|f| f.changes().contains(&change))
    }

    /// Whether an event helps a pod that `rejectors` ruled out.
    pub fn helps(&self, rejectors: Rejectors, pod: &PodInfo, event: &ClusterEvent<'_>) -> bool {
        let asks = |f: &dyn Filter| f.changes().contains(&event.change) && f.helps(pod, event);
        anything_helps(rejectors) || self.of(rejectors).any(asks)
    }

    /// Whether a change of claims, volumes or classes helps a pod that `rejectors` ruled out.
    pub fn volumes_help(
        &self,
        rejectors: Rejectors,
        pod: &PodInfo,
        event: &VolumeEvent<'_>,
    ) -> bool {
        rejectors.has_extender() || self.of(rejectors).any(|f| f.volumes_help(pod, event))
    }

    /// Whether a change of claims of devices, slices or classes helps a pod that `rejectors` ruled out.
    pub fn devices_help(
        &self,
        rejectors: Rejectors,
        pod: &PodInfo,
        event: &DeviceEvent<'_>,
    ) -> bool {
        self.of(rejectors).any(|f| f.devices_help(pod, event))
    }

    /// Runs PreEnqueue: whether a pod is to be tried at all yet.
    ///
    /// # Errors
    /// The filter that says no, and why.
    pub fn pre_enqueue(&self, pod: &PodInfo) -> Result<(), (usize, Reason)> {
        let mut filters = self.filters.iter().enumerate();
        filters.try_for_each(|(index, filter)| filter.pre_enqueue(pod).map_err(|why| (index, why)))
    }

    /// Runs Reserve: takes what the pod needs besides room on the node.
    ///
    /// # Errors
    /// Why it cannot have it any more. Nothing is taken then.
    pub fn reserve(
        &self,
        pod: &PodInfo,
        node: &NodeInfo,
    ) -> Result<Vec<Box<dyn Reservation>>, String> {
        let taken = self.reserves.iter();
        let taken = taken.map(|plugin| plugin.reserve(pod, node));
        taken.filter_map(Result::transpose).collect()
    }
}

/// Where nobody ruled a node out there was none at all; what extenders wait for nobody knows.
fn anything_helps(rejectors: Rejectors) -> bool {
    rejectors.is_empty() || rejectors.has_extender()
}
