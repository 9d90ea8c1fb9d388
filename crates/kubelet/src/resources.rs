//! What resource requests and limits mean to the kernel: QoS class, cgroup values, OOM score.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, Pod, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity as ApiQuantity,
};
use knarr_cri::v1::LinuxContainerResources;
use knarr_meta::quantity::{Format, Quantity};
use serde::{Deserialize, Serialize};

pub(crate) mod huge_pages;
pub(crate) mod totals;
pub(crate) mod units;

use totals::{Overhead, Totals};

/// CFS period in microseconds: upstream's default of 100 ms.
pub(crate) const CPU_PERIOD_MICROS: i64 = 100_000;
/// The kernel refuses quotas below 1 ms.
const MIN_QUOTA_MICROS: i64 = 1_000;
/// The kernel's smallest cpu.shares.
pub(crate) const MIN_SHARES: i64 = 2;
/// What the smallest quota allows, in thousandths of a CPU.
pub(crate) const MIN_LIMIT_MILLI: i64 = MIN_QUOTA_MICROS * MILLI / CPU_PERIOD_MICROS;
/// The kernel's largest cpu.shares.
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1_024;
const MILLI: i64 = 1_000;

const GUARANTEED_OOM_SCORE: i64 = -997;
const BEST_EFFORT_OOM_SCORE: i64 = 1_000;
/// Priority from which a pod is node critical (system-node-critical).
const SYSTEM_CRITICAL_PRIORITY: i32 = 2_000_000_000;

/// Quality of service class, as `status.qosClass` spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Qos {
    Guaranteed,
    Burstable,
    BestEffort,
}

impl Qos {
    /// The API's word.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// Parses an API quantity; `None` for what validation should have refused.
pub(crate) fn parse(quantity: &ApiQuantity) -> Option<Quantity> {
    Quantity::parse(&quantity.0).ok()
}

type Amounts = BTreeMap<String, ApiQuantity>;

fn amount(map: Option<&Amounts>, name: &str) -> Option<Quantity> {
    map.and_then(|m| m.get(name)).and_then(parse)
}

fn requests(container: &Container) -> Option<&Amounts> {
    container
        .resources
        .as_ref()
        .and_then(|r| r.requests.as_ref())
}

fn limits(container: &Container) -> Option<&Amounts> {
    container.resources.as_ref().and_then(|r| r.limits.as_ref())
}

fn all_containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec.as_ref();
    let main = spec.into_iter().flat_map(|s| s.containers.iter());
    main.chain(
        spec.into_iter()
            .flat_map(|s| s.init_containers.iter().flatten()),
    )
}

/// The pod's QoS class: by its status when the API server has set it, by its containers otherwise.
pub(crate) fn qos(pod: &Pod) -> Qos {
    match pod.status.as_ref().and_then(|s| s.qos_class.as_deref()) {
        Some("Guaranteed") => return Qos::Guaranteed,
        Some("Burstable") => return Qos::Burstable,
        Some("BestEffort") => return Qos::BestEffort,
        _ => {}
    }
    let mut any = false;
    let mut guaranteed = true;
    for container in all_containers(pod) {
        for name in ["cpu", "memory"] {
            let limit = amount(limits(container), name).filter(|q| q.milli_value() > 0);
            let request = amount(requests(container), name).filter(|q| q.milli_value() > 0);
            any |= limit.is_some() || request.is_some();
            guaranteed &= match (&limit, &request) {
                (Some(limit), Some(request)) => limit == request,
                (Some(_), None) => true,
                _ => false,
            };
        }
    }
    match (any, guaranteed) {
        (false, _) => Qos::BestEffort,
        (true, true) => Qos::Guaranteed,
        (true, false) => Qos::Burstable,
    }
}

/// Whether two containers' resources mean the same.
pub(crate) fn same(a: Option<&ResourceRequirements>, b: Option<&ResourceRequirements>) -> bool {
    let read = |list: Option<&Amounts>| -> BTreeMap<String, Option<Quantity>> {
        let list = list.into_iter().flatten();
        list.map(|(name, quantity)| (name.clone(), parse(quantity)))
            .collect()
    };
    let lists = |r: Option<&ResourceRequirements>| {
        [
            read(r.and_then(|r| r.requests.as_ref())),
            read(r.and_then(|r| r.limits.as_ref())),
        ]
    };
    a == b || lists(a) == lists(b)
}

