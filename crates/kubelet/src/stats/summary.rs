//! `/stats/summary`: the API of `k8s.io/kubelet/pkg/apis/stats/v1alpha1`, as far as there are figures.
//!
//! What is left out, rather than made up: pressure stalls of hosts whose groups do not tell of them, volumes of the host and of images, the sum of ephemeral storage.

use std::path::Path;

use jiff::Timestamp;
use knarr_cri::v1;
use knarr_host::{
    net_dev::Interface,
    usage::{Pressure, Stall},
};
use serde_json::{Map, Value, json};

use super::{
    Container, Group, INTERFACE, Pod, Usage,
    node::{self, Disk},
};
use crate::{context::Shared, volume::csi::VolumeStats};

/// Files of a container's logs that are counted: rotation leaves far fewer.
const MAX_LOG_FILES: usize = 1_000;

/// What the document tells beside the figures: file systems, which take system calls.
struct Disks {
    root: Option<Disk>,
    /// Bytes and files of the logs of each pod's containers, in the order of [`Usage`].
    logs: Vec<Vec<(u64, u64)>>,
    /// Of volumes that the kubelet makes itself.
    volumes: Vec<VolumeStats>,
    boot_time: i64,
    processes: (Option<i64>, Option<i64>),
    at: i64,
}

/// The whole document, or with `only_cpu_and_memory` what upstream leaves of it then.
///
/// # Errors
/// Why the runtime says nothing.
pub(crate) async fn summary(ctx: &Shared, only_cpu_and_memory: bool) -> Result<Value, String> {
    let usage = ctx.stats.usage(ctx).await?;
    if only_cpu_and_memory {
        let pods: Vec<Value> = usage.pods.iter().map(cpu_and_memory).collect();
        let mut node = group(&usage.node, capacity(ctx));
        node.insert("nodeName".to_owned(), json!(ctx.config.node_name));
        node.insert("startTime".to_owned(), seconds(node::boot_time()));
        return Ok(json!({ "node": node, "pods": pods }));
    }
    let image = ctx
        .runtime
        .image_fs_info(v1::ImageFsInfoRequest {})
        .await
        .map_err(|error| format!("failed to get imageFs stats: {error}"))?;
    let (shared, of) = (ctx.clone(), usage.clone());
    let disks = tokio::task::spawn_blocking(move || read(&shared, &of));
    let disks = disks.await.map_err(|error| error.to_string())?;
    let mut volumes = ctx.csi.stats().await;
    volumes.extend(disks.volumes.iter().cloned());
    let pods = usage.pods.iter().zip(&disks.logs);
    let pods: Vec<Value> = pods
        .map(|(pod, logs)| {
            let own: Vec<Value> = volumes
                .iter()
                .filter(|volume| volume.uid == pod.uid)
                .map(of_volume)
                .collect();
            let mut told = of_pod(pod, logs, &disks);
            if !own.is_empty() {
                told["volume"] = Value::Array(own);
            }
            told
        })
        .collect();
    Ok(json!({ "node": of_node(ctx, &usage, &disks, &image), "pods": pods }))
}

fn read(ctx: &Shared, usage: &Usage) -> Disks {
    let logs = |pod: &Pod| {
        let folder = ctx.config.pod_logs(&pod.namespace, &pod.name, &pod.uid);
        let of = |container: &Container| size(&folder.join(&container.name));
        pod.containers.iter().map(of).collect()
    };
    Disks {
        root: node::disk(&ctx.config.data_dir),
        logs: usage.pods.iter().map(logs).collect(),
        volumes: {
            let uids = usage.pods.iter().map(|pod| pod.uid.as_str());
            ctx.stats.volumes.of(&ctx.config, uids)
        },
        boot_time: node::boot_time(),
        processes: node::processes(),
        at: node::now(),
    }
}

/// Bytes and number of the files in a directory, of which the runtime is the only writer.
pub(crate) fn size(directory: &Path) -> (u64, u64) {
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let sizes = files
        .take(MAX_LOG_FILES)
        .filter_map(|entry| entry.metadata().ok())
        .map(|metadata| metadata.len());
    sizes.fold((0, 0), |(bytes, files): (u64, u64), one| {
        (bytes.saturating_add(one), files + 1)
    })
}

