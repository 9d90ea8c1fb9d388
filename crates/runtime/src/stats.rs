//! Usage figures, straight from cgroups and disks.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use knarr_cri::v1::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage, IoUsage,
    LinuxPodSandboxStats, MemoryUsage, NetworkInterfaceUsage, NetworkUsage, PodSandboxAttributes,
    PodSandboxStats, ProcessUsage, PsiData, PsiStats, SwapUsage, UInt64Value,
};

use knarr_host::{
    Directory, net_dev,
    usage::{Pressure, Stall},
};
use parking_lot::Mutex;

use crate::cgroup;
use crate::container::{Container, Phase};
use crate::files;
use crate::sandbox::{INTERFACE, Sandbox};

/// Entries of a writable layer that are counted; what is beyond is left out of the figure.
const MAX_COUNTED_ENTRIES: u64 = 200_000;

/// How long what a container has written is taken for what was measured, as upstream's cadvisor looks at disks every minute.
const MEASURED_FOR: Duration = Duration::from_secs(60);
/// At most one part in so many of the time is spent on looking at a tree.
const MEASURING_SHARE: u32 = 100;

/// What file systems count blocks in, whatever their own are.
const BLOCK_BYTES: u64 = 512;

/// A container's figures. Reads files: blocking.
pub fn of_container(container: &Container) -> ContainerStats {
    let record = &container.record;
    let running = container.status.lock().phase == Phase::Running;
    let (memory, swap) = running.then(|| memory(&record.cgroup)).flatten().unzip();
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        cpu: running.then(|| cpu(&record.cgroup)).flatten(),
        memory,
        writable_layer: Some(container.written.usage(&container.snapshot().upper())),
        swap: swap.flatten(),
        io: running.then(|| io(&record.cgroup)).flatten(),
    }
}

