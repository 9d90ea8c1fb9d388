//! Usage figures, straight from cgroups and disks.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use knarr_cri::v1::{
    ContainerAttributes, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage,
    LinuxPodSandboxStats, MemoryUsage, PodSandboxAttributes, PodSandboxStats, ProcessUsage,
    UInt64Value,
};

use knarr_host::Directory;

use crate::cgroup;
use crate::container::{Container, Phase};
use crate::files;
use crate::sandbox::Sandbox;

/// Entries of a writable layer that are counted; what is beyond is left out of the figure.
const MAX_COUNTED_ENTRIES: u64 = 200_000;

/// What file systems count blocks in, whatever their own are.
const BLOCK_BYTES: u64 = 512;

/// A container's figures. Reads files: blocking.
pub fn of_container(container: &Container) -> ContainerStats {
    let record = &container.record;
    let running = container.status.lock().phase == Phase::Running;
    ContainerStats {
        attributes: Some(ContainerAttributes {
            id: record.id.clone(),
            metadata: record.config.metadata.clone(),
            labels: record.config.labels.clone(),
            annotations: record.config.annotations.clone(),
        }),
        cpu: running.then(|| cpu(&record.cgroup)).flatten(),
        memory: running.then(|| memory(&record.cgroup)).flatten(),
        writable_layer: Some(disk(&container.snapshot().upper())),
        ..Default::default()
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
            memory: memory(&record.cgroup_parent),
            process: Some(ProcessUsage {
                timestamp: files::now(),
                process_count: value(count),
            }),
            containers,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn value(value: u64) -> Option<UInt64Value> {
    Some(UInt64Value { value })
}

fn cpu(cgroup: &Path) -> Option<CpuUsage> {
    let host = cgroup::host();
    let used = if host.is_unified() {
        field(
            &read(&host.directory("cpu", cgroup)?.join("cpu.stat"))?,
            "usage_usec",
        )? * 1_000
    } else {
        read(&host.directory("cpuacct", cgroup)?.join("cpuacct.usage"))?
            .trim()
            .parse()
            .ok()?
    };
    Some(CpuUsage {
        timestamp: files::now(),
        usage_core_nano_seconds: value(used),
        ..Default::default()
    })
}

fn memory(cgroup: &Path) -> Option<MemoryUsage> {
    let host = cgroup::host();
    let directory = host.directory("memory", cgroup)?;
    let names = if host.is_unified() {
        ["memory.current", "memory.max", "inactive_file", "anon"]
    } else {
        [
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "total_inactive_file",
            "total_rss",
        ]
    };
    let number = |name: &str| read(&directory.join(name))?.trim().parse::<u64>().ok();
    let usage = number(names[0])?;
    let stat = read(&directory.join("memory.stat"))?;
    let of = |v2: &str, v1: &str| field(&stat, if host.is_unified() { v2 } else { v1 });
    // What can be dropped without harm is not in use.
    let working = usage.saturating_sub(field(&stat, names[2]).unwrap_or(0));
    // v1 says "no limit" by a number near the largest there is.
    let limit = number(names[1]).filter(|limit| *limit < 1 << 62);
    Some(MemoryUsage {
        timestamp: files::now(),
        working_set_bytes: value(working),
        available_bytes: limit.and_then(|limit| value(limit.saturating_sub(working))),
        usage_bytes: value(usage),
        rss_bytes: field(&stat, names[3]).and_then(value),
        page_faults: of("pgfault", "total_pgfault").and_then(value),
        major_page_faults: of("pgmajfault", "total_pgmajfault").and_then(value),
        psi: None,
    })
}

fn read(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// `name N` on a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(name)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

/// Blocks and inodes of a tree, which may be changed meanwhile: what was counted until it was is the figure.
pub fn disk(path: &Path) -> FilesystemUsage {
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
    use super::field;

    #[test]
    fn fields_are_whole_words() {
        let text = "rss_huge 5\nrss 7\ntotal_rss 9\n";
        assert_eq!(
            (
                field(text, "rss"),
                field(text, "total_rss"),
                field(text, "swap")
            ),
            (Some(7), Some(9), None)
        );
    }
}
