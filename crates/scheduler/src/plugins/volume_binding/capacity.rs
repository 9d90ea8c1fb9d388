//! Where there is room for volumes: nodes that have too little are ruled out, those that keep the most are preferred.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::api::{
    core::v1::{Node, PersistentVolumeClaim},
    storage::v1::{CSIStorageCapacity, StorageClass},
};
use knarr_meta::{Quantity, labels::Selector};
use knarr_volumes::{claim, volume};

use super::{Binding, VolumeBinding};
use crate::{
    framework::{MAX_SCORE, Score, ScoreState},
    plugins::csi::{OfClass, largest},
    pod_info::PodInfo,
    snapshot::{NodeInfo, Snapshot},
};

/// What is asked of a class, and what it has.
#[derive(Clone, Copy, Default)]
struct Room {
    requested: i64,
    capacity: i64,
}

impl Room {
    /// The less of it is used, the better; nothing where it is too small, or unknown.
    fn score(self) -> i64 {
        if self.capacity <= 0 || self.requested > self.capacity {
            return 0;
        }
        let scaled = i128::from(self.requested).saturating_mul(MAX_SCORE.into());
        let used = scaled.checked_div(self.capacity.into()).unwrap_or(0);
        MAX_SCORE.saturating_sub(i64::try_from(used).unwrap_or(MAX_SCORE))
    }
}

/// The mean of the classes' scores, rounded.
fn mean(rooms: &BTreeMap<String, Room>) -> i64 {
    let sum: i64 = rooms.values().map(|room| room.score()).sum();
    let count = i64::try_from(rooms.len()).unwrap_or(i64::MAX);
    let doubled = sum.saturating_mul(2).saturating_add(count);
    doubled.checked_div(count.saturating_mul(2)).unwrap_or(0)
}

impl VolumeBinding {
    /// Whether there is room for the claim's volume on a node. Drivers say so that track it; of others there always is.
    pub(super) fn has_room(
        &self,
        wanting: &PersistentVolumeClaim,
        class: &StorageClass,
        node: &Node,
    ) -> bool {
        let tracked = self.is_tracked(class) && !claim::requested(wanting).is_zero();
        !tracked || self.room(wanting, class, node).is_some()
    }

    /// Whether the class' driver says what room it has.
    fn is_tracked(&self, class: &StorageClass) -> bool {
        let driver = self.csi.drivers.get("", &class.provisioner);
        driver.is_some_and(|driver| driver.spec.storage_capacity == Some(true))
    }

    /// What there is on a node that the claim's volume fits into, where that is tracked.
    fn room(
        &self,
        wanting: &PersistentVolumeClaim,
        class: &StorageClass,
        node: &Node,
    ) -> Option<Arc<CSIStorageCapacity>> {
        let size = claim::requested(wanting);
        if size.is_zero() || !self.is_tracked(class) {
            return None;
        }
        let class = OfClass(claim::class(wanting).to_owned());
        let rooms = self.csi.capacities.by_index(&class).into_iter();
        let mut fitting = rooms.filter(|room| {
            largest(room).is_some_and(|largest| largest >= size) && is_reachable(room, node)
        });
        fitting.next()
    }

    /// What each class has on a node, and what the pod asks of it: of volumes that are there, or else of what is made.
    fn rooms(&self, bindings: &[Binding], node: &Node) -> BTreeMap<String, Room> {
        let mut rooms: BTreeMap<String, Room> = BTreeMap::new();
        let mut made: BTreeMap<String, Room> = BTreeMap::new();
        for binding in bindings {
            match binding {
                Binding::Static(volume, claim) => {
                    let room = rooms.entry(volume::class(volume).to_owned()).or_default();
                    let requested = claim::requested(claim).value();
                    room.requested = room.requested.saturating_add(requested);
                    let capacity = volume::capacity(volume).value();
                    room.capacity = room.capacity.saturating_add(capacity);
                }
                Binding::Provisioned(claim) => {
                    let class = self.classes.get("", claim::class(claim));
                    let found = class.and_then(|class| self.room(claim, &class, node));
                    let Some(found) = found else {
                        continue;
                    };
                    let capacity = found.capacity.as_ref();
                    let capacity = capacity.and_then(|size| Quantity::parse(&size.0).ok());
                    let room = made.entry(claim::class(claim).to_owned()).or_default();
                    let requested = claim::requested(claim).value();
                    room.requested = room.requested.saturating_add(requested);
                    // All of the class' volumes are made from the same room.
                    room.capacity = capacity.map_or(0, |capacity| capacity.value());
                }
            }
        }
        if rooms.is_empty() { made } else { rooms }
    }
}

fn is_reachable(room: &CSIStorageCapacity, node: &Node) -> bool {
    let topology = room.node_topology.as_ref();
    let selector = topology.and_then(|topology| Selector::from_label_selector(topology).ok());
    selector.is_some_and(|selector| selector.matches_option(node.metadata.labels.as_ref()))
}

impl Score for Arc<VolumeBinding> {
    fn name(&self) -> &'static str {
        "VolumeBinding"
    }

    fn pre_score(&self, pod: &PodInfo, _: &Snapshot, _: &[&NodeInfo], _: &mut ScoreState) -> bool {
        !pod.claims.is_empty() && self.needs(pod).is_ok_and(|needs| !needs.delayed.is_empty())
    }

    fn score(&self, pod: &PodInfo, node: &NodeInfo, _: &ScoreState) -> i64 {
        let (Ok(needs), Some(node)) = (self.needs(pod), node.node.as_deref()) else {
            return 0;
        };
        match self.bindings(&needs.delayed, node) {
            Ok(bindings) => mean(&self.rooms(&bindings, node)),
            Err(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
