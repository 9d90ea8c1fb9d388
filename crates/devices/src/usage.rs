//! Which devices are in use.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use k8s_openapi::api::resource::v1::{AllocationResult, DeviceRequestAllocationResult};
use knarr_meta::Quantity;

use crate::claim;

/// Amounts by the name of a capacity or a counter.
pub type Amounts = BTreeMap<String, Quantity>;

/// A device, of all in the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId {
    pub driver: String,
    pub pool: String,
    pub device: String,
}

impl DeviceId {
    pub fn of(result: &DeviceRequestAllocationResult) -> Self {
        Self {
            driver: result.driver.clone(),
            pool: result.pool.clone(),
            device: result.device.clone(),
        }
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.driver, self.pool, self.device)
    }
}

/// A device that several claims have parts of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sharing {
    pub shares: usize,
    pub consumed: Amounts,
}

impl Sharing {
    pub fn add(&mut self, amounts: &Amounts) {
        self.shares = self.shares.saturating_add(1);
        for (name, amount) in amounts {
            let sum = self.consumed.entry(name.clone()).or_default();
            *sum += *amount;
        }
    }

    pub fn remove(&mut self, amounts: &Amounts) {
        self.shares = self.shares.saturating_sub(1);
        for (name, amount) in amounts {
            let sum = self.consumed.entry(name.clone()).or_default();
            *sum -= *amount;
        }
    }
}

/// The devices that claims have, kept by what comes and goes. Access of administrators takes nothing.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    dedicated: HashMap<DeviceId, usize>,
    shared: HashMap<DeviceId, Sharing>,
}

fn amounts(result: &DeviceRequestAllocationResult) -> Amounts {
    let consumed = result.consumed_capacity.iter().flatten();
    let consumed = consumed.filter_map(|(name, amount)| {
        let amount = Quantity::parse(&amount.0).ok()?;
        Some((name.clone(), amount))
    });
    consumed.collect()
}

fn taking(allocation: &AllocationResult) -> impl Iterator<Item = &DeviceRequestAllocationResult> {
    let results = claim::results(allocation).iter();
    results.filter(|result| result.admin_access != Some(true))
}

impl Usage {
    /// A claim has been allocated.
    pub fn add(&mut self, allocation: &AllocationResult) {
        for result in taking(allocation) {
            let id = DeviceId::of(result);
            if result.share_id.is_some() {
                self.shared.entry(id).or_default().add(&amounts(result));
            } else {
                let count = self.dedicated.entry(id).or_default();
                *count = count.saturating_add(1);
            }
        }
    }

    /// An allocation that was added is given back.
    pub fn remove(&mut self, allocation: &AllocationResult) {
        for result in taking(allocation) {
            let id = DeviceId::of(result);
            if result.share_id.is_some() {
                if let Some(sharing) = self.shared.get_mut(&id) {
                    sharing.remove(&amounts(result));
                    if sharing.shares == 0 {
                        self.shared.remove(&id);
                    }
                }
            } else if let Some(count) = self.dedicated.get_mut(&id) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.dedicated.remove(&id);
                }
            }
        }
    }

    /// Whether a claim has all of the device.
    pub(crate) fn is_dedicated(&self, id: &DeviceId) -> bool {
        self.dedicated.contains_key(id)
    }

    pub(crate) fn sharing(&self, id: &DeviceId) -> Option<&Sharing> {
        self.shared.get(id)
    }

    /// Whether a claim has the device, or a part of it.
    pub(crate) fn is_used(&self, id: &DeviceId) -> bool {
        self.is_dedicated(id) || self.shared.contains_key(id)
    }
}
