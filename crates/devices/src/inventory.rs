//! All devices that drivers have published, with what does not depend on a claim read once.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::Arc,
};

use k8s_openapi::api::resource::v1::{Counter, Device as ApiDevice, DeviceTaint, ResourceSlice};
use knarr_cel::devices::{Attribute, Device as Seen};

use crate::{
    capacity::{Capacity, parse},
    taints::DeviceTaintRule,
    usage::{Amounts, DeviceId},
};

/// A pool: the devices that a driver manages together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct PoolId {
    pub driver: String,
    pub pool: String,
}

impl fmt::Display for PoolId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.driver, self.pool)
    }
}

/// A slice of a pool.
pub(crate) struct Slice {
    pub object: Arc<ResourceSlice>,
    /// Its place in the inventory.
    pub place: usize,
    /// Of what it is and how: what selectors see of its devices is the same as long as this is. `None` where it is of no revision.
    pub version: Option<Arc<str>>,
    pub pool: PoolId,
    pub devices: Vec<Device>,
    /// Shared counters, by the name of their set.
    pub counters: Vec<(String, Amounts)>,
}

/// A device of a slice.
pub(crate) struct Device {
    /// Its place in the slice.
    pub place: usize,
    pub id: DeviceId,
    /// The slice's, and those of rules.
    pub taints: Vec<DeviceTaint>,
    pub capacity: BTreeMap<String, Capacity>,
    /// What it takes of counters, by the name of their set.
    pub consumes: Vec<(String, Amounts)>,
    /// Several claims may have a part of it.
    pub is_shared: bool,
}

impl Slice {
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    pub fn generation(&self) -> i64 {
        self.object.spec.pool.generation
    }

    /// Slices that the whole pool has.
    pub fn count(&self) -> i64 {
        self.object.spec.pool.resource_slice_count
    }

    pub fn is_per_device(&self) -> bool {
        self.object.spec.per_device_node_selection == Some(true)
    }

    /// The object of a device.
    pub fn api(&self, device: &Device) -> Option<&ApiDevice> {
        self.object.spec.devices.as_ref()?.get(device.place)
    }

    /// A device as selectors see it.
    pub fn seen<'s>(&'s self, device: &'s Device) -> Seen<'s> {
        let api = self.api(device);
        let attributes = api.and_then(|api| api.attributes.as_ref());
        let attributes = attributes
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| {
                let value = match (value.int, value.bool, &value.string, &value.version) {
                    (Some(int), ..) => Attribute::Int(int),
                    (_, Some(flag), ..) => Attribute::Bool(flag),
                    (_, _, Some(text), _) => Attribute::Text(text),
                    (.., Some(version)) => Attribute::Version(version),
                    _ => return None,
                };
                Some((name.as_str(), value))
            });
        let capacity = device.capacity.iter();
        Seen {
            driver: &self.pool.driver,
            allow_multiple_allocations: device.is_shared,
            attributes: attributes.collect(),
            capacity: capacity
                .map(|(name, capacity)| (name.as_str(), capacity.value))
                .collect(),
        }
    }
}

/// All slices.
#[derive(Default)]
pub struct Inventory {
    pub(crate) slices: Vec<Slice>,
    /// Places of slices that name their node.
    by_node: HashMap<String, Vec<usize>>,
    /// Places of the others.
    elsewhere: Vec<usize>,
    by_pool: HashMap<PoolId, Vec<usize>>,
}

impl Inventory {
    /// `rules` add taints to the devices that they select.
    pub fn new(mut slices: Vec<Arc<ResourceSlice>>, rules: &[Arc<DeviceTaintRule>]) -> Self {
        slices.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        let mut inventory = Self::default();
        for (place, object) in slices.into_iter().enumerate() {
            let slice = read(object, place, rules);
            let node = slice.object.spec.node_name.as_deref();
            match node.filter(|node| !node.is_empty()) {
                Some(node) => inventory.by_node.entry(node.to_owned()).or_default(),
                None => &mut inventory.elsewhere,
            }
            .push(place);
            let pool = inventory.by_pool.entry(slice.pool.clone()).or_default();
            pool.push(place);
            inventory.slices.push(slice);
        }
        inventory
    }

    /// Slices that may have devices of a node, by name.
    pub(crate) fn of_node(&self, node: &str) -> impl Iterator<Item = &Slice> {
        let own = self.by_node.get(node).into_iter().flatten();
        let places = own.chain(&self.elsewhere);
        places.filter_map(|place| self.slices.get(*place))
    }

    pub(crate) fn of_pool(&self, pool: &PoolId) -> impl Iterator<Item = &Slice> {
        let places = self.by_pool.get(pool).into_iter().flatten();
        places.filter_map(|place| self.slices.get(*place))
    }
}

fn amounts(counters: &BTreeMap<String, Counter>) -> Amounts {
    let counters = counters.iter();
    counters
        .map(|(name, counter)| (name.clone(), parse(&counter.value)))
        .collect()
}

fn read(object: Arc<ResourceSlice>, place: usize, rules: &[Arc<DeviceTaintRule>]) -> Slice {
    let spec = &object.spec;
    let pool = PoolId {
        driver: spec.driver.clone(),
        pool: spec.pool.name.clone(),
    };
    let devices = spec.devices.iter().flatten().enumerate();
    let devices = devices.map(|(place, device)| read_device(&pool, place, device, rules));
    let counters = spec.shared_counters.iter().flatten();
    let counters = counters.map(|set| (set.name.clone(), amounts(&set.counters)));
    let meta = &object.metadata;
    let version = meta.uid.as_deref().zip(meta.resource_version.as_deref());
    Slice {
        version: version.map(|(uid, revision)| format!("{uid}/{revision}").into()),
        devices: devices.collect(),
        counters: counters.collect(),
        place,
        pool,
        object,
    }
}

fn read_device(
    pool: &PoolId,
    place: usize,
    device: &ApiDevice,
    rules: &[Arc<DeviceTaintRule>],
) -> Device {
    let own = device.taints.iter().flatten();
    let selects =
        |rule: &&Arc<DeviceTaintRule>| rule.selects(&pool.driver, &pool.pool, &device.name);
    let added = rules.iter().filter(selects).map(|rule| &rule.spec.taint);
    let capacity = device.capacity.iter().flatten();
    let consumes = device.consumes_counters.iter().flatten();
    Device {
        place,
        id: DeviceId {
            driver: pool.driver.clone(),
            pool: pool.pool.clone(),
            device: device.name.clone(),
        },
        taints: own.chain(added).cloned().collect(),
        capacity: capacity
            .map(|(name, capacity)| (name.clone(), Capacity::of(capacity)))
            .collect(),
        consumes: consumes
            .map(|one| (one.counter_set.clone(), amounts(&one.counters)))
            .collect(),
        is_shared: device.allow_multiple_allocations == Some(true),
    }
}
