//! `/metrics/resource`: what metrics-server scrapes. Upstream's `pkg/kubelet/metrics/collectors/resource_metrics.go`.

use knarr_cri::v1;

use super::{
    Pod, Usage,
    text::{Text, Type},
};

/// A figure that a family has of something, and when it was taken.
type Figure = Option<(f64, i64)>;

/// A family of containers: name, help, type, and the figure of a container.
type OfContainer = (
    &'static str,
    &'static str,
    Type,
    fn(&super::Container) -> Figure,
);

const CONTAINERS: [OfContainer; 4] = [
    (
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        Type::Counter,
        |one| {
            let cpu = one.stats.cpu.as_ref()?;
            Some((seconds(cpu.usage_core_nano_seconds?.value), cpu.timestamp))
        },
    ),
    (
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        Type::Gauge,
        |one| {
            let memory = one.stats.memory.as_ref()?;
            Some((number(memory.working_set_bytes)?, memory.timestamp))
        },
    ),
    (
        "container_start_time_seconds",
        "[STABLE] Start time of the container since unix epoch in seconds",
        Type::Gauge,
        |one| Some((seconds(u64::try_from(one.created).ok()?), 0)).filter(|(at, _)| *at > 0.0),
    ),
    (
        "container_swap_usage_bytes",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        Type::Gauge,
        |one| {
            let swap = one.stats.swap.as_ref()?;
            Some((number(swap.swap_usage_bytes)?, swap.timestamp))
        },
    ),
];

/// A family of groups, of the node as `node_...` and of pods as `pod_...`.
type OfGroup = (
    &'static str,
    &'static str,
    Type,
    fn(&super::Group) -> Figure,
);

const GROUPS: [OfGroup; 3] = [
    (
        "cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the {} in core-seconds",
        Type::Counter,
        |group| Some((seconds(group.cpu?.total), group.at)),
    ),
    (
        "memory_working_set_bytes",
        "[STABLE] Current working set of the {} in bytes",
        Type::Gauge,
        |group| Some((group.memory?.working_set as f64, group.at)),
    ),
    (
        "swap_usage_bytes",
        "[ALPHA] Current {} swap usage in bytes. Reported only on non-windows systems",
        Type::Gauge,
        |group| Some((group.memory?.swap? as f64, group.at)),
    ),
];

/// The document; where nothing could be collected, one that says so.
pub(crate) fn resource(usage: Option<&Usage>) -> String {
    let mut text = Text::default();
    if let Some(usage) = usage {
        for (name, help, kind, figure) in CONTAINERS {
            text.family(name, help, kind);
            for (pod, container) in all(&usage.pods) {
                if let Some((value, at)) = figure(container) {
                    let labels = [
                        ("container", container.name.as_str()),
                        ("namespace", &pod.namespace),
                        ("pod", &pod.name),
                    ];
                    text.sample(name, &labels, value, at);
                }
            }
        }
        for (name, help, kind, figure) in GROUPS {
            let node = format!("node_{name}");
            text.family(&node, &help.replace("{}", "node"), kind);
            if let Some((value, at)) = figure(&usage.node) {
                text.sample(&node, &[], value, at);
            }
            let of_pods = format!("pod_{name}");
            text.family(&of_pods, &help.replace("{}", "pod"), kind);
            for pod in &usage.pods {
                if let Some((value, at)) = figure(&pod.group) {
                    let labels = [("namespace", pod.namespace.as_str()), ("pod", &pod.name)];
                    text.sample(&of_pods, &labels, value, at);
                }
            }
        }
    }
    let failed = if usage.is_none() { 1.0 } else { 0.0 };
    let name = "resource_scrape_error";
    let help = "[STABLE] 1 if there was an error while getting container metrics, 0 otherwise";
    text.family(name, help, Type::Gauge);
    text.sample(name, &[], failed, 0);
    text.finish()
}

/// Every container with its pod.
fn all(pods: &[Pod]) -> impl Iterator<Item = (&Pod, &super::Container)> {
    pods.iter().flat_map(|pod| {
        let containers = pod.containers.iter();
        containers.map(move |container| (pod, container))
    })
}

fn number(value: Option<v1::UInt64Value>) -> Option<f64> {
    value.map(|value| value.value as f64)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
