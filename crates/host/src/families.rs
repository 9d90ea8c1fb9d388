//! Metrics of control groups by the names, help and types of cadvisor's `metrics/prometheus.go`: what the kubelet serves, and what the
//! runtime tells over CRI.

use crate::{
    net_dev::Interface,
    usage::{self, Pressure, Pressures},
};

/// Whether a figure only grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
}

/// A file system's figures, bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub capacity: u64,
    pub available: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

/// What is known of a group.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub cpu: Option<usage::Cpu>,
    pub memory: Option<usage::Memory>,
    pub pressures: Pressures,
    pub threads: Option<u64>,
    pub processes: Option<u64>,
    /// When it was made, nanoseconds since 1970.
    pub created: Option<i64>,
    /// Bytes of what a container has written, and the file system on which it is.
    pub written: Option<(u64, Disk)>,
}

/// A family of control groups.
#[derive(Debug)]
pub struct OfGroup {
    pub name: &'static str,
    pub help: &'static str,
    pub kind: Kind,
    /// A label beside those that all have.
    pub extra: Option<&'static str>,
    /// Absent for groups that have no such figure.
    pub figure: fn(&Figures) -> Option<f64>,
}

/// A counter of interfaces.
#[derive(Debug)]
pub struct OfInterface {
    pub name: &'static str,
    pub help: &'static str,
    pub figure: fn(&Interface) -> u64,
}

const fn counter(
    name: &'static str,
    help: &'static str,
    figure: fn(&Figures) -> Option<f64>,
) -> OfGroup {
    OfGroup {
        name,
        help,
        kind: Kind::Counter,
        extra: None,
        figure,
    }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    figure: fn(&Figures) -> Option<f64>,
) -> OfGroup {
    OfGroup {
        kind: Kind::Gauge,
        ..counter(name, help, figure)
    }
}

const fn with(label: &'static str, family: OfGroup) -> OfGroup {
    OfGroup {
        extra: Some(label),
        ..family
    }
}

