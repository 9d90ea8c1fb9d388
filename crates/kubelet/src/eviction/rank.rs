//! Who goes first when the node runs short: who uses more than it asked for, then who has the lowest priority, then who is furthest
//! above what it asked for.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::Pod;

use super::{priority, shortage::Short, storage, thresholds::Signal};
use crate::{
    context::{self, Shared},
    resources,
};

/// The pods with what each is told, who goes first first.
///
/// # Errors
/// Why the runtime says nothing.
pub(super) async fn order(
    ctx: &Shared,
    pods: Vec<Arc<Pod>>,
    short: &Short,
    dedicated: bool,
) -> Result<Vec<(Arc<Pod>, String)>, String> {
    let resource = short.signal().resource();
    let used = match short.signal() {
        Signal::Memory | Signal::AllocatableMemory => memory(ctx).await?,
        Signal::Pids => threads(ctx).await?,
        signal => disk(ctx, &pods, signal, dedicated).await?,
    };
    let used_by = |pod: &Pod| used.get(context::uid(pod)).copied().unwrap_or(0);
    let mut pods = pods;
    pods.sort_by_key(|pod| place(pod, used_by(pod), resource));
    let told = |pod: Arc<Pod>| {
        let message = format!(
            "{}{}",
            short.message(),
            larger(&pod, used_by(&pod), resource)
        );
        (pod, message)
    };
    Ok(pods.into_iter().map(told).collect())
}

/// Smaller goes first.
fn place(pod: &Pod, used: u64, resource: &str) -> (bool, i32, Reverse<i128>) {
    if resource == "pids" {
        // Nobody asks for them.
        return (false, priority(pod), Reverse(i128::from(used)));
    }
    let over = i128::from(used) - i128::from(requested(pod, resource));
    (over <= 0, priority(pod), Reverse(over))
}

/// What the pod asked for, in bytes.
fn requested(pod: &Pod, resource: &str) -> i64 {
    resources::pod_request_milli(pod, resource) / 1_000
}

/// What the message says of a pod that uses more than it asked for.
fn larger(pod: &Pod, used: u64, resource: &str) -> String {
    if !matches!(resource, "memory" | "ephemeral-storage") {
        return String::new();
    }
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

/// Threads, by uid.
async fn threads(ctx: &Shared) -> Result<HashMap<String, u64>, String> {
    let usage = ctx.stats.usage(ctx).await?;
    let cgroups = ctx.cgroups.clone();
    let read = move || {
        let of = |pod: &crate::stats::Pod| {
            let threads = cgroups.usage(&pod.path).threads();
            (pod.uid.clone(), threads.unwrap_or(0))
        };
        usage.pods.iter().map(of).collect()
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| error.to_string())
}

/// What they have on the disk that is short, bytes or inodes, by uid.
async fn disk(
    ctx: &Shared,
    pods: &[Arc<Pod>],
    signal: Signal,
    dedicated: bool,
) -> Result<HashMap<String, u64>, String> {
    let used = storage::used(ctx, pods.to_vec()).await?;
    let of = |used: &storage::Used| {
        let size = match signal {
            Signal::ImageFs | Signal::ImageFsInodes if dedicated => used.of_images(),
            _ if dedicated => used.local(),
            _ => used.total(),
        };
        match signal {
            Signal::NodeFsInodes | Signal::ImageFsInodes => size.inodes,
            _ => size.bytes,
        }
    };
    Ok(used
        .iter()
        .map(|(pod, used)| (context::uid(pod).to_owned(), of(used)))
        .collect())
}

#[cfg(test)]
mod tests;
