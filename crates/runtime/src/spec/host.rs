//! What this host allows and has.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::sys::stat::{major, minor};

use super::SpecError;
use super::defaults::ALL_CAPABILITIES;
use crate::cgroup;

const CAP_SYS_RESOURCE: &str = "CAP_SYS_RESOURCE";

/// Limits of this process that its containers cannot get around.
#[derive(Debug, Clone)]
pub struct HostLimits {
    capabilities: Vec<String>,
    oom_score_adj: i64,
    swap_accounting: bool,
}

/// As found once. Says what has to be clamped, once.
pub fn limits() -> &'static HostLimits {
    static FOUND: OnceLock<HostLimits> = OnceLock::new();
    FOUND.get_or_init(|| {
        let limits = HostLimits::read();
        if !limits.may_raise_resources() {
            tracing::warn!(
                oom_score_adj = limits.oom_score_adj,
                "CAP_SYS_RESOURCE is missing: containers' oom_score_adj cannot be lower than this process's own"
            );
        }
        limits
    })
}

impl HostLimits {
    fn read() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let bits = status
            .lines()
            .find_map(|line| line.strip_prefix("CapPrm:"))
            .and_then(|text| u64::from_str_radix(text.trim(), 16).ok())
            .unwrap_or(0);
        let oom = fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
        let root = Path::new("/");
        let has = |controller: &str, file: &str| {
            cgroup::host()
                .directory(controller, root)
                .is_some_and(|path| path.join(file).exists())
        };
        Self::of(
            bits,
            oom.trim().parse().unwrap_or(0),
            has("memory", "memory.memsw.limit_in_bytes"),
        )
    }

    /// From a permitted set's bits.
    pub fn of(bits: u64, oom_score_adj: i64, swap_accounting: bool) -> Self {
        let capabilities = ALL_CAPABILITIES
            .iter()
            .enumerate()
            .filter(|(number, _)| bits >> number & 1 == 1)
            .map(|(_, name)| (*name).to_owned())
            .collect();
        Self {
            capabilities,
            oom_score_adj,
            swap_accounting,
        }
    }

    pub fn capabilities(&self) -> &[String] {
        &self.capabilities
    }

    fn may_raise_resources(&self) -> bool {
        self.capabilities
            .iter()
            .any(|name| name == CAP_SYS_RESOURCE)
    }

    pub fn clamp_oom_score_adj(&self, wanted: i64) -> i64 {
        let wanted = wanted.clamp(-1_000, 1_000);
        if self.may_raise_resources() {
            wanted
        } else {
            wanted.max(self.oom_score_adj)
        }
    }

    pub fn swap_accounting(&self) -> bool {
        self.swap_accounting || cgroup::host().is_unified()
    }
}

/// A device node of the host.
#[derive(Debug, Clone)]
pub struct Device {
    /// `c` or `b`.
    pub kind: &'static str,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

pub fn device(path: &str) -> Result<Device, SpecError> {
    let wrong = |source| SpecError::Device {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(wrong)?;
    of_metadata(&metadata).ok_or_else(|| {
        wrong(std::io::Error::new(
            std::io::ErrorKind::InvalidInput,
            "not a device node",
        ))
    })
}

fn of_metadata(metadata: &fs::Metadata) -> Option<Device> {
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => "c",
        kind if kind.is_block_device() => "b",
        _ => return None,
    };
    Some(Device {
        kind,
        major: major(metadata.rdev()),
        minor: minor(metadata.rdev()),
        mode: metadata.mode() & 0o777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

/// All of the host's, for a privileged container. Pseudo file systems below /dev are the container's own.
pub fn devices() -> Vec<(String, Device)> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::from("/dev")];
    while let Some(directory) = directories.pop() {
        directories.extend(collect(&directory, &mut found));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Returns the directories below.
fn collect(directory: &Path, found: &mut Vec<(String, Device)>) -> Vec<PathBuf> {
    let mut below = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let Ok(metadata) = fs::symlink_metadata(&path) else {
            continue;
        };
        if metadata.is_dir() {
            let own = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
            if !entry
                .file_name()
                .to_str()
                .is_some_and(|name| own.contains(&name))
            {
                below.push(path);
            }
        } else if let (Some(device), Some(text)) = (of_metadata(&metadata), path.to_str())
            && !matches!(text, "/dev/console" | "/dev/ptmx")
        {
            found.push((text.to_owned(), device));
        }
    }
    below
}
