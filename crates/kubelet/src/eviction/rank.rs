//! Who goes first when the node runs short: who uses more than it asked for, then who has the lowest priority, then who is furthest
//! above what it asked for.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;

use super::{
    priority,
    shortage::{Short, Signal},
    storage,
};
use crate::{
    context::{self, Shared},
    resources,
};

/// The pod that goes first and what it is told; nothing where no pod is there.
///
/// # Errors
/// Why the runtime says nothing.
pub(super) async fn first(
    ctx: &Shared,
    pods: Vec<Arc<Pod>>,
    short: &Short,
) -> Result<Option<(Arc<Pod>, String)>, String> {
    let (name, used) = match short.signal {
        Signal::Memory => ("memory", memory(ctx).await?),
        Signal::Disk | Signal::Inodes => ("ephemeral-storage", disk(ctx, &pods).await?),
    };
    let least = pods.into_iter().min_by_key(|pod| {
        let used = used.get(context::uid(pod)).copied().unwrap_or(0);
        order(pod, used, name)
    });
    Ok(least.map(|pod| {
        let used = used.get(context::uid(&pod)).copied().unwrap_or(0);
        let message = format!("{}{}", short.message(), larger(&pod, used, name));
        (pod, message)
    }))
}

/// Smaller goes first.
fn order(pod: &Pod, used: u64, resource: &str) -> (bool, i32, Reverse<i128>) {
    let over = i128::from(used) - i128::from(requested(pod, resource));
    (over <= 0, priority(pod), Reverse(over))
}

/// What the pod asked for, in bytes.
fn requested(pod: &Pod, resource: &str) -> i64 {
    resources::pod_request_milli(pod, resource) / 1_000
}

/// What the message says of a pod that uses more than it asked for.
fn larger(pod: &Pod, used: u64, resource: &str) -> String {
    let asked = requested(pod, resource);
    let used = i64::try_from(used).unwrap_or(i64::MAX);
    if used <= asked {
        return String::new();
    }
    let bytes = |bytes: i64| resources::memory_quantity(bytes).0;
    format!(
        "Pod {} was using {}, request is {}, has larger consumption of {resource}. ",
        context::name(pod),
        bytes(used),
        bytes(asked)
    )
}

/// Bytes in use, by uid.
async fn memory(ctx: &Shared) -> Result<HashMap<String, u64>, String> {
    let usage = ctx.stats.usage(ctx).await?;
    let of = |pod: &crate::stats::Pod| {
        let memory = pod.group.memory.as_ref();
        (
            pod.uid.clone(),
            memory.map_or(0, |memory| memory.working_set),
        )
    };
    Ok(usage.pods.iter().map(of).collect())
}

/// Bytes on disk, by uid.
async fn disk(ctx: &Shared, pods: &[Arc<Pod>]) -> Result<HashMap<String, u64>, String> {
    let used = storage::used(ctx, pods.to_vec()).await?;
    Ok(used
        .into_iter()
        .map(|(pod, used)| (context::uid(&pod).to_owned(), used.total()))
        .collect())
}

#[cfg(test)]
mod tests;
