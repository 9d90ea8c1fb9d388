//! `/metrics/cadvisor`: the names, labels and meanings of cadvisor's `metrics/prometheus.go` that dashboards read.
//!
//! As there, a series is of a control group, whose path is the label `id`: the root, what all pods are in, each pod (with neither
//! container nor image) and each container. Networks are the pods'.

use std::sync::Arc;

use knarr_host::{
    families::{self, Disk, Figures, Kind},
    net_dev::Interface,
};

use super::{
    Container, Pod, Usage,
    groups::{self, Groups},
    node,
    text::{Text, Type},
};
use crate::context::Shared;

/// A control group and what is known of it.
#[derive(Default)]
struct Subject {
    id: String,
    container: String,
    image: String,
    /// The container's id.
    name: String,
    namespace: String,
    pod: String,
    at: i64,
    figures: Figures,
    interfaces: Vec<Interface>,
}

/// What the machine has.
struct Machine {
    cores: i64,
    memory: i64,
    swap: u64,
    /// Of the file system that containers write to.
    device: String,
}

/// The document.
///
/// # Errors
/// Why the runtime says nothing.
pub(crate) async fn cadvisor(ctx: &Shared) -> Result<String, String> {
    let usage = ctx.stats.usage(ctx).await?;
    let shared = ctx.clone();
    let written = tokio::task::spawn_blocking(move || {
        let (machine, subjects) = (machine(&shared), subjects(&shared, &usage));
        write(&machine, &subjects)
    });
    written.await.map_err(|error| error.to_string())
}

fn machine(ctx: &Shared) -> Machine {
    Machine {
        cores: ctx.machine.cpu_milli / 1_000,
        memory: ctx.machine.memory_bytes,
        swap: node::swap_capacity(),
        device: node::device(&ctx.config.data_dir).unwrap_or_default(),
    }
}

/// Reads the groups of containers: blocking.
fn subjects(ctx: &Shared, usage: &Arc<Usage>) -> Vec<Subject> {
    let groups = Groups::new(ctx);
    let disk = node::disk(&ctx.config.data_dir);
    let mut all = vec![
        Subject {
            id: "/".to_owned(),
            interfaces: usage.interfaces.clone(),
            ..of_group(&usage.node)
        },
        Subject {
            id: groups.all_pods(),
            ..of_group(&usage.all_pods)
        },
    ];
    for pod in &usage.pods {
        all.push(Subject {
            id: pod.path.clone(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            interfaces: pod.interfaces.clone(),
            ..of_group(&pod.group)
        });
        if let Some(of_pod) = all.last_mut() {
            of_pod.figures.created = Some(pod.created);
        }
        let of = |container| of_container(&groups, pod, container, disk);
        all.extend(pod.containers.iter().map(of));
    }
    all
}

fn of_group(group: &super::Group) -> Subject {
    Subject {
        at: group.at,
        figures: Figures {
            cpu: group.cpu,
            memory: group.memory,
            pressures: group.pressures,
            ..Figures::default()
        },
        ..Subject::default()
    }
}

fn of_container(groups: &Groups, pod: &Pod, container: &Container, disk: Option<Disk>) -> Subject {
    let group = groups.container(&pod.path, &container.id);
    let written = container.stats.writable_layer.as_ref();
    let bytes = written.and_then(|written| written.used_bytes);
    Subject {
        id: groups::container(&pod.path, &container.id),
        container: container.name.clone(),
        image: container.image.clone(),
        name: container.id.clone(),
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        at: node::now(),
        figures: Figures {
            cpu: group.cpu(),
            memory: group.memory(),
            pressures: group.pressures(),
            threads: group.threads(),
            processes: u64::try_from(group.processes().count()).ok(),
            created: Some(container.created),
            written: bytes.map(|bytes| bytes.value).zip(disk),
        },
        interfaces: Vec::new(),
    }
}

fn write(machine: &Machine, subjects: &[Subject]) -> String {
    let mut text = Text::default();
    for family in families::OF_GROUPS {
        let kind = match family.kind {
            Kind::Counter => Type::Counter,
            Kind::Gauge => Type::Gauge,
        };
        text.family(family.name, family.help, kind);
        for subject in subjects {
            let Some(value) = (family.figure)(&subject.figures) else {
                continue;
            };
            let extra = match family.extra {
                Some("device") => Some(("device", machine.device.as_str())),
                Some("cpu") => Some(("cpu", "total")),
                _ => None,
            };
            sample(&mut text, family.name, subject, extra, value);
        }
    }
    for family in families::OF_INTERFACES {
        text.family(family.name, family.help, Type::Counter);
        for subject in subjects {
            for interface in &subject.interfaces {
                let extra = Some(("interface", interface.name.as_str()));
                let value = (family.figure)(interface) as f64;
                sample(&mut text, family.name, subject, extra, value);
            }
        }
    }
    for (name, help, value) in [
        (
            "machine_cpu_cores",
            "Number of logical CPU cores.",
            machine.cores as f64,
        ),
        (
            "machine_memory_bytes",
            "Amount of memory installed on the machine.",
            machine.memory as f64,
        ),
        (
            "machine_swap_bytes",
            "Amount of swap memory available on the machine.",
            machine.swap as f64,
        ),
    ] {
        text.family(name, help, Type::Gauge);
        text.sample(name, &[], value, 0);
    }
    text.finish()
}

/// A sample of a group; labels are in the order of the alphabet.
fn sample(text: &mut Text, name: &str, subject: &Subject, extra: Option<(&str, &str)>, value: f64) {
    let mut labels = vec![
        ("container", subject.container.as_str()),
        ("id", &subject.id),
        ("image", &subject.image),
        ("name", &subject.name),
        ("namespace", &subject.namespace),
        ("pod", &subject.pod),
    ];
    labels.extend(extra);
    labels.sort_unstable();
    text.sample(name, &labels, value, subject.at);
}
