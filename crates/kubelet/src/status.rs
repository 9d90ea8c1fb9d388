//! A pod's status: a pure function of its specification, the runtime's view, what probes found, and the status
//! that the API holds, from which transition times and history are carried on.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use knarr_cri::v1;

use crate::{
    allocation::Requirements,
    ephemeral, hosts, labels,
    observed::View,
    resources::PodLimits,
    worker::{
        memory::{Health, Memory, Waiting},
        plan::Role,
    },
};

mod conditions;
mod container;
mod end;
mod mounts;
mod phase;
mod resources;
mod whole;
pub(crate) mod writer;

pub(crate) use container::{REMOVED_TO_RESTART, UNKNOWN_END};

/// The pod as a whole has been turned away or cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub reason: String,
    pub message: String,
    /// The node is at fault: whoever counts the pod's failures is told by a condition.
    pub disruption: bool,
    /// It was never let in.
    pub rejected: bool,
}

/// What a status is made from.
pub(crate) struct Input<'a> {
    pub pod: &'a Pod,
    /// The newest status the API is known to hold.
    pub base: &'a PodStatus,
    pub view: &'a View,
    pub memory: &'a Memory,
    /// Why containers do not run, by name.
    pub waiting: &'a HashMap<String, Waiting>,
    /// Last words by container id.
    pub messages: &'a HashMap<String, String>,
    /// What containers were given, by name.
    pub given: &'a Requirements,
    /// What the pod's cgroup is set to, if that is known.
    pub cgroup: Option<PodLimits>,
    /// The primary one first.
    pub node_ips: Vec<String>,
    /// The runtime can make what is mounted below a read-only mount read-only too.
    pub recursive_read_only: bool,
    /// Scheme of container ids.
    pub runtime: &'a str,
    /// When this node first saw the pod.
    pub seen: Timestamp,
    pub now: Timestamp,
    /// Nothing of the pod will run again.
    pub over: bool,
    /// Nor does anything of it take room any more, its sandbox included: only then is it told that the pod has ended, as upstream
    /// does. Who hears that may put another pod in its place at once.
    pub stopped: bool,
    pub verdict: Option<&'a Verdict>,
}

/// Makes the status.
pub(crate) fn make(input: &Input<'_>) -> PodStatus {
    let Some(spec) = &input.pod.spec else {
        return input.base.clone();
    };
    let rejected = input.verdict.filter(|verdict| verdict.rejected);
    if let Some(verdict) = rejected.filter(|_| input.view.containers.is_empty()) {
        return turned_away(input, verdict);
    }
    let init = spec.init_containers.iter().flatten();
    let mut init: Vec<ContainerStatus> = init
        .map(|c| container::make(input, c, Role::Init))
        .collect();
    let main = spec.containers.iter();
    let mut main: Vec<ContainerStatus> = main
        .map(|c| container::make(input, c, Role::Main))
        .collect();
    let ephemeral = ephemeral::all(input.pod).map(ephemeral::container);
    let mut ephemeral: Vec<ContainerStatus> = ephemeral
        .map(|c| container::make(input, &c, Role::Ephemeral))
        .collect();
    // As upstream sorts them; those of init containers are as they run.
    main.sort_by(|a, b| a.name.cmp(&b.name));
    ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
    let phase = match input.verdict {
        Some(_) => "Failed",
        None => phase::of(input.pod, &init, &main, begun(input, spec), input.over),
    };
    if input.stopped && (input.over || input.verdict.is_some()) {
        end::unlocated(spec, input.base, &mut init, &mut main);
    }
    let mut status = input.base.clone();
    let host_network = spec.host_network.unwrap_or(false);
    let ips = if host_network {
        input.node_ips.clone()
    } else if conditions::awaits_volumes(input) {
        Vec::new()
    } else {
        hosts::pod_ips(&input.view.ips(), &input.node_ips)
    };
    if !ips.is_empty() {
        status.pod_ip = ips.first().cloned();
        status.pod_ips = Some(ips.iter().map(|ip| PodIP { ip: ip.clone() }).collect());
    }
    status.host_ip = input.node_ips.first().cloned();
    let host_ips = input.node_ips.iter().map(|ip| HostIP { ip: ip.clone() });
    status.host_ips = Some(host_ips.collect());
    status.start_time = status.start_time.or(Some(Time(whole(input.seen))));
    status.qos_class = Some(crate::resources::qos(input.pod).as_str().to_owned());
    status.observed_generation = input.pod.metadata.generation;
    // A pod that has ended stays as it ended.
    let is_end = |phase: &str| matches!(phase, "Succeeded" | "Failed");
    let ended = input.base.phase.as_deref().is_some_and(is_end);
    if !ended && (input.stopped || !is_end(phase)) {
        status.phase = Some(phase.to_owned());
        status.reason = input.verdict.map(|v| v.reason.clone());
        status.message = input.verdict.map(|v| v.message.clone());
    }
    if !ended {
        whole::apply(input, &mut status);
    }
    status.init_container_statuses = (!init.is_empty()).then_some(init);
    status.container_statuses = Some(main);
    status.ephemeral_container_statuses = (!ephemeral.is_empty()).then_some(ephemeral);
    conditions::apply(input, &mut status);
    status
}

/// Of a pod that is not let in nothing is told but why, as upstream: no addresses, no containers, none of the kubelet's conditions.
fn turned_away(input: &Input<'_>, verdict: &Verdict) -> PodStatus {
    let base = input.base;
    let conditions = base.conditions.iter().flatten();
    let of_others: Vec<_> = conditions
        .filter(|condition| !conditions::is_own(condition))
        .cloned()
        .collect();
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(verdict.reason.clone()),
        message: Some(verdict.message.clone()),
        qos_class: Some(crate::resources::qos(input.pod).as_str().to_owned()),
        start_time: base.start_time.clone().or(Some(Time(whole(input.seen)))),
        observed_generation: input.pod.metadata.generation,
        conditions: (!of_others.is_empty()).then_some(of_others),
        resource_claim_statuses: base.resource_claim_statuses.clone(),
        extended_resource_claim_status: base.extended_resource_claim_status.clone(),
        ..Default::default()
    }
}

/// Whether a main container runs or has run in the present sandbox.
fn begun(input: &Input<'_>, spec: &PodSpec) -> bool {
    let Some(sandbox) = input.view.sandbox() else {
        return false;
    };
    let newest = spec.containers.iter().map(|c| input.view.newest(&c.name));
    newest.flatten().any(|container| {
        let present = match container.annotations.get(labels::SANDBOX) {
            Some(id) => *id == sandbox.id,
            None => container.created_at >= sandbox.created_at,
        };
        present && container.state() != v1::ContainerState::ContainerCreated
    })
}

/// API times have whole seconds.
pub(crate) fn whole(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// A CRI time, in nanoseconds since 1970. Upstream tells of one that is not there as it is: what never ran started in 1970.
fn cri_time(nanos: i64) -> Option<Time> {
    let time = Timestamp::from_second(nanos.div_euclid(1_000_000_000));
    time.ok().map(Time)
}

/// Whether probes let a running container count as started and ready.
pub(crate) fn health(
    spec: &k8s_openapi::api::core::v1::Container,
    id: &str,
    memory: &Memory,
) -> (bool, bool) {
    let known = memory.health.get(id).copied().unwrap_or_default();
    let Health { started, ready } = known;
    let started =
        !memory.hooks.contains(id) && (spec.startup_probe.is_none() || started == Some(true));
    let ready = started && (spec.readiness_probe.is_none() || ready == Some(true));
    (started, ready)
}

#[cfg(test)]
mod tests;