/// What of a container's resources can be changed while it runs: thousandths of a CPU and bytes, 0 where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resizable {
    pub cpu_request: i64,
    pub cpu_limit: i64,
    pub memory_request: i64,
    pub memory_limit: i64,
}

impl Resizable {
    pub(crate) fn of(requirements: Option<&ResourceRequirements>) -> Self {
        let requests = requirements.and_then(|r| r.requests.as_ref());
        let limits = requirements.and_then(|r| r.limits.as_ref());
        let cpu = |list| amount(list, "cpu").map_or(0, |q| q.milli_value());
        let memory = |list| amount(list, "memory").map_or(0, |q| q.value());
        Self {
            cpu_request: cpu(requests),
            cpu_limit: cpu(limits),
            memory_request: memory(requests),
            memory_limit: memory(limits),
        }
    }
}

/// Thousandths of a CPU that `cpu.shares` stand for.
pub(crate) fn milli_of_shares(shares: i64) -> i64 {
    let milli = shares.saturating_mul(MILLI);
    milli
        .saturating_add(SHARES_PER_CPU - 1)
        .checked_div(SHARES_PER_CPU)
        .unwrap_or(0)
}

/// Thousandths of a CPU that a CFS quota allows; 0 where it allows any.
pub(crate) fn milli_of_quota(quota: i64, period: i64) -> i64 {
    let milli = quota.max(0).saturating_mul(MILLI);
    milli.checked_div(period.max(0)).unwrap_or(0)
}

/// The API's form of thousandths of a CPU.
pub(crate) fn cpu_quantity(milli: i64) -> ApiQuantity {
    ApiQuantity(Quantity::from_milli(milli, Format::DecimalSi).to_string())
}

/// The API's form of bytes.
pub(crate) fn memory_quantity(bytes: i64) -> ApiQuantity {
    ApiQuantity(Quantity::new(bytes, Format::BinarySi).to_string())
}

/// `cpu.shares` of a request in thousandths of a CPU.
pub(crate) fn shares(milli: i64) -> i64 {
    if milli == 0 {
        MIN_SHARES
    } else {
        (milli.saturating_mul(SHARES_PER_CPU) / MILLI).clamp(MIN_SHARES, MAX_SHARES)
    }
}

/// CFS quota of a limit in thousandths of a CPU; 0 means none.
pub(crate) fn quota(milli: i64) -> i64 {
    if milli == 0 {
        0
    } else {
        (milli.saturating_mul(CPU_PERIOD_MICROS) / MILLI).max(MIN_QUOTA_MICROS)
    }
}

/// The runtime's view of one container's resources.
pub(crate) fn container(
    pod: &Pod,
    container: &Container,
    node_memory: i64,
) -> LinuxContainerResources {
    let cpu_limit = amount(limits(container), "cpu").map_or(0, |q| q.milli_value());
    let cpu_request = amount(requests(container), "cpu").map(|q| q.milli_value());
    let memory = amount(limits(container), "memory").map_or(0, |q| q.value());
    LinuxContainerResources {
        cpu_period: CPU_PERIOD_MICROS,
        cpu_quota: quota(cpu_limit),
        cpu_shares: shares(cpu_request.unwrap_or(cpu_limit)),
        memory_limit_in_bytes: memory,
        oom_score_adj: oom_score(pod, container, node_memory),
        ..Default::default()
    }
}

