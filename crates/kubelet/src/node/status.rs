//! The node's status, as upstream's kubelet writes it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{
        ContainerImage, DaemonEndpoint, NodeAddress, NodeCondition, NodeDaemonEndpoints,
        NodeFeatures, NodeRuntimeHandler, NodeRuntimeHandlerFeatures, NodeStatus,
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::Time},
};
use knarr_cri::v1;
use knarr_meta::quantity::{self, Format};
use serde_json::Value;

use super::Machine;
use crate::{
    config::Config,
    context::Shared,
    eviction::Pressure,
    resources::units::{CPU, HUGE_PAGES, MEMORY, STORAGE},
};

/// Names reported of one image.
const MAX_IMAGE_NAMES: usize = 5;

/// What this kubelet can do that the control plane has to know of a node, in order: of what upstream's declares by default all.
const DECLARED: [&str; 4] = [
    WEB_SOCKETS,
    "InPlacePodLevelResourcesVerticalScaling",
    "InPlacePodVerticalScalingInitContainers",
    "RestartAllContainersOnContainerExits",
];
/// Streams of version 5 over WebSockets. They are handed to the runtime as they come, and only ours is known to speak them.
const WEB_SOCKETS: &str = "ExtendWebSocketsToKubelet";
/// How our runtime calls itself.
const OUR_RUNTIME: &str = "knarr";

type Amounts = BTreeMap<String, Quantity>;

/// Makes the status now; conditions carry their transition times over from `old`.
pub(super) async fn make(ctx: &Shared, port: u16, old: &NodeStatus) -> NodeStatus {
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();
    let runtime = ctx.runtime.status(v1::StatusRequest { verbose: false });
    let (trouble, runtime_handlers) = match runtime.await {
        Ok(answer) => (trouble(&answer), handlers(&answer)),
        // What it could do it can do again.
        Err(error) => (
            Some(format!("container runtime is down: {error}")),
            old.runtime_handlers.clone(),
        ),
    };
    let trouble = joined(trouble, ctx.shutdown.trouble());
    let own = amounts(&ctx.machine, ctx.machine.room(&ctx.config).pods);
    let capacity = capacity(own, old.capacity.as_ref());
    let (capacity, of_pods) = with_devices(capacity, ctx.devices.capacity());
    NodeStatus {
        // What others say there is of a resource is there for pods.
        allocatable: Some(allocatable(of_pods, &ctx.machine, &ctx.config)),
        capacity: Some(capacity),
        addresses: Some(addresses(&ctx.config)),
        conditions: Some(conditions(old, trouble, &ctx.evictions.pressures(), now)),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint {
                port: i32::from(port),
            }),
        }),
        node_info: Some(ctx.machine.info.clone()),
        images: images(ctx).await,
        features: Some(NodeFeatures {
            supplemental_groups_policy: Some(ctx.features.supplemental_groups_policy),
        }),
        runtime_handlers,
        declared_features: Some(declared(&ctx.runtime_name)),
        volumes_in_use: in_use(ctx.csi.volumes_in_use(), old),
        ..Default::default()
    }
}

/// What is declared with this runtime.
fn declared(runtime: &str) -> Vec<String> {
    let all = DECLARED.into_iter();
    all.filter(|name| *name != WEB_SOCKETS || runtime == OUR_RUNTIME)
        .map(str::to_owned)
        .collect()
}

fn addresses(config: &Config) -> Vec<NodeAddress> {
    let ips = config.host_ips().into_iter().map(|ip| ("InternalIP", ip));
    let name = ("Hostname", config.node_name.clone());
    let all = ips.chain([name]).map(|(kind, address)| NodeAddress {
        type_: kind.to_owned(),
        address,
    });
    all.collect()
}

/// Volumes that are not to be detached; none at all where none were told of.
fn in_use(volumes: Vec<String>, old: &NodeStatus) -> Option<Vec<String>> {
    (!volumes.is_empty() || old.volumes_in_use.is_some()).then_some(volumes)
}

/// Whether a write is worth it: anything but heartbeat times differs.
pub(super) fn changed(old: &NodeStatus, new: &NodeStatus) -> bool {
    let still = |status: &NodeStatus| {
        let mut status = status.clone();
        let ours = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"];
        let conditions = status.conditions.get_or_insert_default();
        conditions.retain(|c| ours.contains(&c.type_.as_str()));
        conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
        for condition in conditions {
            condition.last_heartbeat_time = None;
        }
        NodeStatus {
            capacity: status.capacity,
            allocatable: status.allocatable,
            addresses: status.addresses,
            conditions: status.conditions,
            daemon_endpoints: status.daemon_endpoints,
            node_info: status.node_info,
            images: status.images,
            features: status.features,
            runtime_handlers: status.runtime_handlers,
            declared_features: status.declared_features,
            volumes_in_use: Some(status.volumes_in_use.unwrap_or_default()),
            ..Default::default()
        }
    };
    still(old) != still(new)
}

