//! Paths of the kernel's file systems that containers do not get as they are: upstream's lists.

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Shown, not to be written.
pub const READ_ONLY: [&str; 5] = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
];

/// Hidden from containers: the list above, and each processor's thermal throttling where the host has it.
#[must_use]
pub fn masked() -> Vec<String> {
    let processors = std::fs::read_dir("/sys/devices/system/cpu")
        .into_iter()
        .flatten()
        .flatten();
    let mut throttles: Vec<String> = processors
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.exists())
        .filter_map(|path| path.to_str().map(str::to_owned))
        .collect();
    throttles.sort();
    MASKED
        .iter()
        .map(|path| (*path).to_owned())
        .chain(throttles)
        .collect()
}
