//! What this machine is.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::NodeSystemInfo;

use crate::{config::Config, worker::admission::Room};

/// Version in `nodeInfo`.
pub(crate) const VERSION: &str = knarr_auth::VERSION;

/// Facts that do not change while the kubelet runs.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    /// Page size as the API spells it (`2Mi`) and bytes that are set aside.
    pub huge_pages: Vec<(String, i64)>,
    pub info: NodeSystemInfo,
}

impl Machine {
    /// Looks around; what cannot be read is zero or empty.
    pub(crate) fn detect(data_dir: &Path, runtime: &str) -> Self {
        let read = |path: &str| {
            fs::read_to_string(path)
                .unwrap_or_default()
                .trim()
                .to_owned()
        };
        let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let machine_id = read("/etc/machine-id");
        let uuid = read("/sys/class/dmi/id/product_uuid");
        Self {
            cpu_milli: i64::try_from(cpus).unwrap_or(1) * 1_000,
            memory_bytes: memory(&read("/proc/meminfo")),
            storage_bytes: storage(data_dir),
            huge_pages: huge_pages(Path::new("/sys/kernel/mm/hugepages")),
            info: NodeSystemInfo {
                architecture: architecture().to_owned(),
                boot_id: read("/proc/sys/kernel/random/boot_id"),
                container_runtime_version: runtime.to_owned(),
                kernel_version: read("/proc/sys/kernel/osrelease"),
                kube_proxy_version: String::new(),
                kubelet_version: VERSION.to_owned(),
                operating_system: "linux".to_owned(),
                os_image: os_image(&read("/etc/os-release")),
                system_uuid: if uuid.is_empty() {
                    machine_id.clone()
                } else {
                    uuid
                },
                machine_id,
                swap: None,
            },
        }
    }
}

impl Machine {
    /// What it offers its pods.
    pub(crate) fn room(&self, config: &Config) -> Room {
        Room {
            cpu_milli: self.cpu_milli,
            memory_bytes: self.memory_bytes,
            pods: config.max_pods as usize,
        }
    }
}

/// Go's name of the processor architecture.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

pub(super) fn memory(meminfo: &str) -> i64 {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<i64>().ok());
    kib.unwrap_or(0) * 1_024
}

fn storage(dir: &Path) -> i64 {
    let Ok(stat) = nix::sys::statvfs::statvfs(dir) else {
        return 0;
    };
    i64::try_from(stat.blocks() * stat.fragment_size()).unwrap_or(i64::MAX)
}

fn huge_pages(dir: &Path) -> Vec<(String, i64)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let size = name
            .strip_prefix("hugepages-")
            .and_then(|s| s.strip_suffix("kB"));
        let Some(kib) = size.and_then(|s| s.parse::<i64>().ok()) else {
            continue;
        };
        let count = fs::read_to_string(entry.path().join("nr_hugepages")).unwrap_or_default();
        let count: i64 = count.trim().parse().unwrap_or(0);
        let text = match kib {
            k if k % (1 << 20) == 0 => format!("{}Gi", k >> 20),
            k if k % (1 << 10) == 0 => format!("{}Mi", k >> 10),
            k => format!("{k}Ki"),
        };
        found.push((text, count * kib * 1_024));
    }
    found.sort();
    found
}

pub(super) fn os_image(os_release: &str) -> String {
    let line = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map_or_else(
        || "Linux".to_owned(),
        |name| name.trim_matches('"').to_owned(),
    )
}
