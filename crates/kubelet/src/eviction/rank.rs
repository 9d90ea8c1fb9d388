//! Who goes first when the node runs short: who uses more than it asked for, then who has the lowest priority, then who is furthest
//! above what it asked for.

use std::{cmp::Reverse, collections::HashMap, sync::Arc};

use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};

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
    let none = Usage::default();
    let used_by = |pod: &Pod| used.get(context::uid(pod)).unwrap_or(&none);
    let mut pods = pods;
    pods.sort_by_key(|pod| place(pod, used_by(pod).total, resource));
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

/// What a pod uses of what is short.
#[derive(Debug, Default)]
struct Usage {
    total: u64,
    /// Of its containers by name, where they are told apart.
    containers: Vec<(String, u64)>,
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

/// What the message says of a pod that states what it needs as a whole, and of containers that use more than they asked for.
fn larger(pod: &Pod, used: &Usage, resource: &str) -> String {
    let bytes = |bytes: u64| {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        resources::memory_quantity(bytes).0
    };
    let amount = |requirements: Option<&ResourceRequirements>| {
        let requests = requirements.and_then(|all| all.requests.as_ref());
        requests
            .and_then(|requests| requests.get(resource))
            .cloned()
    };
    let told = |what: &str, name: &str, used: u64, asked: &str| {
        format!(
            "{what} {name} was using {}, request is {asked}, has larger consumption of {resource}. ",
            bytes(used)
        )
    };
    let mut text = String::new();
    let Some(spec) = &pod.spec else { return text };
    if let Some(asked) = amount(spec.resources.as_ref()).filter(|_| resource == "memory") {
        text.push_str(&told("Pod", context::name(pod), used.total, &asked.0));
    }
    for (name, used) in &used.containers {
        let init = spec.init_containers.iter().flatten();
        let mut all = spec.containers.iter().chain(init);
        let Some(container) = all.find(|container| container.name == *name) else {
            continue;
        };
        let asked = amount(container.resources.as_ref());
        let value = asked.as_ref().and_then(resources::parse);
        if i128::from(*used) > value.map_or(0, |value| value.value().into()) {
            let asked = asked.map_or_else(|| "0".to_owned(), |asked| asked.0);
            text.push_str(&told("Container", name, *used, &asked));
        }
    }
    text
}

/// Bytes in use, by uid.
async fn memory(ctx: &Shared) -> Result<HashMap<String, Usage>, String> {
    let usage = ctx.stats.usage(ctx).await?;
    let of_container = |container: &crate::stats::Container| {
        let memory = container.stats.memory.as_ref()?;
        Some((container.name.clone(), memory.working_set_bytes?.value))
    };
    let of = |pod: &crate::stats::Pod| {
        let memory = pod.group.memory.as_ref();
        let usage = Usage {
            total: memory.map_or(0, |memory| memory.working_set),
            containers: pod.containers.iter().filter_map(of_container).collect(),
        };
        (pod.uid.clone(), usage)
    };
    Ok(usage.pods.iter().map(of).collect())
}

/// Threads, by uid.
async fn threads(ctx: &Shared) -> Result<HashMap<String, Usage>, String> {
    let usage = ctx.stats.usage(ctx).await?;
    let cgroups = ctx.cgroups.clone();
    let read = move || {
        let of = |pod: &crate::stats::Pod| {
            let threads = cgroups.usage(&pod.path).threads();
            let usage = Usage {
                total: threads.unwrap_or(0),
                ..Usage::default()
            };
            (pod.uid.clone(), usage)
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
) -> Result<HashMap<String, Usage>, String> {
    let used = storage::used(ctx, pods.to_vec()).await?;
    let of = |used: &storage::Used| {
        let size = match signal {
            Signal::ImageFs | Signal::ImageFsInodes if dedicated => used.of_images(),
            _ if dedicated => used.local(),
            _ => used.total(),
        };
        match signal {
            Signal::NodeFsInodes | Signal::ImageFsInodes => Usage {
                total: size.inodes,
                ..Usage::default()
            },
            _ => Usage {
                total: size.bytes,
                containers: used.of_containers(),
            },
        }
    };
    Ok(used
        .iter()
        .map(|(pod, used)| (context::uid(pod).to_owned(), of(used)))
        .collect())
}

#[cfg(test)]
mod tests;