/// A sandbox's figures: its parent cgroup's, which contains its containers'.
pub fn of_sandbox(sandbox: &Sandbox, containers: Vec<ContainerStats>) -> PodSandboxStats {
    let record = &sandbox.record;
    let count = cgroup::host().pids(&record.cgroup_parent).len() as u64;
    PodSandboxStats {
        attributes: Some(PodSandboxAttributes {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        linux: Some(LinuxPodSandboxStats {
            cpu: cpu(&record.cgroup_parent),
            memory: memory(&record.cgroup_parent).map(|(memory, _)| memory),
            io: io(&record.cgroup_parent),
            network: network(sandbox),
            process: Some(ProcessUsage {
                timestamp: files::now(),
                process_count: value(count),
            }),
            containers,
        }),
        ..Default::default()
    }
}

fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn cpu(cgroup: &Path) -> Option<CpuUsage> {
    let group = cgroup::host().usage(cgroup);
    let used = group.cpu()?;
    Some(CpuUsage {
        timestamp: files::now(),
        usage_core_nano_seconds: value(used.total),
        psi: group.pressures().cpu.map(psi),
        ..Default::default()
    })
}

fn memory(cgroup: &Path) -> Option<(MemoryUsage, Option<SwapUsage>)> {
    let group = cgroup::host().usage(cgroup);
    let used = group.memory()?;
    let timestamp = files::now();
    let memory = MemoryUsage {
        timestamp,
        working_set_bytes: value(used.working_set),
        available_bytes: used
            .limit
            .and_then(|limit| value(limit.saturating_sub(used.working_set))),
        usage_bytes: value(used.usage),
        rss_bytes: value(used.rss),
        page_faults: value(used.page_faults),
        major_page_faults: value(used.major_page_faults),
        psi: group.pressures().memory.map(psi),
    };
    let swap = used.swap.map(|swap| SwapUsage {
        timestamp,
        swap_usage_bytes: value(swap),
        swap_available_bytes: None,
    });
    Some((memory, swap))
}

/// Nothing but how long is waited: `None` where the host does not tell.
fn io(cgroup: &Path) -> Option<IoUsage> {
    let pressure = cgroup::host().usage(cgroup).pressures().io?;
    Some(IoUsage {
        timestamp: files::now(),
        psi: Some(psi(pressure)),
    })
}

fn psi(pressure: Pressure) -> PsiStats {
    let of = |stall: Stall| {
        Some(PsiData {
            total: stall.total,
            avg10: stall.avg10,
            avg60: stall.avg60,
            avg300: stall.avg300,
        })
    };
    PsiStats {
        some: of(pressure.some),
        full: of(pressure.full),
    }
}

/// What went through a sandbox's own network, of which the shim is a part; none of one that uses its host's.
fn network(sandbox: &Sandbox) -> Option<NetworkUsage> {
    let pid = sandbox.status.lock().shim_pid;
    if sandbox.record.host_network || pid <= 0 {
        return None;
    }
    let usage = |interface: net_dev::Interface| NetworkInterfaceUsage {
        name: interface.name,
        rx_bytes: value(interface.received.bytes),
        rx_errors: value(interface.received.errors),
        tx_bytes: value(interface.sent.bytes),
        tx_errors: value(interface.sent.errors),
    };
    let all = net_dev::of_process(pid, INTERFACE, net_dev::MAX_INTERFACES_OF_POD);
    if all.is_empty() {
        // It has ended.
        return None;
    }
    let all = all.into_iter().map(usage);
    let (default, others) = all.partition::<Vec<_>, _>(|one| one.name == INTERFACE);
    Some(NetworkUsage {
        timestamp: files::now(),
        default_interface: default.into_iter().next(),
        interfaces: others,
    })
}

/// What a container has written, as it was measured last: a tree takes long to look at, and those who ask for processor time do
/// so every few seconds. The larger the tree, the longer a figure is good.
#[derive(Debug, Default)]
pub struct Written(Mutex<Option<(Instant, FilesystemUsage)>>);

impl Written {
    /// Reads directories where the last figure is too old: blocking. Who asks meanwhile gets the last one.
    pub fn usage(&self, path: &Path) -> FilesystemUsage {
        if let Some((until, usage)) = &mut *self.0.lock() {
            if Instant::now() < *until {
                return usage.clone();
            }
            // This caller looks; the others need not.
            *until = Instant::now() + MEASURED_FOR;
        }
        let began = Instant::now();
        let usage = disk(path);
        let good = MEASURED_FOR.max(began.elapsed().saturating_mul(MEASURING_SHARE));
        *self.0.lock() = Some((Instant::now() + good, usage.clone()));
        usage
    }
}

/// Blocks and inodes of a tree, which may be changed meanwhile: what was counted until it was is the figure.
fn disk(path: &Path) -> FilesystemUsage {
    let (mut bytes, mut inodes) = (0, 0);
    let counted = Directory::open(path).and_then(|top| {
        knarr_host::walk(&top, |found| {
            bytes += u64::try_from(found.stat.st_blocks).unwrap_or(0) * BLOCK_BYTES;
            inodes += 1;
            Ok(if inodes < MAX_COUNTED_ENTRIES {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })
    });
    if let Err(error) = counted {
        tracing::debug!(%error, path = %path.display(), "counted a part of a tree only");
    }
    FilesystemUsage {
        timestamp: files::now(),
        fs_id: Some(FilesystemIdentifier {
            mountpoint: path.display().to_string(),
        }),
        used_bytes: value(bytes),
        inodes_used: value(inodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_not_looked_at_for_everybody_who_asks() {
        let tree = tempfile::tempdir().unwrap();
        let written = Written::default();
        let inodes = || written.usage(tree.path()).inodes_used.unwrap().value;
        assert_eq!(inodes(), 0);
        std::fs::write(tree.path().join("a"), "b").unwrap();
        assert_eq!(inodes(), 0, "as it was measured");
        written.0.lock().as_mut().unwrap().0 = Instant::now();
        assert_eq!(inodes(), 1);
    }
}