fn of_node(
    ctx: &Shared,
    usage: &Usage,
    disks: &Disks,
    image: &v1::ImageFsInfoResponse,
) -> Map<String, Value> {
    let mut node = group(&usage.node, capacity(ctx));
    let mut pods = group(&usage.all_pods, capacity(ctx));
    pods.insert("name".to_owned(), json!("pods"));
    pods.insert("startTime".to_owned(), seconds(disks.boot_time));
    node.insert("nodeName".to_owned(), json!(ctx.config.node_name));
    node.insert("systemContainers".to_owned(), json!([pods]));
    node.insert("startTime".to_owned(), seconds(disks.boot_time));
    if !usage.interfaces.is_empty() {
        let network = network(&usage.interfaces, usage.node.at);
        node.insert("network".to_owned(), network);
    }
    let used = |disk: Disk| {
        (
            disk.capacity.saturating_sub(disk.available),
            disk.inodes - disk.inodes_free.min(disk.inodes),
        )
    };
    node.insert("fs".to_owned(), fs(disks.root.map_or((0, 0), used), disks));
    let of = |list: &[v1::FilesystemUsage]| list.first().map(|one| fs(used_of(one), disks));
    node.insert(
        "runtime".to_owned(),
        json!({ "imageFs": of(&image.image_filesystems), "containerFs": of(&image.container_filesystems) }),
    );
    let (most, now) = disks.processes;
    node.insert(
        "rlimit".to_owned(),
        json!({ "time": nanos(disks.at), "maxpid": most, "curproc": now }),
    );
    node
}

fn of_pod(pod: &Pod, logs: &[(u64, u64)], disks: &Disks) -> Value {
    let containers = pod.containers.iter().zip(logs);
    let containers: Vec<Value> = containers
        .map(|(container, logs)| {
            let mut one = of_container(container);
            let written = container.stats.writable_layer.as_ref();
            if let Some(written) = written {
                one.insert("rootfs".to_owned(), fs(used_of(written), disks));
            }
            one.insert("logs".to_owned(), fs(*logs, disks));
            Value::Object(one)
        })
        .collect();
    let mut told = reference(pod);
    told.insert("containers".to_owned(), Value::Array(containers));
    told.extend(group(&pod.group, None));
    if !pod.interfaces.is_empty() {
        let network = network(&pod.interfaces, pod.group.at);
        told.insert("network".to_owned(), network);
    }
    Value::Object(told)
}

fn of_volume(volume: &VolumeStats) -> Value {
    let usage = &volume.usage;
    let figures = [
        ("availableBytes", usage.available),
        ("capacityBytes", usage.capacity),
        ("usedBytes", usage.used),
        ("inodesFree", usage.inodes_free),
        ("inodes", usage.inodes),
        ("inodesUsed", usage.inodes_used),
    ];
    let mut told = figures_at(usage.at.saturating_mul(1_000_000_000), &figures);
    told["name"] = json!(volume.volume);
    if let Some((namespace, name)) = &volume.claim {
        told["pvcRef"] = json!({ "name": name, "namespace": namespace });
    }
    told
}

fn cpu_and_memory(pod: &Pod) -> Value {
    let containers = pod.containers.iter().map(of_container);
    let containers = containers.map(Value::Object).collect();
    let mut told = reference(pod);
    told.insert("containers".to_owned(), Value::Array(containers));
    told.extend(group(&pod.group, None));
    Value::Object(told)
}

fn reference(pod: &Pod) -> Map<String, Value> {
    let reference = json!({ "name": pod.name, "namespace": pod.namespace, "uid": pod.uid });
    Map::from_iter([
        ("podRef".to_owned(), reference),
        ("startTime".to_owned(), nanos(pod.created)),
    ])
}

pub(super) fn of_container(container: &Container) -> Map<String, Value> {
    let stats = &container.stats;
    let mut told = Map::from_iter([
        ("name".to_owned(), json!(container.name)),
        ("startTime".to_owned(), nanos(container.created)),
    ]);
    if let Some(cpu) = &stats.cpu {
        let nano_cores = value(cpu.usage_nano_cores).or(container.nano_cores);
        let figures = [
            ("usageNanoCores", nano_cores),
            ("usageCoreNanoSeconds", value(cpu.usage_core_nano_seconds)),
        ];
        let figures = with_psi(figures_at(cpu.timestamp, &figures), of_psi(cpu.psi));
        told.insert("cpu".to_owned(), figures);
    }
    if let Some(memory) = &stats.memory {
        let figures = [
            ("availableBytes", value(memory.available_bytes)),
            ("usageBytes", value(memory.usage_bytes)),
            ("workingSetBytes", value(memory.working_set_bytes)),
            ("rssBytes", value(memory.rss_bytes)),
            ("pageFaults", value(memory.page_faults)),
            ("majorPageFaults", value(memory.major_page_faults)),
        ];
        let figures = with_psi(figures_at(memory.timestamp, &figures), of_psi(memory.psi));
        told.insert("memory".to_owned(), figures);
    }
    if let Some((io, psi)) = stats.io.as_ref().and_then(|io| Some((io, of_psi(io.psi)?))) {
        let figures = with_psi(figures_at(io.timestamp, &[]), Some(psi));
        told.insert("io".to_owned(), figures);
    }
    if let Some(swap) = &stats.swap {
        let figures = [
            ("swapAvailableBytes", value(swap.swap_available_bytes)),
            ("swapUsageBytes", value(swap.swap_usage_bytes)),
        ];
        told.insert("swap".to_owned(), figures_at(swap.timestamp, &figures));
    }
    told
}