/// Upstream's oom_score_adj: guaranteed and critical pods die last, best effort first, the rest by how little of
/// the node's memory they asked for.
pub(crate) fn oom_score(pod: &Pod, container: &Container, node_memory: i64) -> i64 {
    let priority = pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0);
    if priority >= SYSTEM_CRITICAL_PRIORITY {
        return GUARANTEED_OOM_SCORE;
    }
    match qos(pod) {
        Qos::Guaranteed => GUARANTEED_OOM_SCORE,
        Qos::BestEffort => BEST_EFFORT_OOM_SCORE,
        Qos::Burstable => {
            let request = amount(requests(container), "memory").map_or(0, |q| q.value());
            // A node without memory is one that could not be read.
            let share = i128::from(request)
                .saturating_mul(1_000)
                .checked_div(i128::from(node_memory.max(0)))
                .unwrap_or(0);
            let score = 1_000_i64.saturating_sub(i64::try_from(share).unwrap_or(1_000));
            // Never as low as a guaranteed pod's, never as high as best effort's.
            score.clamp(1_000 + GUARANTEED_OOM_SCORE, BEST_EFFORT_OOM_SCORE - 1)
        }
    }
}

/// Cgroup values of a whole pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PodLimits {
    /// `cpu.shares`.
    pub shares: i64,
    /// CFS quota in microseconds a period; only when every container has a CPU limit.
    pub quota: Option<i64>,
    /// Bytes; only when every container has a memory limit.
    pub memory: Option<i64>,
}

/// What the pod's cgroup is set to, with its overhead: upstream's `ResourceConfigForPod` (`pkg/kubelet/cm/helpers_linux.go`).
pub(crate) fn pod_limits(pod: &Pod) -> PodLimits {
    limits_of(pod, Overhead::Counts)
}

/// The same of its containers alone.
pub(crate) fn pod_limits_without_overhead(pod: &Pod) -> PodLimits {
    limits_of(pod, Overhead::IsLeftOut)
}

fn limits_of(pod: &Pod, overhead: Overhead) -> PodLimits {
    let requests = totals::requests(pod, overhead);
    let limits = totals::limits(pod, overhead);
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let is_stated = |name| {
        let limits = whole.and_then(|whole| whole.limits.as_ref());
        amount(limits, name).is_some_and(|limit| limit.milli_value() > 0)
    };
    // One container without a limit may use all that there is.
    let is_bounded = |name: &'static str| {
        is_stated(name)
            || all_containers(pod)
                .all(|c| amount(self::limits(c), name).is_some_and(|q| q.milli_value() > 0))
    };
    let cpu = |totals: &Totals| totals.get("cpu").map_or(0, Quantity::milli_value);
    let memory = limits.get("memory").map_or(0, Quantity::value);
    PodLimits {
        shares: match qos(pod) {
            Qos::BestEffort if whole.is_none() => MIN_SHARES,
            _ => shares(cpu(&requests)),
        },
        quota: is_bounded("cpu").then(|| quota(cpu(&limits))),
        memory: is_bounded("memory").then_some(memory),
    }
}

/// Requested amount of `name` of the whole pod, in thousandths, with overhead.
pub(crate) fn pod_request_milli(pod: &Pod, name: &str) -> i64 {
    let overhead = pod.spec.as_ref().and_then(|s| s.overhead.as_ref());
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    let stated = whole.and_then(|whole| {
        amount(whole.requests.as_ref(), name).or_else(|| amount(whole.limits.as_ref(), name))
    });
    let own = match stated {
        Some(stated) => stated.milli_value(),
        None => effective(pod, |c| {
            amount(requests(c), name)
                .or_else(|| amount(limits(c), name))
                .map_or(0, |q| q.milli_value())
        }),
    };
    own.saturating_add(amount(overhead, name).map_or(0, |q| q.milli_value()))
}

/// Limit of `name` of all containers that have one, in thousandths; 0 where none has.
pub(crate) fn pod_limit_milli(pod: &Pod, name: &str) -> i64 {
    effective(pod, |container| {
        amount(limits(container), name).map_or(0, |limit| limit.milli_value())
    })
}

fn effective(pod: &Pod, of: impl Fn(&Container) -> i64) -> i64 {
    let Some(spec) = &pod.spec else { return 0 };
    let mut sidecars = 0_i64;
    let mut peak = 0_i64;
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        if container.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(own);
            peak = peak.max(sidecars);
        } else {
            peak = peak.max(sidecars.saturating_add(own));
        }
    }
    let main = spec
        .containers
        .iter()
        .map(of)
        .fold(0_i64, i64::saturating_add);
    peak.max(main.saturating_add(sidecars))
}

#[cfg(test)]
mod tests;
