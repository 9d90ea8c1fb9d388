//! One collection.

use std::{collections::HashMap, sync::Arc};

use knarr_cri::v1;
use knarr_host::usage;

use super::{Container, Group, Pod, Stats, Usage, groups::Groups, node};
use crate::{
    context::{self, Shared},
    labels, pods,
};

/// Whose counters are those of the node, and of all pods.
pub(super) const NODE: &str = "/";
pub(super) const ALL_PODS: &str = "kubepods";

/// What the blocking part reads of a pod.
struct Read {
    cpu: Option<usage::Cpu>,
    memory: Option<usage::Memory>,
    pressures: usage::Pressures,
    interfaces: Vec<knarr_host::net_dev::Interface>,
    at: i64,
}

/// What the blocking part reads.
struct Host {
    node: Read,
    all_pods: Read,
    pods: Vec<Read>,
}

/// Asks the runtime and reads the host's files.
pub(super) async fn collect(ctx: &Shared, stats: &Stats) -> Result<Usage, String> {
    let filter = v1::ContainerStatsFilter {
        label_selector: HashMap::from([(
            labels::OWNER_LABEL.to_owned(),
            ctx.config.instance.clone(),
        )]),
        ..Default::default()
    };
    let request = v1::ListContainerStatsRequest {
        filter: Some(filter),
    };
    let answer = ctx.runtime.list_container_stats(request).await;
    let answer = answer.map_err(|error| format!("failed to list all container stats: {error}"))?;
    let mut by_id: HashMap<String, v1::ContainerStats> = answer
        .stats
        .into_iter()
        .filter_map(|one| Some((one.attributes.as_ref()?.id.clone(), one)))
        .collect();
    let mut pods: Vec<Pod> = pods::list(ctx)
        .iter()
        .filter_map(|pod| of_pod(ctx, stats, pod, &mut by_id))
        .collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    let groups = Groups::new(ctx);
    let asked: Vec<(String, bool, Vec<String>)> = pods
        .iter()
        .map(|pod| {
            let ids = pod.containers.iter().map(|one| one.id.clone()).collect();
            (pod.path.clone(), pod.host_network, ids)
        })
        .collect();
    let host = tokio::task::spawn_blocking(move || read(&groups, &asked));
    let host = host.await.map_err(|error| error.to_string())?;
    let interfaces = host.node.interfaces.clone();
    let group = |whose: &str, read: Read| Group {
        at: read.at,
        nano_cores: read
            .cpu
            .and_then(|cpu| stats.rate(whose, read.at, cpu.total)),
        cpu: read.cpu,
        memory: read.memory,
        pressures: read.pressures,
    };
    for (pod, mut read) in pods.iter_mut().zip(host.pods) {
        pod.interfaces = std::mem::take(&mut read.interfaces);
        pod.group = group(&pod.path, read);
    }
    Ok(Usage {
        node: group(NODE, host.node),
        all_pods: group(ALL_PODS, host.all_pods),
        interfaces,
        pods,
    })
}

/// A pod with its containers that run, each as its newest instance; `None` where there are none.
fn of_pod(
    ctx: &Shared,
    stats: &Stats,
    pod: &Arc<k8s_openapi::api::core::v1::Pod>,
    by_id: &mut HashMap<String, v1::ContainerStats>,
) -> Option<Pod> {
    let view = ctx.observed.view(context::uid(pod));
    let containers: Vec<Container> = view
        .running()
        .filter_map(|status| {
            let figures = by_id.remove(&status.id)?;
            let cpu = figures.cpu.as_ref();
            let point =
                cpu.and_then(|cpu| Some((cpu.timestamp, cpu.usage_core_nano_seconds?.value)));
            Some(Container {
                name: labels::container_name(status).to_owned(),
                image: status.image.clone().unwrap_or_default().image,
                created: status.created_at,
                nano_cores: point.and_then(|(at, nanos)| stats.rate(&status.id, at, nanos)),
                id: status.id.clone(),
                stats: figures,
            })
        })
        .collect();
    if containers.is_empty() {
        return None;
    }
    let spec = pod.spec.as_ref();
    Some(Pod {
        name: context::name(pod).to_owned(),
        namespace: context::namespace(pod).to_owned(),
        uid: context::uid(pod).to_owned(),
        created: view.sandbox().map_or(0, |sandbox| sandbox.created_at),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        path: ctx.cgroups.path(pod),
        group: Group::default(),
        interfaces: Vec::new(),
        containers,
    })
}

fn read(groups: &Groups, pods: &[(String, bool, Vec<String>)]) -> Host {
    let of = |path: &str| {
        let group = groups.of(path);
        Read {
            cpu: group.cpu(),
            memory: group.memory(),
            pressures: group.pressures(),
            interfaces: Vec::new(),
            at: node::now(),
        }
    };
    let pods = pods.iter().map(|(path, host_network, containers)| {
        let interfaces = match host_network {
            true => Vec::new(),
            false => groups.interfaces(path, containers),
        };
        Read {
            interfaces,
            ..of(path)
        }
    });
    Host {
        pods: pods.collect(),
        node: Read {
            cpu: groups.root().cpu().or_else(node::cpu),
            memory: node::memory(&groups.root()),
            pressures: node::pressures(&groups.root()),
            interfaces: node::interfaces(),
            at: node::now(),
        },
        all_pods: of(&groups.all_pods()),
    }
}
