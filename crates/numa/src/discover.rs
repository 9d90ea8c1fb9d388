//! A machine as `/sys` shows it.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::{Cpu, CpuSet, Topology, merge::Nodes};

const CPUS: &str = "devices/system/cpu";
const NODES: &str = "devices/system/node";
/// The level of cache that cores share.
const SHARED_CACHE: u64 = 3;

/// Files below `/sys`.
pub trait Files {
    /// A file's text.
    fn read(&self, path: &str) -> Option<String>;
    /// The names in a directory.
    fn list(&self, path: &str) -> Vec<String>;
}

/// The machine's own.
pub struct Sys(pub PathBuf);

impl Default for Sys {
    fn default() -> Self {
        Self(PathBuf::from("/sys"))
    }
}

impl Files for Sys {
    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.0.join(path)).ok()
    }

    fn list(&self, path: &str) -> Vec<String> {
        let entries = fs::read_dir(self.0.join(path))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.collect()
    }
}

/// What there is of a machine to be shared out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    pub topology: Topology,
    pub nodes: Nodes,
    /// Bytes by node and resource.
    pub memory: BTreeMap<usize, BTreeMap<String, u64>>,
}

/// Looks at a machine. One without NUMA nodes is a single one with all of its `memory`, in bytes.
#[must_use]
pub fn machine(files: &dyn Files, memory: u64) -> Found {
    let mut nodes: BTreeMap<usize, CpuSet> = BTreeMap::new();
    for number in numbered(files, NODES, "node") {
        let list = files.read(&format!("{NODES}/node{number}/cpulist"));
        nodes.insert(
            number,
            list.and_then(|list| list.parse().ok()).unwrap_or_default(),
        );
    }
    let real = !nodes.is_empty();
    let online = files.read(&format!("{CPUS}/online"));
    let online: CpuSet = match online.and_then(|list| list.parse().ok()) {
        Some(online) => online,
        None => numbered(files, CPUS, "cpu").into_iter().collect(),
    };
    if !real {
        nodes.insert(0, online.clone());
    }
    let amounts = nodes.keys().map(|number| {
        let path = format!("{NODES}/node{number}");
        let of_node = if real {
            of_node(files, &path)
        } else {
            BTreeMap::from([("memory".to_owned(), memory)])
        };
        (*number, of_node)
    });
    let distance = |number: &usize| {
        let line = files.read(&format!("{NODES}/node{number}/distance"))?;
        let row = line
            .split_whitespace()
            .map(|word| word.parse().unwrap_or(0));
        Some((*number, row.collect()))
    };
    Found {
        memory: amounts.collect(),
        nodes: Nodes {
            numbers: nodes.keys().copied().collect(),
            distances: nodes.keys().filter_map(distance).collect(),
        },
        topology: topology(files, &nodes, &online),
    }
}

fn topology(files: &dyn Files, nodes: &BTreeMap<usize, CpuSet>, online: &CpuSet) -> Topology {
    let number = |path: String| -> Option<usize> { files.read(&path)?.trim().parse().ok() };
    let mut cores: BTreeMap<(usize, usize, usize), usize> = BTreeMap::new();
    let mut cpus = BTreeMap::new();
    for (node, members) in nodes {
        for cpu in members.intersection(online).iter() {
            let path = format!("{CPUS}/cpu{cpu}");
            let socket = number(format!("{path}/topology/physical_package_id")).unwrap_or(0);
            let core = number(format!("{path}/topology/core_id"));
            // Their numbers are unique in a socket; the lowest thread's is in the machine.
            let core = match core {
                Some(core) => *cores.entry((*node, socket, core)).or_insert(cpu),
                None => cpu,
            };
            let cache = cache(files, &path).unwrap_or(socket);
            let place = Cpu {
                core,
                socket,
                node: *node,
                cache,
            };
            cpus.insert(cpu, place);
        }
    }
    Topology::new(cpus)
}

/// The cache that the CPU shares with other cores.
fn cache(files: &dyn Files, cpu: &str) -> Option<usize> {
    let read = |index: usize, file: &str| files.read(&format!("{cpu}/cache/index{index}/{file}"));
    let all = numbered(files, &format!("{cpu}/cache"), "index");
    let shared = all.into_iter().find(|index| {
        let level = read(*index, "level");
        level.and_then(|level| level.trim().parse().ok()) == Some(SHARED_CACHE)
    })?;
    let id = read(shared, "id").and_then(|id| id.trim().parse().ok());
    id.or_else(|| {
        let list: CpuSet = read(shared, "shared_cpu_list")?.parse().ok()?;
        list.iter().next()
    })
}

/// Memory and huge pages of a node, in bytes.
fn of_node(files: &dyn Files, path: &str) -> BTreeMap<String, u64> {
    let mut amounts = BTreeMap::new();
    let text = files.read(&format!("{path}/meminfo")).unwrap_or_default();
    let total = text.lines().find_map(|line| {
        let (_, rest) = line.split_once("MemTotal:")?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    });
    amounts.insert("memory".to_owned(), total.unwrap_or(0).saturating_mul(1024));
    for name in files.list(&format!("{path}/hugepages")) {
        let size = name
            .strip_prefix("hugepages-")
            .and_then(|size| size.strip_suffix("kB"));
        let Some(size) = size.and_then(|size| size.parse::<u64>().ok()) else {
            continue;
        };
        let count = files.read(&format!("{path}/hugepages/{name}/nr_hugepages"));
        let count = count
            .and_then(|count| count.trim().parse::<u64>().ok())
            .unwrap_or(0);
        let bytes = count.saturating_mul(size).saturating_mul(1024);
        amounts.insert(format!("hugepages-{}", quantity(size)), bytes);
    }
    amounts
}

/// KiB as a quantity of the API.
fn quantity(kib: u64) -> String {
    let mut units = ["Ki", "Mi", "Gi", "Ti"].into_iter();
    let (mut number, mut unit) = (kib, units.next().unwrap_or_default());
    for next in units {
        if number % 1024 != 0 {
            break;
        }
        (number, unit) = (number / 1024, next);
    }
    format!("{number}{unit}")
}

/// The numbers of entries that begin so, in order.
fn numbered(files: &dyn Files, path: &str, prefix: &str) -> Vec<usize> {
    let names = files.list(path).into_iter();
    let mut numbers: Vec<usize> = names
        .filter_map(|name| name.strip_prefix(prefix)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
mod tests;
