//! Metrics of pods and containers over CRI: cadvisor's names, as the kubelet serves them itself. Its labels are here in the order of the
//! alphabet, as everywhere. CRI has whole numbers alone: what is counted in seconds loses what is less than one, as with other
//! runtimes.

use std::path::Path;

use knarr_cri::v1::{
    ContainerMetrics, Metric, MetricDescriptor, MetricType, PodSandboxMetrics, UInt64Value,
};
use knarr_host::{
    families::{Disk, Figures, Kind, OF_GROUPS, OF_INTERFACES},
    net_dev,
};

use crate::container::{Container, Phase};
use crate::sandbox::{INTERFACE, Sandbox};
use crate::{cgroup, files};

/// Labels that all have.
const LABELS: [&str; 6] = ["container", "id", "image", "name", "namespace", "pod"];

/// What a series is of: the values of its labels.
#[derive(Clone, Copy)]
struct Subject<'a> {
    container: &'a str,
    id: &'a str,
    image: &'a str,
    name: &'a str,
    namespace: &'a str,
    pod: &'a str,
}

impl Subject<'_> {
    /// In the order of [`keys`].
    fn values(&self, extra: Option<(&str, &str)>) -> Vec<String> {
        let own = [
            self.container,
            self.id,
            self.image,
            self.name,
            self.namespace,
            self.pod,
        ];
        let mut all: Vec<(&str, &str)> = LABELS.into_iter().zip(own).collect();
        all.extend(extra);
        all.sort_unstable();
        all.into_iter().map(|(_, value)| value.to_owned()).collect()
    }
}

fn keys(extra: Option<&str>) -> Vec<String> {
    let mut all = LABELS.to_vec();
    all.extend(extra);
    all.sort_unstable();
    all.into_iter().map(str::to_owned).collect()
}

/// What there may be metrics of.
pub(super) fn descriptors() -> Vec<MetricDescriptor> {
    let of = |name: &str, help: &str, extra| MetricDescriptor {
        name: name.to_owned(),
        help: help.to_owned(),
        label_keys: keys(extra),
    };
    let groups = OF_GROUPS.iter().map(|f| of(f.name, f.help, f.extra));
    let interfaces = OF_INTERFACES
        .iter()
        .map(|f| of(f.name, f.help, Some("interface")));
    groups.chain(interfaces).collect()
}

/// Those of a sandbox and of its containers that run. Reads files: blocking.
pub(super) fn of_sandbox(
    sandbox: &Sandbox,
    containers: &[std::sync::Arc<Container>],
) -> PodSandboxMetrics {
    let record = &sandbox.record;
    let metadata = record.config.metadata.clone().unwrap_or_default();
    let id = record.cgroup_parent.display().to_string();
    let subject = Subject {
        container: "",
        id: &id,
        image: "",
        name: "",
        namespace: &metadata.namespace,
        pod: &metadata.name,
    };
    let mut own = of_group(subject, &figures(&record.cgroup_parent, record.created_at));
    own.extend(of_interfaces(subject, sandbox));
    let running = containers
        .iter()
        .filter(|one| one.status.lock().phase == Phase::Running);
    PodSandboxMetrics {
        pod_sandbox_id: record.id.clone(),
        metrics: own,
        container_metrics: running.map(|one| of_container(subject, one)).collect(),
    }
}

fn of_container(pod: Subject<'_>, container: &Container) -> ContainerMetrics {
    let record = &container.record;
    let id = record.cgroup.display().to_string();
    let metadata = record.config.metadata.clone().unwrap_or_default();
    let asked = record.config.image.clone().unwrap_or_default();
    let image = match asked.user_specified_image.as_str() {
        "" => &asked.image,
        told => told,
    };
    let subject = Subject {
        container: &metadata.name,
        id: &id,
        image,
        name: &record.id,
        ..pod
    };
    let upper = container.snapshot().upper();
    let written = container.written.usage(&upper).used_bytes;
    let figures = Figures {
        written: written.map(|bytes| bytes.value).zip(disk(&upper)),
        processes: u64::try_from(cgroup::host().pids(&record.cgroup).len()).ok(),
        ..figures(&record.cgroup, record.created_at)
    };
    ContainerMetrics {
        container_id: record.id.clone(),
        metrics: of_group(subject, &figures),
    }
}

