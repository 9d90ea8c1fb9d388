//! Amounts of resources as plain integers: cpu in milli-cores, the rest in units.
//!
//! A single amount is whatever its author wrote, up to the bounds of i64. Sums of them are kept exactly, in twice the width: a
//! sum that wrapped would make a pod fit everywhere, one that was capped could not be taken back when the pod ends.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use knarr_meta::Quantity;

/// An amount, or a sum of fewer than 2^64 of them.
pub type Amount = i128;

/// What a container without requests counts for in scores, so that such pods are spread too (upstream's non-zero requests).
pub const DEFAULT_MILLI_CPU: Amount = 100;
pub const DEFAULT_MEMORY_BYTES: Amount = 200 * 1024 * 1024;

/// Amounts of what a node offers or a pod asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    pub milli_cpu: Amount,
    pub memory_bytes: Amount,
    pub ephemeral_bytes: Amount,
    pub pods: Amount,
    /// Extended resources and huge pages by name.
    pub scalars: BTreeMap<String, Amount>,
}

type List = BTreeMap<String, ApiQuantity>;

impl Resources {
    /// Unreadable quantities count as zero: validation has refused them before.
    pub fn from_list(list: &List) -> Self {
        let mut resources = Self::default();
        for (name, quantity) in list {
            let Ok(quantity) = Quantity::parse(&quantity.0) else {
                continue;
            };
            match name.as_str() {
                "cpu" => resources.milli_cpu = quantity.milli_value().into(),
                "memory" => resources.memory_bytes = quantity.value().into(),
                "ephemeral-storage" => resources.ephemeral_bytes = quantity.value().into(),
                "pods" => resources.pods = quantity.value().into(),
                _ => {
                    resources
                        .scalars
                        .insert(name.clone(), quantity.value().into());
                }
            }
        }
        resources
    }

    pub fn add(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.saturating_add(other.milli_cpu);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.saturating_add(other.ephemeral_bytes);
        self.pods = self.pods.saturating_add(other.pods);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = mine.saturating_add(*amount);
        }
    }

    pub fn sub(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.saturating_sub(other.milli_cpu);
        self.memory_bytes = self.memory_bytes.saturating_sub(other.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.saturating_sub(other.ephemeral_bytes);
        self.pods = self.pods.saturating_sub(other.pods);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = mine.saturating_sub(*amount);
        }
    }

    fn max(&mut self, other: &Self) {
        self.milli_cpu = self.milli_cpu.max(other.milli_cpu);
        self.memory_bytes = self.memory_bytes.max(other.memory_bytes);
        self.ephemeral_bytes = self.ephemeral_bytes.max(other.ephemeral_bytes);
        for (name, amount) in &other.scalars {
            let mine = self.scalars.entry(name.clone()).or_default();
            *mine = (*mine).max(*amount);
        }
    }
}

/// What a pod needs at its peak: its containers together, or an init container with the sidecars started before it, plus
/// overhead (upstream `resource.PodRequests`). Pod-level requests, where set, stand for all of it.
pub fn pod_requests(spec: &PodSpec) -> Resources {
    sum_of(spec, &requests_of)
}

/// The same with the defaults for containers that ask for nothing, for scores.
pub fn pod_requests_for_score(spec: &PodSpec) -> Resources {
    sum_of(spec, &|container| {
        let mut requests = requests_of(container);
        let named = |name| {
            let list = container
                .resources
                .as_ref()
                .and_then(|r| r.requests.as_ref());
            list.is_some_and(|list| list.contains_key(name))
        };
        if !named("cpu") {
            requests.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !named("memory") {
            requests.memory_bytes = DEFAULT_MEMORY_BYTES;
        }
        requests
    })
}

fn requests_of(container: &Container) -> Resources {
    of_requirements(container.resources.as_ref())
}

fn of_requirements(requirements: Option<&ResourceRequirements>) -> Resources {
    requirements
        .and_then(|r| r.requests.as_ref())
        .map(Resources::from_list)
        .unwrap_or_default()
}

fn sum_of(spec: &PodSpec, requests_of: &dyn Fn(&Container) -> Resources) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&requests_of(container));
    }
    let mut sidecars = Resources::default();
    let mut peak = Resources::default();
    for container in spec.init_containers.iter().flatten() {
        let mut requests = requests_of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            total.add(&requests);
            sidecars.add(&requests);
            requests = sidecars.clone();
        } else {
            requests.add(&sidecars);
        }
        peak.max(&requests);
    }
    total.max(&peak);
    if let Some(resources) = &spec.resources
        && let Some(list) = &resources.requests
    {
        let pod_level = Resources::from_list(list);
        if list.contains_key("cpu") {
            total.milli_cpu = pod_level.milli_cpu;
        }
        if list.contains_key("memory") {
            total.memory_bytes = pod_level.memory_bytes;
        }
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&Resources::from_list(overhead));
    }
    total.pods = 1;
    total
}

#[cfg(test)]
mod tests;