/// Processor, memory and swap of a group; `capacity` is what there is where the group has no limit.
pub(super) fn group(group: &Group, capacity: Option<u64>) -> Map<String, Value> {
    let mut told = Map::new();
    if let Some(cpu) = group.cpu {
        let figures = [
            ("usageNanoCores", group.nano_cores),
            ("usageCoreNanoSeconds", Some(cpu.total)),
        ];
        let figures = with_psi(figures_at(group.at, &figures), group.pressures.cpu);
        told.insert("cpu".to_owned(), figures);
    }
    if let Some(memory) = group.memory {
        let room = memory.limit.or(capacity);
        let available = room.map(|room| room.saturating_sub(memory.working_set));
        let figures = [
            ("availableBytes", available),
            ("usageBytes", Some(memory.usage)),
            ("workingSetBytes", Some(memory.working_set)),
            ("rssBytes", Some(memory.rss)),
            ("pageFaults", Some(memory.page_faults)),
            ("majorPageFaults", Some(memory.major_page_faults)),
        ];
        let told_of = with_psi(figures_at(group.at, &figures), group.pressures.memory);
        told.insert("memory".to_owned(), told_of);
        if memory.swap.is_some() {
            let figures = [("swapUsageBytes", memory.swap)];
            told.insert("swap".to_owned(), figures_at(group.at, &figures));
        }
    }
    if group.pressures.io.is_some() {
        let figures = with_psi(figures_at(group.at, &[]), group.pressures.io);
        told.insert("io".to_owned(), figures);
    }
    told
}

/// What the runtime tells of how long a container waits.
fn of_psi(psi: Option<v1::PsiStats>) -> Option<Pressure> {
    let psi = psi?;
    let of = |data: Option<v1::PsiData>| {
        let data = data.unwrap_or_default();
        Stall {
            total: data.total,
            avg10: data.avg10,
            avg60: data.avg60,
            avg300: data.avg300,
        }
    };
    Some(Pressure {
        some: of(psi.some),
        full: of(psi.full),
    })
}

fn with_psi(mut told: Value, pressure: Option<Pressure>) -> Value {
    let of = |stall: Stall| json!({ "total": stall.total, "avg10": stall.avg10, "avg60": stall.avg60, "avg300": stall.avg300 });
    if let Some(Pressure { some, full }) = pressure {
        told["psi"] = json!({ "full": of(full), "some": of(some) });
    }
    told
}

fn capacity(ctx: &Shared) -> Option<u64> {
    u64::try_from(ctx.machine.memory_bytes).ok()
}

/// A network's figures: those of its main interface, and of each.
fn network(interfaces: &[Interface], at: i64) -> Value {
    let of = |interface: &Interface| {
        json!({
            "name": interface.name,
            "rxBytes": interface.received.bytes,
            "rxErrors": interface.received.errors,
            "txBytes": interface.sent.bytes,
            "txErrors": interface.sent.errors,
        })
    };
    let main = interfaces.iter().find(|one| one.name == INTERFACE);
    let mut told = main.or(interfaces.first()).map(of).unwrap_or_default();
    told["time"] = nanos(at);
    told["interfaces"] = interfaces.iter().map(of).collect();
    told
}

/// What is used of a file system, which is that of the data directory: everything of pods is below it.
fn fs((bytes, inodes): (u64, u64), disks: &Disks) -> Value {
    let of = |figure: fn(Disk) -> u64| disks.root.map(figure);
    let figures = [
        ("availableBytes", of(|disk| disk.available)),
        ("capacityBytes", of(|disk| disk.capacity)),
        ("usedBytes", Some(bytes)),
        ("inodesFree", of(|disk| disk.inodes_free)),
        ("inodes", of(|disk| disk.inodes)),
        ("inodesUsed", Some(inodes)),
    ];
    figures_at(disks.at, &figures)
}

fn used_of(usage: &v1::FilesystemUsage) -> (u64, u64) {
    let of = |figure| value(figure).unwrap_or(0);
    (of(usage.used_bytes), of(usage.inodes_used))
}

fn value(value: Option<v1::UInt64Value>) -> Option<u64> {
    value.map(|value| value.value)
}

/// Those figures that there are.
fn figures_at(at: i64, figures: &[(&str, Option<u64>)]) -> Value {
    let known = figures
        .iter()
        .filter_map(|(name, figure)| Some(((*name).to_owned(), json!((*figure)?))));
    let time = [("time".to_owned(), nanos(at))];
    Value::Object(time.into_iter().chain(known).collect())
}

/// A time as the API writes it, in whole seconds.
fn nanos(at: i64) -> Value {
    seconds(at.div_euclid(1_000_000_000))
}

fn seconds(at: i64) -> Value {
    Timestamp::from_second(at).map_or(Value::Null, |at| json!(at.to_string()))
}
