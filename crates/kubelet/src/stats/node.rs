//! The node's own figures, where no control group tells them.

use std::{fs, path::Path};

pub(crate) use knarr_host::families::Disk;
use knarr_host::{net_dev, usage};

use super::INTERFACE;

/// `/proc/stat` counts in ticks of `USER_HZ`.
const NANOS_PER_TICK: u64 = 10_000_000;

/// Nanoseconds since 1970.
pub(super) fn now() -> i64 {
    i64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX)
}

/// Of a host whose root group counts nothing.
pub(super) fn cpu() -> Option<usage::Cpu> {
    of_stat(&fs::read_to_string("/proc/stat").ok()?)
}

/// User, nice, system, idle, iowait, irq, softirq and steal, of which idle and iowait are nobody's.
fn of_stat(text: &str) -> Option<usage::Cpu> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|number| number.parse().ok())
        .collect();
    let of = |numbers: &[usize]| {
        let ticks = numbers.iter().filter_map(|number| ticks.get(*number));
        ticks.sum::<u64>().saturating_mul(NANOS_PER_TICK)
    };
    let (user, system) = (of(&[0, 1]), of(&[2, 5, 6]));
    Some(usage::Cpu {
        total: user.saturating_add(system).saturating_add(of(&[7])),
        user,
        system,
        ..Default::default()
    })
}

/// The root group's, else the machine's.
pub(super) fn memory(root: &usage::Group) -> Option<usage::Memory> {
    root.memory().or_else(|| {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        usage::Memory::of_host(&text)
    })
}

/// The root group's, else the machine's, of which every kernel tells that counts at all.
pub(super) fn pressures(root: &usage::Group) -> usage::Pressures {
    let own = root.pressures();
    let machine = usage::Pressures::of_machine();
    usage::Pressures {
        cpu: own.cpu.or(machine.cpu),
        memory: own.memory.or(machine.memory),
        io: own.io.or(machine.io),
    }
}

/// Memory that the machine has and that is available, in bytes.
pub(crate) fn available() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib.saturating_mul(1_024))
    };
    Some((bytes("MemTotal:")?, bytes("MemAvailable:")?))
}

/// The network that this process is in.
pub(super) fn interfaces() -> Vec<net_dev::Interface> {
    let own = std::process::id().cast_signed();
    net_dev::of_process(own, INTERFACE, net_dev::MAX_INTERFACES_OF_NODE)
}

/// The file system that a path is on.
pub(crate) fn disk(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.fragment_size());
    Some(Disk {
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

/// The device of the file system that a path is on, as its mount names it.
pub(super) fn device(path: &Path) -> Option<String> {
    let device = nix::sys::stat::stat(path).ok()?.st_dev;
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    source_of(&mounts, &format!("{major}:{minor}"))
}

/// `ID PARENT MAJOR:MINOR ROOT TARGET OPTIONS ... - TYPE SOURCE OPTIONS`
fn source_of(mounts: &str, device: &str) -> Option<String> {
    let mut mounts = mounts.lines();
    let line = mounts.find(|line| line.split(' ').nth(2) == Some(device))?;
    let (_, rest) = line.split_once(" - ")?;
    rest.split(' ').nth(1).map(str::to_owned)
}

/// Swap that the machine has, bytes.
pub(crate) fn swap_capacity() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("SwapTotal:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}

/// When the machine was started, seconds since 1970.
pub(super) fn boot_time() -> i64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok())
        .unwrap_or(0)
}

/// How many processes and threads there may be, and are.
pub(crate) fn processes() -> (Option<i64>, Option<i64>) {
    let limits = ["/proc/sys/kernel/pid_max", "/proc/sys/kernel/threads-max"];
    let limits = limits.iter().filter_map(|limit| {
        let text = fs::read_to_string(limit).ok()?;
        text.trim().parse::<i64>().ok()
    });
    let most = limits.min();
    let load = fs::read_to_string("/proc/loadavg").ok();
    // `0.1 0.2 0.3 RUNNING/ALL LAST`
    let all = load.and_then(|load| {
        let counts = load.split_whitespace().nth(3)?;
        counts.split_once('/')?.1.parse().ok()
    });
    (most, all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_its_mount_does() {
        let mounts =
            "31 23 0:28 / /sys rw shared:1 - tmpfs tmpfs rw\n23 1 8:1 / / rw - ext4 /dev/sda1 rw\n";
        assert_eq!(source_of(mounts, "8:1").as_deref(), Some("/dev/sda1"));
        assert_eq!(source_of(mounts, "8:2"), None);
    }

    #[test]
    fn idle_time_is_nobodys() {
        let cpu = of_stat("cpu  10 1 20 1000 500 3 4 5 0 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!(cpu.user, 11 * NANOS_PER_TICK);
        assert_eq!(cpu.system, 27 * NANOS_PER_TICK);
        assert_eq!(cpu.total, 43 * NANOS_PER_TICK);
        assert_eq!(of_stat("intr 1\n"), None);
    }
}
