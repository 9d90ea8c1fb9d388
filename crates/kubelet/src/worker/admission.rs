//! Whether a pod may run here at all. The scheduler has asked before, but not for pods that were bound by hand, and
//! not with the node's own knowledge.

use std::{collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use knarr_meta::{host_ports::HostPort, node_selector::RequiredNodes, taints};

use crate::{
    context::Context,
    eviction::{EVICTED, is_critical},
    preemption::Lack,
    resources,
};

mod features;

/// What one running pod takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Share {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub ports: Vec<HostPort>,
}

impl Share {
    /// Of both together; ports do not add up.
    fn beside(self, other: &Self) -> Self {
        Self {
            cpu_milli: self.cpu_milli.saturating_add(other.cpu_milli),
            memory_bytes: self.memory_bytes.saturating_add(other.memory_bytes),
            storage_bytes: self.storage_bytes.saturating_add(other.storage_bytes),
            ports: Vec::new(),
        }
    }
}

/// What containers write and log on the node's disk.
const STORAGE: &str = "ephemeral-storage";

/// Shares by pod uid.
pub(crate) type Admitted = HashMap<String, Share>;

/// The pod is turned away: its phase becomes Failed for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub reason: String,
    /// As the event tells it.
    pub message: String,
    /// What there is not enough of, if that is all that is wrong.
    pub lacks: Vec<Lack>,
}

impl Rejection {
    pub(crate) fn new(reason: &str, why: impl std::fmt::Display) -> Self {
        Self {
            reason: reason.to_owned(),
            message: why.to_string(),
            lacks: Vec::new(),
        }
    }

    /// In upstream's words for devices that cannot be had.
    pub(crate) fn unexpected(why: &str) -> Self {
        let why = format_args!("Allocate failed due to {why}, which is unexpected");
        Self::new("UnexpectedAdmissionError", why)
    }

    /// As the pod's status tells it.
    pub(crate) fn status_message(&self) -> String {
        format!("Pod was rejected: {}", self.message)
    }

    /// In upstream's words for what the scheduler checks too.
    fn predicate(name: &str, why: &str) -> Self {
        Self::new(name, format_args!("Predicate {name} failed: {why}"))
    }
}

/// What the node offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub pods: usize,
}

/// Lets the pod in and books its share, or says why not. A pod that is in stays in.
pub(crate) fn admit(ctx: &Context, pod: &Arc<Pod>, running: bool) -> Result<(), Rejection> {
    // Taints keep away no pod that the node itself was given.
    let is_static = ctx.statics.lock().contains(crate::context::uid(pod));
    ctx.allocations.admit(pod, running, |admitted| {
        // Also for what runs already: a node that was started anew with less allows less.
        features::check(pod, &ctx.sysctls, ctx.features)?;
        if !running {
            ctx.shutdown.admit()?;
            if let Some(why) = ctx.evictions.turns_away(pod) {
                return Err(Rejection::new(EVICTED, why));
            }
            let node = ctx.node.get("", &ctx.config.node_name);
            check(pod, node.as_deref(), admitted, ctx.allocations.room())?;
            if let Some(node) = node.filter(|_| !is_static) {
                tolerates(pod, &node)?;
            }
        }
        Ok(())
    })
}

/// What a pod takes that has what it asks for.
pub(crate) fn share(pod: &Pod) -> Share {
    Share {
        cpu_milli: resources::pod_request_milli(pod, "cpu"),
        memory_bytes: resources::pod_request_milli(pod, "memory") / 1_000,
        storage_bytes: resources::pod_request_milli(pod, STORAGE) / 1_000,
        ports: pod.spec.as_ref().map(HostPort::of).unwrap_or_default(),
    }
}

