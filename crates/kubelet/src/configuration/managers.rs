//! Upstream's validation of the managers of CPUs, memory and topology, in its words.

use std::collections::HashSet;

use knarr_meta::{field::quote, quantity::Quantity};
use knarr_numa::{CpuSet, cpus, merge};

use super::settings::Settings;

const CPU: [&str; 2] = ["none", "static"];
const MEMORY: [&str; 2] = ["None", "Static"];
const TOPOLOGY: [&str; 4] = ["none", "best-effort", "restricted", "single-numa-node"];
const SCOPES: [&str; 2] = ["container", "pod"];

/// Everything that is wrong.
pub(super) fn errors(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    let unknown =
        |manager: &str, policy: &str| format!("unknown {manager} policy: {}", quote(policy));
    if !CPU.contains(&own.cpu_manager_policy.as_str()) {
        all.push(unknown("cpu manager", &own.cpu_manager_policy));
    }
    if !MEMORY.contains(&own.memory_manager_policy.as_str()) {
        all.push(unknown("memory manager", &own.memory_manager_policy));
    }
    if own.cpu_manager_policy == "static" && own.cpu_manager_reconcile_period.is_zero() {
        all.push("cpuManagerReconcilePeriod must be greater than 0".to_owned());
    }
    if !TOPOLOGY.contains(&own.topology_manager_policy.as_str()) {
        let names = TOPOLOGY.map(quote).join(" ");
        all.push(format!(
            "topologyManagerPolicy (--topology-manager-policy) {} must be one of: [{names}]",
            quote(&own.topology_manager_policy)
        ));
    }
    if !SCOPES.contains(&own.topology_manager_scope.as_str()) {
        let [container, pod] = SCOPES.map(quote);
        all.push(format!(
            "topologyManagerScope (--topology-manager-scope) {} must be one of: {container}, or {pod}",
            quote(&own.topology_manager_scope)
        ));
    }
    all.extend(cpus::Options::parse(&own.cpu_manager_policy_options).err());
    all.extend(merge::Options::parse(&own.topology_manager_policy_options).err());
    let named = &own.reserved_system_cpus;
    if let Err(error) = named.parse::<CpuSet>() {
        all.push(format!(
            "unable to parse reservedSystemCPUs (--reserved-cpus) {named}, error: {error}"
        ));
    }
    all.extend(memory(own));
    all
}

fn memory(own: &Settings) -> Vec<String> {
    let mut all = Vec::new();
    let mut seen = HashSet::new();
    for one in &own.reserved_memory {
        let node = one.numa_node;
        for (resource, text) in &one.limits {
            let name = quote(resource);
            if resource != "memory" && !resource.starts_with("hugepages-") {
                all.push(format!("the limit type {name} for NUMA node {node} is not supported, only [memory hugepages-<HugePageSize>] is accepted"));
            }
            match Quantity::parse(text) {
                Ok(amount) if amount.value() > 0 => {}
                Ok(_) => all.push(format!(
                    "reserved memory may not be zero for NUMA node {node} and resource {name}"
                )),
                Err(error) => all.push(format!(
                    "reserved memory for NUMA node {node} and resource {name}: {error}"
                )),
            }
            if !seen.insert((node, resource)) {
                all.push(format!("the reserved memory has a duplicate value for NUMA node {node} and resource {name}"));
            }
        }
    }
    all
}
