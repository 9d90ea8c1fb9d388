//! Whether a pod may run here at all. The scheduler has asked before, but not for pods that were bound by hand, and
//! not with the node's own knowledge.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::{Node, Pod};

use crate::{context::Context, resources};

mod features;

/// What one running pod takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Share {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
}

/// Shares by pod uid.
pub(crate) type Admitted = HashMap<String, Share>;

/// The pod is turned away: its phase becomes Failed with this reason and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rejection {
    pub reason: String,
    pub message: String,
}

impl Rejection {
    fn new(reason: &str, why: impl std::fmt::Display) -> Self {
        Self {
            reason: reason.to_owned(),
            message: format!("Pod was rejected: {why}"),
        }
    }
}

/// What the node offers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub pods: usize,
}

/// Lets the pod in and books its share, or says why not. A pod that is in stays in.
pub(crate) fn admit(ctx: &Context, pod: &Pod, running: bool) -> Result<(), Rejection> {
    let mut admitted = ctx.admitted.lock();
    let uid = crate::context::uid(pod);
    if admitted.contains_key(uid) {
        return Ok(());
    }
    // Also for what runs already: a node that was started anew with less allows less.
    features::check(pod, &ctx.sysctls, ctx.features)?;
    let room = Room {
        cpu_milli: ctx.machine.cpu_milli,
        memory_bytes: ctx.machine.memory_bytes,
        pods: ctx.config.max_pods as usize,
    };
    if !running {
        let node = ctx.node.get("", &ctx.config.node_name);
        check(pod, node.as_deref(), &admitted, room)?;
    }
    admitted.insert(uid.to_owned(), share(pod));
    Ok(())
}

fn share(pod: &Pod) -> Share {
    Share {
        cpu_milli: resources::pod_request_milli(pod, "cpu"),
        memory_bytes: resources::pod_request_milli(pod, "memory") / 1_000,
    }
}

fn check(pod: &Pod, node: Option<&Node>, admitted: &Admitted, room: Room) -> Result<(), Rejection> {
    let own = share(pod);
    let used_cpu: i64 = admitted.values().map(|s| s.cpu_milli).sum();
    let used_memory: i64 = admitted.values().map(|s| s.memory_bytes).sum();
    let short = |resource: &str, asked: i64, used: i64, capacity: i64| Rejection {
        reason: format!("OutOf{resource}"),
        message: format!(
            "Pod was rejected: Node didn't have enough resource: {resource}, requested: {asked}, used: {used}, capacity: {capacity}"
        ),
    };
    if admitted.len() + 1 > room.pods {
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        return Err(short("pods", 1, count(admitted.len()), count(room.pods)));
    }
    if own.cpu_milli > 0 && used_cpu + own.cpu_milli > room.cpu_milli {
        return Err(short("cpu", own.cpu_milli, used_cpu, room.cpu_milli));
    }
    if own.memory_bytes > 0 && used_memory + own.memory_bytes > room.memory_bytes {
        return Err(short(
            "memory",
            own.memory_bytes,
            used_memory,
            room.memory_bytes,
        ));
    }
    let wanted = pod.spec.as_ref().and_then(|s| s.node_selector.as_ref());
    let labels = node.and_then(|n| n.metadata.labels.as_ref());
    if let (Some(wanted), Some(labels)) = (wanted, labels)
        && wanted
            .iter()
            .any(|(key, value)| labels.get(key) != Some(value))
    {
        return Err(Rejection {
                reason: "NodeAffinity".to_owned(),
                message: "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector".to_owned(),
            });
    }
    Ok(())
}