/// What of the status is to be written. Amounts one by one, since others write theirs at the same time; one that is gone is taken
/// away.
pub(super) fn patch(old: &Value, mut new: Value) -> Value {
    let Some(fields) = new.as_object_mut() else {
        return new;
    };
    for field in ["capacity", "allocatable"] {
        let before = old.get(field).and_then(Value::as_object);
        let Some(amounts) = fields.get_mut(field).and_then(Value::as_object_mut) else {
            continue;
        };
        for name in before.into_iter().flat_map(|before| before.keys()) {
            amounts.entry(name).or_insert(Value::Null);
        }
        amounts.retain(|name, amount| before.and_then(|before| before.get(name)) != Some(amount));
    }
    fields.retain(|key, value| {
        let empty = value.as_object().is_some_and(serde_json::Map::is_empty);
        !empty && old.get(key) != Some(value)
    });
    new
}

/// What of the capacity is there for pods: not what is reserved, what must be left, and what is set aside for huge pages.
fn allocatable(mut amounts: Amounts, machine: &Machine, config: &Config) -> Amounts {
    let room = machine.room(config).units;
    let cpu = match room.get(CPU) {
        whole if whole % 1_000 == 0 => (whole / 1_000).to_string(),
        milli => format!("{milli}m"),
    };
    for (name, amount) in [
        (CPU, cpu),
        (MEMORY, format!("{}Ki", room.get(MEMORY) / 1_024)),
        (STORAGE, storage_amount(room.get(STORAGE))),
    ] {
        amounts.insert(name.to_owned(), Quantity(amount));
    }
    amounts
}

/// Upstream writes room on disks with decimal units, capacity and what is left of it alike.
fn storage_amount(bytes: i64) -> String {
    quantity::Quantity::new(bytes.max(0), Format::DecimalSi).to_string()
}

fn amounts(machine: &Machine, pods: usize) -> Amounts {
    let mut amounts = BTreeMap::from([
        (
            "cpu".to_owned(),
            Quantity((machine.cpu_milli / 1_000).to_string()),
        ),
        (
            "memory".to_owned(),
            Quantity(format!("{}Ki", machine.memory_bytes / 1_024)),
        ),
        (
            "ephemeral-storage".to_owned(),
            Quantity(storage_amount(machine.storage_bytes)),
        ),
        ("pods".to_owned(), Quantity(pods.to_string())),
    ]);
    for (size, bytes) in &machine.huge_pages {
        let name = format!("{HUGE_PAGES}{}", size.in_resources());
        amounts.insert(name, Quantity(bytes.to_string()));
    }
    amounts
}

/// The node's own amounts and those that others have written, as administrators advertise extended resources. Sizes of huge pages
/// are the node's alone: one that it does not have any more goes.
fn capacity(mut own: Amounts, old: Option<&Amounts>) -> Amounts {
    for (name, amount) in old.into_iter().flatten() {
        if !name.starts_with(HUGE_PAGES) {
            own.entry(name.clone()).or_insert_with(|| amount.clone());
        }
    }
    own
}

/// With the devices of plugins, of which those that are broken cannot be had.
fn with_devices(
    mut capacity: Amounts,
    devices: BTreeMap<String, (usize, usize)>,
) -> (Amounts, Amounts) {
    let mut allocatable = capacity.clone();
    for (name, (all, healthy)) in devices {
        capacity.insert(name.clone(), Quantity(all.to_string()));
        allocatable.insert(name, Quantity(healthy.to_string()));
    }
    (capacity, allocatable)
}

/// The runtime's handlers with what they can do.
fn handlers(answer: &v1::StatusResponse) -> Option<Vec<NodeRuntimeHandler>> {
    let of = |handler: &v1::RuntimeHandler| {
        // One that says nothing of them has none.
        let features = handler.features.unwrap_or_default();
        NodeRuntimeHandler {
            name: Some(handler.name.clone()),
            features: Some(NodeRuntimeHandlerFeatures {
                recursive_read_only_mounts: Some(features.recursive_read_only_mounts),
                user_namespaces: Some(features.user_namespaces),
            }),
        }
    };
    let all: Vec<NodeRuntimeHandler> = answer.runtime_handlers.iter().map(of).collect();
    (!all.is_empty()).then_some(all)
}

