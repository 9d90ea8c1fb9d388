//! What this machine is.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::{NodeSwapStatus, NodeSystemInfo};

use crate::{
    cgroup,
    config::Config,
    configuration::Reserved,
    eviction::Thresholds,
    resources::{
        huge_pages::{self, HUGE_PAGES_DIRECTORY, PageLimit, PageSize},
        units::{CPU, HUGE_PAGES, MEMORY, STORAGE, Units},
    },
    stats,
    worker::admission::Room,
};

/// Version in `nodeInfo`.
pub(crate) const VERSION: &str = knarr_auth::VERSION;

/// Facts that do not change while the kubelet runs.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    /// Bytes that are set aside, by the size of the pages.
    pub huge_pages: Vec<(PageSize, i64)>,
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
            huge_pages: set_aside(Path::new(HUGE_PAGES_DIRECTORY)),
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
                swap: i64::try_from(stats::swap_capacity())
                    .ok()
                    .filter(|bytes| *bytes > 0)
                    .map(|capacity| NodeSwapStatus {
                        capacity: Some(capacity),
                    }),
            },
        }
    }
}

impl Machine {
    /// What it offers its pods.
    pub(crate) fn room(&self, config: &Config) -> Room {
        let kept = self.kept(config);
        let cpus = usize::try_from(self.cpu_milli / 1_000).unwrap_or(1);
        let huge: i64 = self.huge_pages.iter().map(|(_, bytes)| bytes).sum();
        let left = |capacity: i64, kept: i64| capacity.saturating_sub(kept).max(0);
        let mut units = Units::from([
            (CPU, left(self.cpu_milli, kept.cpu_milli)),
            // What is set aside for huge pages is no memory for anything else.
            (
                MEMORY,
                left(self.memory_bytes, kept.memory_bytes.saturating_add(huge)),
            ),
            (STORAGE, left(self.storage_bytes, kept.storage_bytes)),
        ]);
        for (size, bytes) in &self.huge_pages {
            units.set(&format!("{HUGE_PAGES}{}", size.in_resources()), *bytes);
        }
        Room {
            units,
            pods: config.max_pods(cpus),
        }
    }

    /// The sizes of huge pages that its kernel has.
    pub(crate) fn page_sizes(&self) -> impl Iterator<Item = PageSize> {
        self.huge_pages.iter().map(|(size, _)| *size)
    }

    /// What all pods may have together. What must only be left is theirs to use: whoever does so for long is evicted.
    pub(crate) fn share(&self, config: &Config) -> cgroup::Share {
        let settings = &config.configuration.settings;
        let reserved = match settings.enforces_pods() {
            true => settings.reserved(),
            false => Reserved::default(),
        };
        let most =
            |capacity: i64, kept: i64| (kept > 0).then(|| capacity.saturating_sub(kept).max(0));
        let (pids, _) = stats::processes();
        cgroup::Share {
            cpu_milli: most(self.cpu_milli, reserved.cpu_milli),
            memory_bytes: most(self.memory_bytes, reserved.memory_bytes),
            pids: pids.and_then(|all| most(all, reserved.pids)),
            huge_pages: match settings.enforces_pods() {
                true => self.page_limits(),
                false => Vec::new(),
            },
        }
    }

    /// Of the sizes of which some pages are set aside: all of these, and none that are added later.
    fn page_limits(&self) -> Vec<PageLimit> {
        let set_aside = self.huge_pages.iter().filter(|(_, bytes)| *bytes > 0);
        set_aside
            .map(|(size, bytes)| PageLimit {
                size: *size,
                bytes: Some(*bytes),
            })
            .collect()
    }

    /// What pods do not get: what is reserved, and what must be left so that none of them is evicted for what was promised.
    pub(crate) fn kept(&self, config: &Config) -> Reserved {
        let settings = &config.configuration.settings;
        let thresholds = Thresholds::parse(settings).unwrap_or_default();
        let (memory, storage) = thresholds.kept(self.memory_bytes, self.storage_bytes);
        let reserved = settings.reserved();
        Reserved {
            memory_bytes: reserved.memory_bytes.saturating_add(memory),
            storage_bytes: reserved.storage_bytes.saturating_add(storage),
            ..reserved
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

fn set_aside(dir: &Path) -> Vec<(PageSize, i64)> {
    let of = |size: PageSize| {
        let count = fs::read_to_string(dir.join(size.in_kernel()).join("nr_hugepages"));
        let count: i64 = count.unwrap_or_default().trim().parse().unwrap_or(0);
        (size, count.saturating_mul(size.bytes()))
    };
    huge_pages::sizes(dir).into_iter().map(of).collect()
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