pub const OF_GROUPS: [OfGroup; 28] = [
    with(
        "cpu",
        counter(
            "container_cpu_usage_seconds_total",
            "Cumulative cpu time consumed in seconds.",
            |one| Some(seconds(one.cpu?.total)),
        ),
    ),
    counter(
        "container_cpu_user_seconds_total",
        "Cumulative user cpu time consumed in seconds.",
        |one| Some(seconds(one.cpu?.user)),
    ),
    counter(
        "container_cpu_system_seconds_total",
        "Cumulative system cpu time consumed in seconds.",
        |one| Some(seconds(one.cpu?.system)),
    ),
    counter(
        "container_cpu_cfs_periods_total",
        "Number of elapsed enforcement period intervals.",
        |one| Some(with_quota(one)?.periods as f64),
    ),
    counter(
        "container_cpu_cfs_throttled_periods_total",
        "Number of throttled period intervals.",
        |one| Some(with_quota(one)?.throttled_periods as f64),
    ),
    counter(
        "container_cpu_cfs_throttled_seconds_total",
        "Total time duration the container has been throttled.",
        |one| Some(seconds(with_quota(one)?.throttled)),
    ),
    with(
        "device",
        gauge(
            "container_fs_usage_bytes",
            "Number of bytes that are consumed by the container on this filesystem.",
            |one| Some(one.written?.0 as f64),
        ),
    ),
    with(
        "device",
        gauge(
            "container_fs_limit_bytes",
            "Number of bytes that can be consumed by the container on this filesystem.",
            |one| Some(one.written?.1.capacity as f64),
        ),
    ),
    with(
        "device",
        gauge("container_fs_inodes_total", "Number of Inodes", |one| {
            Some(one.written?.1.inodes as f64)
        }),
    ),
    with(
        "device",
        gauge(
            "container_fs_inodes_free",
            "Number of available Inodes",
            |one| Some(one.written?.1.inodes_free as f64),
        ),
    ),
    gauge(
        "container_memory_cache",
        "Number of bytes of page cache memory.",
        |one| Some(one.memory?.cache as f64),
    ),
    gauge("container_memory_rss", "Size of RSS in bytes.", |one| {
        Some(one.memory?.rss as f64)
    }),
    gauge(
        "container_memory_mapped_file",
        "Size of memory mapped files in bytes.",
        |one| Some(one.memory?.mapped_file as f64),
    ),
    gauge(
        "container_memory_swap",
        "Container swap usage in bytes.",
        |one| Some(one.memory?.swap? as f64),
    ),
    counter(
        "container_memory_failcnt",
        "Number of memory usage hits limits",
        |one| Some(one.memory?.failures as f64),
    ),
    gauge(
        "container_memory_usage_bytes",
        "Current memory usage in bytes, including all memory regardless of when it was accessed",
        |one| Some(one.memory?.usage as f64),
    ),
    gauge(
        "container_memory_max_usage_bytes",
        "Maximum memory usage recorded in bytes",
        |one| Some(one.memory?.most? as f64),
    ),
    gauge(
        "container_memory_working_set_bytes",
        "Current working set in bytes.",
        |one| Some(one.memory?.working_set as f64),
    ),
    // 0 is none.
    gauge(
        "container_spec_memory_limit_bytes",
        "Memory limit for the container.",
        |one| Some(one.memory?.limit.unwrap_or(0) as f64),
    ),
    gauge(
        "container_start_time_seconds",
        "Start time of the container since unix epoch in seconds.",
        |one| Some(seconds(u64::try_from(one.created?).ok()?)),
    ),
    gauge(
        "container_processes",
        "Number of processes running inside the container.",
        |one| Some(one.processes? as f64),
    ),
    gauge(
        "container_threads",
        "Number of threads running inside the container",
        |one| Some(one.threads? as f64),
    ),
    counter(
        "container_pressure_cpu_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to CPU congestion.",
        |one| full(one.pressures.cpu),
    ),
    counter(
        "container_pressure_cpu_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to CPU congestion.",
        |one| some(one.pressures.cpu),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to memory congestion.",
        |one| full(one.pressures.memory),
    ),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to memory congestion.",
        |one| some(one.pressures.memory),
    ),
    counter(
        "container_pressure_io_stalled_seconds_total",
        "Total time duration no tasks in the container could make progress due to IO congestion.",
        |one| full(one.pressures.io),
    ),
    counter(
        "container_pressure_io_waiting_seconds_total",
        "Total time duration tasks in the container have waited due to IO congestion.",
        |one| some(one.pressures.io),
    ),
];

pub const OF_INTERFACES: [OfInterface; 8] = [
    of_interface(
        "container_network_receive_bytes_total",
        "Cumulative count of bytes received",
        |one| one.received.bytes,
    ),
    of_interface(
        "container_network_receive_packets_total",
        "Cumulative count of packets received",
        |one| one.received.packets,
    ),
    of_interface(
        "container_network_receive_packets_dropped_total",
        "Cumulative count of packets dropped while receiving",
        |one| one.received.dropped,
    ),
    of_interface(
        "container_network_receive_errors_total",
        "Cumulative count of errors encountered while receiving",
        |one| one.received.errors,
    ),
    of_interface(
        "container_network_transmit_bytes_total",
        "Cumulative count of bytes transmitted",
        |one| one.sent.bytes,
    ),
    of_interface(
        "container_network_transmit_packets_total",
        "Cumulative count of packets transmitted",
        |one| one.sent.packets,
    ),
    of_interface(
        "container_network_transmit_packets_dropped_total",
        "Cumulative count of packets dropped while transmitting",
        |one| one.sent.dropped,
    ),
    of_interface(
        "container_network_transmit_errors_total",
        "Cumulative count of errors encountered while transmitting",
        |one| one.sent.errors,
    ),
];

const fn of_interface(
    name: &'static str,
    help: &'static str,
    figure: fn(&Interface) -> u64,
) -> OfInterface {
    OfInterface { name, help, figure }
}

/// Groups without a quota are never throttled, and have no such series.
fn with_quota(figures: &Figures) -> Option<usage::Cpu> {
    figures.cpu.filter(|cpu| cpu.periods > 0)
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn some(pressure: Option<Pressure>) -> Option<f64> {
    Some(pressure?.some.total as f64 / 1e6)
}

fn full(pressure: Option<Pressure>) -> Option<f64> {
    Some(pressure?.full.total as f64 / 1e6)
}