/// What keeps the node from being ready, all of it.
fn joined(trouble: Option<String>, more: Option<&str>) -> Option<String> {
    match (trouble, more) {
        (Some(trouble), Some(more)) => Some(format!("[{trouble}, {more}]")),
        (trouble, more) => trouble.or_else(|| more.map(str::to_owned)),
    }
}

/// What keeps the runtime from running pods.
fn trouble(answer: &v1::StatusResponse) -> Option<String> {
    let mut trouble = Vec::new();
    for condition in answer.status.iter().flat_map(|s| &s.conditions) {
        if condition.status {
            continue;
        }
        let v1::RuntimeCondition {
            r#type,
            reason,
            message,
            ..
        } = condition;
        match r#type.as_str() {
            "NetworkReady" => trouble.push(format!(
                "container runtime network not ready: NetworkReady=false reason:{reason} message:{message}"
            )),
            "RuntimeReady" => trouble.push(format!(
                "container runtime is not ready: RuntimeReady=false reason:{reason} message:{message}"
            )),
            _ => {}
        }
    }
    (!trouble.is_empty()).then(|| format!("[{}]", trouble.join(", ")))
}

pub(super) fn conditions(
    old: &NodeStatus,
    trouble: Option<String>,
    pressures: &[Pressure],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let ready = match trouble {
        None => (
            "Ready",
            "True",
            "KubeletReady",
            "kubelet is posting ready status".to_owned(),
        ),
        Some(message) => ("Ready", "False", "KubeletNotReady", message),
    };
    let pressure = |pressure: Pressure| {
        let (reason, message) = match (pressure, pressures.contains(&pressure)) {
            (Pressure::Memory, false) => (
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
            (Pressure::Memory, true) => (
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ),
            (Pressure::Disk, false) => ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            (Pressure::Disk, true) => ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            (Pressure::Pid, false) => (
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
            (Pressure::Pid, true) => (
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            ),
        };
        let status = match pressures.contains(&pressure) {
            true => "True",
            false => "False",
        };
        (pressure.condition(), status, reason, message.to_owned())
    };
    [
        pressure(Pressure::Memory),
        pressure(Pressure::Disk),
        pressure(Pressure::Pid),
        ready,
    ]
    .into_iter()
    .map(|(kind, status, reason, message)| {
        let before = old.conditions.iter().flatten().find(|c| c.type_ == kind);
        let since = before
            .filter(|c| c.status == status)
            .and_then(|c| c.last_transition_time.clone());
        NodeCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: since.or(Some(Time(now))),
        }
    })
    .collect()
}

/// Whether a condition is true; `None` where there is none.
pub(super) fn holds(status: &NodeStatus, kind: &str) -> Option<bool> {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|condition| condition.type_ == kind);
    found.map(|condition| condition.status == "True")
}

/// Reasons of upstream's events for what has become of the node. That a node is not ready at first is no news.
pub(super) fn transitions(old: &NodeStatus, new: &NodeStatus) -> Vec<&'static str> {
    let kinds = [
        (
            "MemoryPressure",
            "NodeHasInsufficientMemory",
            "NodeHasSufficientMemory",
        ),
        (
            "DiskPressure",
            "NodeHasDiskPressure",
            "NodeHasNoDiskPressure",
        ),
        (
            "PIDPressure",
            "NodeHasInsufficientPID",
            "NodeHasSufficientPID",
        ),
        ("Ready", "NodeReady", "NodeNotReady"),
    ];
    let mut reasons = Vec::new();
    for (kind, yes, no) in kinds {
        match (holds(old, kind), holds(new, kind)) {
            (before, now) if before == now => {}
            (_, Some(true)) => reasons.push(yes),
            (None, Some(false)) if kind == "Ready" => {}
            (_, Some(false)) => reasons.push(no),
            (_, None) => {}
        }
    }
    reasons
}

async fn images(ctx: &Shared) -> Option<Vec<ContainerImage>> {
    let most = ctx.config.configuration.settings.node_status_max_images;
    if most == 0 {
        return None;
    }
    // All of them for -1.
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let list = ctx
        .runtime
        .list_images(v1::ListImagesRequest { filter: None })
        .await;
    let mut images = list.map(|l| l.images).unwrap_or_default();
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    let images = images.into_iter().take(most).map(|image| {
        let names = image.repo_digests.into_iter().chain(image.repo_tags);
        ContainerImage {
            names: Some(names.take(MAX_IMAGE_NAMES).collect()),
            size_bytes: i64::try_from(image.size).ok(),
        }
    });
    Some(images.collect())
}

#[cfg(test)]
mod tests;