fn figures(cgroup: &Path, created: i64) -> Figures {
    let group = cgroup::host().usage(cgroup);
    Figures {
        cpu: group.cpu(),
        memory: group.memory(),
        pressures: group.pressures(),
        threads: group.threads(),
        created: Some(created),
        ..Figures::default()
    }
}

fn of_group(subject: Subject<'_>, figures: &Figures) -> Vec<Metric> {
    let of = |family: &knarr_host::families::OfGroup| {
        let value = (family.figure)(figures)?;
        let extra = match family.extra {
            Some("cpu") => Some(("cpu", "total")),
            // The device is what the kubelet knows, which has the disk looked at as a whole.
            Some(label) => Some((label, "")),
            None => None,
        };
        let kind = match family.kind {
            Kind::Counter => MetricType::Counter,
            Kind::Gauge => MetricType::Gauge,
        };
        // Rust's conversion ends at the bounds of the type; there is no figure below 0.
        Some(metric(
            family.name,
            kind,
            subject.values(extra),
            value as u64,
        ))
    };
    OF_GROUPS.iter().filter_map(of).collect()
}

fn of_interfaces(subject: Subject<'_>, sandbox: &Sandbox) -> Vec<Metric> {
    let pid = sandbox.status.lock().shim_pid;
    if sandbox.record.host_network || pid <= 0 {
        return Vec::new();
    }
    let all = net_dev::of_process(pid, INTERFACE, net_dev::MAX_INTERFACES_OF_POD);
    let of = |interface: &net_dev::Interface| {
        OF_INTERFACES
            .iter()
            .map(|family| {
                let labels = subject.values(Some(("interface", &interface.name)));
                let value = (family.figure)(interface);
                metric(family.name, MetricType::Counter, labels, value)
            })
            .collect::<Vec<_>>()
    };
    all.iter().flat_map(of).collect()
}

fn metric(name: &str, kind: MetricType, label_values: Vec<String>, value: u64) -> Metric {
    Metric {
        name: name.to_owned(),
        timestamp: files::now(),
        metric_type: kind.into(),
        label_values,
        value: Some(UInt64Value { value }),
    }
}

fn disk(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Some(Disk {
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_in_the_order_of_the_descriptors_labels() {
        let all = descriptors();
        let of = |name: &str| all.iter().find(|one| one.name == name).unwrap();
        let subject = Subject {
            container: "c",
            id: "/g",
            image: "i",
            name: "n",
            namespace: "ns",
            pod: "p",
        };
        let usage = of("container_cpu_usage_seconds_total");
        let labels: Vec<_> = usage
            .label_keys
            .iter()
            .cloned()
            .zip(subject.values(Some(("cpu", "total"))))
            .collect();
        let wanted = [
            ("container", "c"),
            ("cpu", "total"),
            ("id", "/g"),
            ("image", "i"),
            ("name", "n"),
            ("namespace", "ns"),
            ("pod", "p"),
        ];
        assert_eq!(
            labels,
            wanted.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        let figures = Figures {
            cpu: Some(knarr_host::usage::Cpu {
                total: 2_900_000_000,
                ..Default::default()
            }),
            ..Figures::default()
        };
        let told = of_group(subject, &figures);
        for metric in &told {
            let keys = &of(&metric.name).label_keys;
            assert_eq!(keys.len(), metric.label_values.len(), "{}", metric.name);
        }
        let usage = told.iter().find(|one| one.name == usage.name).unwrap();
        assert_eq!(usage.value.unwrap().value, 2);
        assert_eq!(usage.metric_type(), MetricType::Counter);
    }
}
