//! When a pod has to go because of its devices, and for which rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{
    DeviceRequestAllocationResult, DeviceTaint, ResourceClaim, ResourceSlice,
};
use knarr_devices::claim;
pub(super) use knarr_devices::taints::NO_EXECUTE;
use knarr_devices::taints::{DeviceTaintRule, tolerates};

use crate::runner::uid;

/// A driver's devices that are managed together.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Pool {
    pub driver: String,
    pub pool: String,
}

impl Pool {
    pub fn of(slice: &ResourceSlice) -> Self {
        Self {
            driver: slice.spec.driver.clone(),
            pool: slice.spec.pool.name.clone(),
        }
    }
}

type Claims<'v> = dyn Fn(&str, &str) -> Option<Arc<ResourceClaim>> + Send + Sync + 'v;
type Slices<'v> = dyn Fn(&Pool) -> Vec<Arc<ResourceSlice>> + Send + Sync + 'v;

/// What is decided from.
pub(super) struct View<'v> {
    pub rules: Vec<Arc<DeviceTaintRule>>,
    pub claim: Box<Claims<'v>>,
    pub slices: Box<Slices<'v>>,
}

/// A pod has to go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Eviction {
    pub at: Timestamp,
    /// Those that say so; slices may say so, too.
    pub rules: Vec<Arc<DeviceTaintRule>>,
}

/// The claims of a pod, and whether each was made for it.
pub(super) fn claim_names(pod: &Pod) -> Vec<(&str, bool)> {
    let named = claim::claims(pod);
    let named = named.filter_map(|named| {
        let name = claim::name_of(pod, named).ok()??;
        Some((name, named.resource_claim_name.is_none()))
    });
    let status = pod.status.as_ref();
    let extended = status.and_then(|status| status.extended_resource_claim_status.as_ref());
    let extended = extended.map(|extended| (extended.resource_claim_name.as_str(), false));
    named.chain(extended).collect()
}

/// Whether a pod has a node or claims that it had not before.
pub(super) fn is_moved(old: &Pod, new: &Pod) -> bool {
    let node = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    node(old) != node(new) || claim_names(old) != claim_names(new)
}

fn results(claim: &ResourceClaim) -> &[DeviceRequestAllocationResult] {
    claim::allocation(claim)
        .map(claim::results)
        .unwrap_or_default()
}

pub(super) fn pools(claim: &ResourceClaim) -> BTreeSet<Pool> {
    let results = results(claim).iter();
    let pools = results.map(|result| Pool {
        driver: result.driver.clone(),
        pool: result.pool.clone(),
    });
    pools.collect()
}

/// Whether devices of a slice are tainted.
pub(super) fn has_taints(slice: &ResourceSlice) -> bool {
    let mut devices = slice.spec.devices.iter().flatten();
    devices.any(|device| device.taints.iter().flatten().next().is_some())
}

/// How many devices of a claim a rule taints.
pub(super) fn selected(rule: &DeviceTaintRule, claim: &ResourceClaim) -> usize {
    let is = |result: &&DeviceRequestAllocationResult| {
        rule.selects(&result.driver, &result.pool, &result.device)
    };
    results(claim).iter().filter(is).count()
}

pub(super) fn selects(rule: &DeviceTaintRule, claim: &ResourceClaim) -> bool {
    selected(rule, claim) > 0
}

/// How many devices of all slices a rule taints; slices of older generations do not count.
pub(super) fn published(rule: &DeviceTaintRule, slices: &[Arc<ResourceSlice>]) -> usize {
    let newest = |slice: &ResourceSlice| {
        let same = slices
            .iter()
            .filter(|other| Pool::of(other) == Pool::of(slice));
        same.map(|other| other.spec.pool.generation).max()
    };
    let current = slices
        .iter()
        .filter(|slice| newest(slice) == Some(slice.spec.pool.generation));
    let devices = current.flat_map(|slice| {
        let devices = slice.spec.devices.iter().flatten();
        devices.map(|device| (&slice.spec, device))
    });
    devices
        .filter(|(spec, device)| rule.selects(&spec.driver, &spec.pool.name, &device.name))
        .count()
}

/// When the pod has to go; `None`: it may stay.
pub(super) fn eviction(view: &View<'_>, pod: &Pod) -> Option<Eviction> {
    let spec = pod.spec.as_ref()?;
    spec.node_name.as_ref().filter(|name| !name.is_empty())?;
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mut all: Option<Eviction> = None;
    for (name, made) in claim_names(pod) {
        let Some(found) = (view.claim)(namespace, name) else {
            continue;
        };
        let foreign = made && claim::check_owner(pod, &found).is_err();
        if foreign || !claim::is_reserved_for(&found, uid(pod)) {
            continue;
        }
        for result in results(&found) {
            for (taint, rule) in acting(view, result) {
                if let Some(at) = evict_at(&taint, result) {
                    let eviction = all.get_or_insert_with(|| Eviction {
                        at,
                        rules: Vec::new(),
                    });
                    eviction.at = eviction.at.min(at);
                    let known = |rule: &&Arc<DeviceTaintRule>| {
                        eviction
                            .rules
                            .iter()
                            .all(|other| uid(&**other) != uid(&***rule))
                    };
                    let new: Option<Arc<DeviceTaintRule>> = rule.as_ref().filter(known).cloned();
                    eviction.rules.extend(new);
                }
            }
        }
    }
    all
}

/// NoExecute taints of a device, with the rules that they are from.
fn acting(
    view: &View<'_>,
    result: &DeviceRequestAllocationResult,
) -> Vec<(DeviceTaint, Option<Arc<DeviceTaintRule>>)> {
    let pool = Pool {
        driver: result.driver.clone(),
        pool: result.pool.clone(),
    };
    let slices = (view.slices)(&pool);
    let newest = slices.iter().map(|slice| slice.spec.pool.generation).max();
    let current = slices
        .iter()
        .filter(|slice| Some(slice.spec.pool.generation) == newest);
    let devices = current.flat_map(|slice| slice.spec.devices.iter().flatten());
    let own = devices.filter(|device| device.name == result.device);
    let own = own.flat_map(|device| device.taints.iter().flatten());
    let own = own.map(|taint| (taint.clone(), None));
    let rules = view.rules.iter();
    let rules = rules.filter(|rule| rule.selects(&result.driver, &result.pool, &result.device));
    let added = rules.map(|rule| (rule.spec.taint.clone(), Some(rule.clone())));
    let all = own.chain(added);
    all.filter(|(taint, _)| taint.effect == NO_EXECUTE)
        .collect()
}

/// When whoever has a device has to go because of a taint; `None`: it is tolerated for ever.
fn evict_at(taint: &DeviceTaint, result: &DeviceRequestAllocationResult) -> Option<Timestamp> {
    let added = taint.time_added.as_ref().map_or(Timestamp::MIN, |at| at.0);
    let tolerations = result.tolerations.iter().flatten();
    let of_effect = tolerations.filter(|one| one.effect.as_deref() == Some(NO_EXECUTE));
    let mut shortest: Option<i64> = None;
    for toleration in of_effect.filter(|toleration| tolerates(toleration, taint)) {
        let seconds = toleration.toleration_seconds?.max(0);
        shortest = Some(shortest.map_or(seconds, |known| known.min(seconds)));
    }
    let seconds = SignedDuration::from_secs(shortest.unwrap_or(0));
    // What is beyond all time never comes.
    added.checked_add(seconds).ok()
}

#[cfg(test)]
mod tests;
