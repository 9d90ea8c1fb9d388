//! Counters that devices of a pool share: parts of one piece of hardware that exclude each other (upstream's partitionable devices).

use std::collections::{BTreeMap, HashMap};

use knarr_meta::Quantity;

use crate::{inventory::Device, pools::Pool, usage::Usage};

/// A counter of a pool: its place, its set, its name.
type Key<'i> = (usize, &'i str, &'i str);

/// What is left of the counters of pools.
#[derive(Default)]
pub(crate) struct Counters<'i> {
    /// By the place of the pool: computed when it is first asked for.
    left: HashMap<usize, BTreeMap<Key<'i>, Quantity>>,
}

impl<'i> Counters<'i> {
    /// Takes what a device consumes. Whether there is enough; nothing is taken otherwise.
    pub fn take(
        &mut self,
        place: usize,
        pool: &Pool<'i>,
        device: &'i Device,
        usage: &Usage,
    ) -> bool {
        let left = self
            .left
            .entry(place)
            .or_insert_with(|| left_of(place, pool, usage));
        change(left, place, device, |left, amount| *left -= amount);
        let overdrawn = left.values().any(Quantity::is_negative);
        if overdrawn {
            change(left, place, device, |left, amount| *left += amount);
        }
        !overdrawn
    }

    /// Gives back what [`Counters::take`] took.
    pub fn give_back(&mut self, place: usize, device: &'i Device) {
        if let Some(left) = self.left.get_mut(&place) {
            change(left, place, device, |left, amount| *left += amount);
        }
    }
}

fn change<'i>(
    left: &mut BTreeMap<Key<'i>, Quantity>,
    place: usize,
    device: &'i Device,
    by: impl Fn(&mut Quantity, Quantity),
) {
    for (set, amounts) in &device.consumes {
        for (name, amount) in amounts {
            if let Some(left) = left.get_mut(&(place, set.as_str(), name.as_str())) {
                by(left, *amount);
            }
        }
    }
}

/// What the devices in use leave, those of other nodes too.
fn left_of<'i>(place: usize, pool: &Pool<'i>, usage: &Usage) -> BTreeMap<Key<'i>, Quantity> {
    let mut left = BTreeMap::new();
    for (set, counters) in &pool.counters {
        for (name, amount) in *counters {
            left.insert((place, *set, name.as_str()), *amount);
        }
    }
    let slices = pool.slices.iter().chain(&pool.elsewhere);
    let devices = slices.flat_map(|slice| &slice.devices);
    for device in devices.filter(|device| usage.is_used(&device.id)) {
        change(&mut left, place, device, |left, amount| *left -= amount);
    }
    left
}
