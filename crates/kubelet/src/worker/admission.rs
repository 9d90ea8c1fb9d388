//! Whether a pod may run here at all. The scheduler has asked before, but not for pods that were bound by hand, and
//! not with the node's own knowledge.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Node, Pod, PodSpec};
use knarr_meta::{host_ports::HostPort, node_selector::RequiredNodes, taints};

use crate::{
    context::Context,
    devices,
    eviction::{EVICTED, is_critical},
    preemption::Lack,
    resources::{
        totals::{self, Overhead},
        units::{self, CPU, MEMORY, STORAGE, Units},
    },
};

mod features;

/// What one running pod takes.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Share {
    pub units: Units,
    pub ports: Vec<HostPort>,
}

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
#[derive(Clone, Debug)]
pub(crate) struct Room {
    pub units: Units,
    pub pods: usize,
}

impl Room {
    /// With what others have added to the node. Resources of device plugins are not among it: who asks for too much of them is told so
    /// when devices are chosen.
    fn with_extended(&self, node: Option<&Node>, of_plugins: impl Fn(&str) -> bool) -> Self {
        let mut room = self.clone();
        let status = node.and_then(|node| node.status.as_ref());
        let added = totals::read(status.and_then(|status| status.allocatable.as_ref()));
        for (name, amount) in added {
            if units::is_extended(&name) && !of_plugins(&name) {
                room.units.set(&name, amount.value());
            }
        }
        room
    }
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
            let devices = ctx.devices.capacity();
            let room = ctx.allocations.room();
            let room = room.with_extended(node.as_deref(), |name| devices.contains_key(name));
            check(pod, node.as_deref(), admitted, &room)?;
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
        units: Units::of(&totals::requests(&without_claimed(pod), Overhead::Counts)),
        ports: pod.spec.as_ref().map(HostPort::of).unwrap_or_default(),
    }
}

/// Without what its containers have by claims of the scheduler's, which is nothing that the node counts.
fn without_claimed(pod: &Pod) -> Cow<'_, Pod> {
    let status = pod.status.as_ref();
    if status.is_none_or(|status| status.extended_resource_claim_status.is_none()) {
        return Cow::Borrowed(pod);
    }
    let mut left = pod.clone();
    let containers = left.spec.iter_mut().flat_map(|spec| {
        let init = spec.init_containers.iter_mut().flatten();
        init.chain(&mut spec.containers)
    });
    for container in containers {
        let Some(resources) = &mut container.resources else {
            continue;
        };
        for list in [&mut resources.requests, &mut resources.limits] {
            let amounts = list.iter_mut();
            amounts.for_each(|amounts| {
                amounts.retain(|name, _| !devices::is_claimed(pod, &container.name, name));
            });
        }
    }
    Cow::Owned(left)
}

fn check(
    pod: &Pod,
    node: Option<&Node>,
    admitted: &Admitted,
    room: &Room,
) -> Result<(), Rejection> {
    let mut own = share(pod);
    // What no node has is of the cluster as a whole.
    own.units
        .retain(|name| !units::is_extended(name) || room.units.names(name));
    let mut used = Units::default();
    for share in admitted.values() {
        used.add(&share.units);
    }
    let short = short_of(&own.units, admitted.len(), &used, room);
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
fn short_of(own: &Units, pods: usize, used: &Units, room: &Room) -> Result<(), Rejection> {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let one_more = Lack::of("pods", 1, count(pods), count(room.pods));
    // In upstream's order: it tells of the first.
    let named = [CPU, MEMORY, STORAGE];
    let others = own.iter().map(|(name, _)| name.as_str());
    let names = named
        .into_iter()
        .chain(others.filter(|name| !named.contains(name)));
    let of = |name| Lack::of(name, own.get(name), used.get(name), room.units.get(name));
    let all = std::iter::once(one_more).chain(names.map(of));
    let (lacks, told): (Vec<Lack>, Vec<String>) = all.flatten().unzip();
    match (lacks.first(), told.into_iter().next()) {
        (Some(first), Some(why)) => {
            let reason = format!("OutOf{}", first.resource);
            Err(Rejection {
                lacks,
                ..Rejection::new(&reason, why)
            })
        }
        _ => Ok(()),
    }
}

/// Upstream's words for that there is not enough CPU or memory beside what is used.
pub(crate) fn shortage(own: &Share, used: &Units, room: &Room) -> Option<String> {
    let of = |name| {
        Lack::of(
            name,
            own.units.get(name),
            used.get(name),
            room.units.get(name),
        )
    };
    let (_, why) = [CPU, MEMORY].into_iter().find_map(of)?;
    Some(why)
}

impl Lack {
    /// With upstream's words for it; `None` where there is enough, or nothing is asked for.
    fn of(resource: &str, asked: i64, used: i64, capacity: i64) -> Option<(Self, String)> {
        let amount = used.saturating_add(asked).saturating_sub(capacity);
        let lack = Self {
            resource: resource.to_owned(),
            amount,
        };
        let why = format!(
            "Node didn't have enough resource: {resource}, requested: {asked}, used: {used}, capacity: {capacity}"
        );
        (asked > 0 && amount > 0).then_some((lack, why))
    }
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