fn check(pod: &Pod, node: Option<&Node>, admitted: &Admitted, room: Room) -> Result<(), Rejection> {
    let own = share(pod);
    let used = admitted.values().fold(Share::default(), Share::beside);
    let short = short_of(&own, admitted.len(), &used, room);
    // Others may have to go for a critical pod, but only if nothing else is in its way.
    let short = match short {
        Err(rejection) if !is_critical(pod) => return Err(rejection),
        short => short,
    };
    if let (Some(spec), Some(node)) = (&pod.spec, node) {
        suits(spec, node)?;
    }
    let mut taken = admitted.values().flat_map(|share| &share.ports);
    if taken.any(|taken| own.ports.iter().any(|port| port.conflicts(taken))) {
        return Err(Rejection::predicate(
            "NodePorts",
            "node(s) didn't have free ports for the requested pod ports",
        ));
    }
    short
}

/// Whether there is room for one more beside so many pods and what they take.
fn short_of(own: &Share, pods: usize, used: &Share, room: Room) -> Result<(), Rejection> {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut lacks = Vec::new();
    let mut lack = |resource, asked: i64, used: i64, capacity: i64| {
        let amount = used.saturating_add(asked).saturating_sub(capacity);
        if asked > 0 && amount > 0 {
            lacks.push(Lack { resource, amount });
        }
    };
    lack("pods", 1, count(pods), count(room.pods));
    lack("cpu", own.cpu_milli, used.cpu_milli, room.cpu_milli);
    lack(
        "memory",
        own.memory_bytes,
        used.memory_bytes,
        room.memory_bytes,
    );
    let (asked, taken, have) = (own.storage_bytes, used.storage_bytes, room.storage_bytes);
    lack(STORAGE, asked, taken, have);
    // Upstream tells of the first that it looks at.
    let first = match lacks.first() {
        None => None,
        Some(lack) if lack.resource == "pods" => {
            Some(insufficient("pods", 1, count(pods), count(room.pods)))
        }
        Some(lack) if lack.resource == STORAGE => Some(insufficient(STORAGE, asked, taken, have)),
        Some(_) => shortage(own, (used.cpu_milli, used.memory_bytes), room),
    };
    match first {
        None => Ok(()),
        Some((resource, why)) => Err(Rejection {
            lacks,
            ..Rejection::new(&format!("OutOf{resource}"), why)
        }),
    }
}

/// A resource of which there is not enough beside what is used (thousandths of a CPU, bytes), and upstream's words for it.
pub(crate) fn shortage(
    own: &Share,
    (cpu, memory): (i64, i64),
    room: Room,
) -> Option<(&'static str, String)> {
    if own.cpu_milli > 0 && cpu.saturating_add(own.cpu_milli) > room.cpu_milli {
        return Some(insufficient("cpu", own.cpu_milli, cpu, room.cpu_milli));
    }
    if own.memory_bytes > 0 && memory.saturating_add(own.memory_bytes) > room.memory_bytes {
        let (asked, have) = (own.memory_bytes, room.memory_bytes);
        return Some(insufficient("memory", asked, memory, have));
    }
    None
}

fn insufficient(
    resource: &'static str,
    asked: i64,
    used: i64,
    capacity: i64,
) -> (&'static str, String) {
    let why = format!(
        "Node didn't have enough resource: {resource}, requested: {asked}, used: {used}, capacity: {capacity}"
    );
    (resource, why)
}

/// Whether the pod's rules and the node's let them be together.
fn suits(spec: &PodSpec, node: &Node) -> Result<(), Rejection> {
    if !RequiredNodes::new(spec).matches(node) {
        return Err(Rejection::predicate(
            "NodeAffinity",
            "node(s) didn't match Pod's node affinity/selector",
        ));
    }
    Ok(())
}

fn tolerates(pod: &Pod, node: &Node) -> Result<(), Rejection> {
    let tainted = node.spec.as_ref().and_then(|s| s.taints.as_deref());
    let spec = pod.spec.as_ref();
    let tolerations = spec.and_then(|spec| spec.tolerations.as_deref());
    // What forbids scheduling only is the scheduler's business: whoever binds by hand may go around it.
    if taints::untolerated(
        tolerations.unwrap_or_default(),
        tainted.unwrap_or_default(),
        &["NoExecute"],
    )
    .is_some()
    {
        return Err(Rejection::predicate(
            "TaintToleration",
            "node(s) had taints that the pod didn't tolerate",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
