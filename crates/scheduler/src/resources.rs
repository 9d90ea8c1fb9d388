//! Amounts of resources as plain integers: cpu in milli-cores, the rest in units.
//!
//! A single amount is whatever its author wrote, up to the bounds of i64. Sums of them are kept exactly, in twice the width: a
//! sum that wrapped would make a pod fit everywhere, one that was capped could not be taken back when the pod ends.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, ContainerStatus, Pod, PodSpec, PodStatus, ResourceRequirements},
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

    /// The amount of one of them, by its name.
    pub fn of(&self, name: &str) -> Amount {
        match name {
            "cpu" => self.milli_cpu,
            "memory" => self.memory_bytes,
            "ephemeral-storage" => self.ephemeral_bytes,
            "pods" => self.pods,
            other => self.scalars.get(other).copied().unwrap_or(0),
        }
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
/// overhead (upstream `resource.PodRequests`). Pod-level requests, where set, stand for all of it. While a pod is being resized
/// that is the most of what it asks for, what its node has promised and what its containers have; what its node can never give
/// does not count.
pub fn pod_requests(pod: &Pod) -> Resources {
    charged(pod, &amounts_of)
}

/// The same with the defaults for containers that ask for nothing, for scores.
pub fn pod_requests_for_score(pod: &Pod) -> Resources {
    charged(pod, &|list| {
        let mut amounts = amounts_of(list);
        let named = |name| list.is_some_and(|list| list.contains_key(name));
        if !named("cpu") {
            amounts.milli_cpu = DEFAULT_MILLI_CPU;
        }
        if !named("memory") {
            amounts.memory_bytes = DEFAULT_MEMORY_BYTES;
        }
        amounts
    })
}

fn amounts_of(list: Option<&List>) -> Resources {
    list.map(Resources::from_list).unwrap_or_default()
}

/// `read` makes amounts of a container's list.
fn charged(pod: &Pod, read: &dyn Fn(Option<&List>) -> Resources) -> Resources {
    let empty = PodSpec::default();
    let spec = pod.spec.as_ref().unwrap_or(&empty);
    let wanted = sum_of(spec, &|container| read(requests_of(container)));
    let Some(statuses) = Statuses::of(pod) else {
        return wanted;
    };
    let promised = sum_of(spec, &|container| {
        let status = statuses.find(container);
        let list = status.and_then(|status| status.allocated_resources.as_ref());
        read(list.or_else(|| statuses.untold(container)))
    });
    let mut most = sum_of(spec, &|container| {
        let status = statuses.find(container);
        let list = status.and_then(|status| {
            let actual = status.resources.as_ref();
            let actual = actual.and_then(|actual| actual.requests.as_ref());
            actual.or(status.allocated_resources.as_ref())
        });
        read(list.or_else(|| statuses.untold(container)))
    });
    most.max(&promised);
    if !statuses.infeasible {
        most.max(&wanted);
    }
    most
}

/// What a pod's node says of its containers.
struct Statuses<'a> {
    status: &'a PodStatus,
    /// The node can never give what is asked for.
    infeasible: bool,
}

impl<'a> Statuses<'a> {
    /// `None` for a pod of which no node has said anything: most of those that are scheduled.
    fn of(pod: &'a Pod) -> Option<Self> {
        let status = pod.status.as_ref()?;
        status.container_statuses.as_ref()?;
        let mut conditions = status.conditions.iter().flatten();
        let pending = conditions.find(|condition| condition.type_ == "PodResizePending");
        let infeasible = pending.is_some_and(|c| c.reason.as_deref() == Some("Infeasible"));
        Some(Self { status, infeasible })
    }

    /// What counts of a container of which the node has said nothing.
    fn untold<'c>(&self, container: &'c Container) -> Option<&'c List> {
        requests_of(container).filter(|_| !self.infeasible)
    }

    fn find(&self, container: &Container) -> Option<&'a ContainerStatus> {
        let main = self.status.container_statuses.iter().flatten();
        let init = self.status.init_container_statuses.iter().flatten();
        main.chain(init)
            .find(|status| status.name == container.name)
    }
}

fn requests_of(container: &Container) -> Option<&List> {
    let requirements: &ResourceRequirements = container.resources.as_ref()?;
    requirements.requests.as_ref()
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
