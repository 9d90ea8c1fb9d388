//! What a control group has used, from the kernel's files, of both versions.
//!
//! A figure that the host has no file for is absent, never zero.

mod pressure;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

pub use pressure::{Pressure, Pressures, Stall};

const NANOS_PER_MICRO: u64 = 1_000;
/// Version 1 counts user and system time in ticks of `USER_HZ`, which is 100 on every architecture that runs pods.
const NANOS_PER_TICK: u64 = 10_000_000;
/// Version 1 says "no limit" by a number near the largest there is.
const NO_LIMIT: u64 = 1 << 62;

/// The directories of a group. A controller that the host does not have has none.
#[derive(Clone, Debug)]
pub struct Group {
    unified: bool,
    cpu: Option<PathBuf>,
    cpuacct: Option<PathBuf>,
    memory: Option<PathBuf>,
    pids: Option<PathBuf>,
}

/// Processor time, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    pub total: u64,
    pub user: u64,
    pub system: u64,
    /// Periods in which the group's quota was looked at, and in how many of them it was used up.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled: u64,
}

/// Memory, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub usage: u64,
    /// What cannot be dropped without harm: usage without the inactive part of the page cache, as upstream counts.
    pub working_set: u64,
    pub rss: u64,
    pub cache: u64,
    pub mapped_file: u64,
    pub swap: Option<u64>,
    pub limit: Option<u64>,
    pub most: Option<u64>,
    /// How often the limit was hit.
    pub failures: u64,
    pub page_faults: u64,
    pub major_page_faults: u64,
}

impl Group {
    /// A group of version 2.
    #[must_use]
    pub fn unified(directory: &Path) -> Self {
        let directory = Some(directory.to_owned());
        Self {
            unified: true,
            cpu: directory.clone(),
            cpuacct: directory.clone(),
            memory: directory.clone(),
            pids: directory,
        }
    }

    /// A group of version 1: its directory in the hierarchy of each controller.
    pub fn legacy(directory: impl Fn(&str) -> Option<PathBuf>) -> Self {
        Self {
            unified: false,
            cpu: directory("cpu"),
            cpuacct: directory("cpuacct"),
            memory: directory("memory"),
            pids: directory("pids"),
        }
    }

    /// Blocks as reading of the kernel's files does.
    #[must_use]
    pub fn cpu(&self) -> Option<Cpu> {
        let stat = read(self.cpu.as_deref()?, "cpu.stat").unwrap_or_default();
        let of = |name: &str| field(&stat, name).unwrap_or(0);
        if self.unified {
            let micros = |name: &str| of(name).saturating_mul(NANOS_PER_MICRO);
            return Some(Cpu {
                total: field(&stat, "usage_usec")?.saturating_mul(NANOS_PER_MICRO),
                user: micros("user_usec"),
                system: micros("system_usec"),
                periods: of("nr_periods"),
                throttled_periods: of("nr_throttled"),
                throttled: micros("throttled_usec"),
            });
        }
        let cpuacct = self.cpuacct.as_deref()?;
        let ticks = read(cpuacct, "cpuacct.stat").unwrap_or_default();
        let nanos = |name| {
            field(&ticks, name)
                .unwrap_or(0)
                .saturating_mul(NANOS_PER_TICK)
        };
        Some(Cpu {
            total: number(cpuacct, "cpuacct.usage")?,
            user: nanos("user"),
            system: nanos("system"),
            periods: of("nr_periods"),
            throttled_periods: of("nr_throttled"),
            throttled: of("throttled_time"),
        })
    }

    /// Blocks as reading of the kernel's files does. The root of version 2 has none: see [`Memory::of_host`].
    #[must_use]
    pub fn memory(&self) -> Option<Memory> {
        let directory = self.memory.as_deref()?;
        let stat = read(directory, "memory.stat")?;
        let of = |v2: &str, v1: &str| {
            let name = if self.unified { v2 } else { v1 };
            field(&stat, name).unwrap_or(0)
        };
        let one = |v2: &str, v1: &str| number(directory, if self.unified { v2 } else { v1 });
        let usage = one("memory.current", "memory.usage_in_bytes")?;
        let hits = match self.unified {
            true => read(directory, "memory.events").and_then(|text| field(&text, "max")),
            false => number(directory, "memory.failcnt"),
        };
        Some(Memory {
            usage,
            working_set: usage.saturating_sub(of("inactive_file", "total_inactive_file")),
            rss: of("anon", "total_rss"),
            cache: of("file", "total_cache"),
            mapped_file: of("file_mapped", "total_mapped_file"),
            swap: match self.unified {
                true => number(directory, "memory.swap.current"),
                false => field(&stat, "total_swap"),
            },
            limit: one("memory.max", "memory.limit_in_bytes").filter(|limit| *limit < NO_LIMIT),
            most: one("memory.peak", "memory.max_usage_in_bytes"),
            failures: hits.unwrap_or(0),
            page_faults: of("pgfault", "total_pgfault"),
            major_page_faults: of("pgmajfault", "total_pgmajfault"),
        })
    }

    /// How long the group's tasks wait; groups of version 1 do not tell. Blocks as reading of the kernel's files does.
    #[must_use]
    pub fn pressures(&self) -> Pressures {
        match (&self.cpu, self.unified) {
            (Some(directory), true) => Pressures::of_group(directory),
            _ => Pressures::default(),
        }
    }

    /// Threads of the group and of those below it.
    #[must_use]
    pub fn threads(&self) -> Option<u64> {
        number(self.pids.as_deref()?, "pids.current")
    }

    /// Processes of the group itself, in the pid namespace of this process, one after the other: a container may have any number.
    pub fn processes(&self) -> impl Iterator<Item = i32> {
        let directory = self.cpuacct.as_deref().or(self.memory.as_deref());
        let file = directory.and_then(|directory| File::open(directory.join("cgroup.procs")).ok());
        let lines = file
            .into_iter()
            .flat_map(|file| BufReader::new(file).lines());
        let pids = lines
            .map_while(Result::ok)
            .filter_map(|line| line.parse().ok());
        pids.filter(|pid| *pid > 0)
    }
}

impl Memory {
    /// That of a whole machine, from the text of `/proc/meminfo`, as upstream counts where the root group has no figures.
    #[must_use]
    pub fn of_host(meminfo: &str) -> Option<Self> {
        let of = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            let kib = line.strip_prefix(':')?.trim().strip_suffix("kB")?;
            kib.trim().parse::<u64>().ok()?.checked_mul(1_024)
        };
        let usage = of("MemTotal")?.saturating_sub(of("MemFree")?);
        let swap = of("SwapTotal").and_then(|total| total.checked_sub(of("SwapFree")?));
        Some(Self {
            usage,
            working_set: usage.saturating_sub(of("Inactive(file)").unwrap_or(0)),
            rss: of("AnonPages").unwrap_or(0),
            cache: of("Cached").unwrap_or(0),
            mapped_file: of("Mapped").unwrap_or(0),
            swap,
            ..Self::default()
        })
    }
}

fn read(directory: &Path, name: &str) -> Option<String> {
    fs::read_to_string(directory.join(name)).ok()
}

fn number(directory: &Path, name: &str) -> Option<u64> {
    read(directory, name)?.trim().parse().ok()
}

/// `name N` on a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(' ')?;
        rest.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests;
