//! How a machine's CPUs lie together.

use std::collections::BTreeMap;

use crate::CpuSet;

/// Where a CPU is. The numbers are unique in the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// The lowest CPU of its core.
    pub core: usize,
    pub socket: usize,
    pub node: usize,
    /// The cache of the last level that it shares; its socket where that is not known.
    pub cache: usize,
}

/// What CPUs are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Core,
    Cache,
    Socket,
    Node,
}

impl Cpu {
    pub(crate) fn at(&self, level: Level) -> usize {
        match level {
            Level::Core => self.core,
            Level::Cache => self.cache,
            Level::Socket => self.socket,
            Level::Node => self.node,
        }
    }
}

/// CPUs by their numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    cpus: BTreeMap<usize, Cpu>,
}

impl Topology {
    /// Of these CPUs.
    #[must_use]
    pub fn new(cpus: BTreeMap<usize, Cpu>) -> Self {
        Self { cpus }
    }

    /// All CPUs.
    #[must_use]
    pub fn all(&self) -> CpuSet {
        self.cpus.keys().copied().collect()
    }

    /// Where the CPU is.
    #[must_use]
    pub fn cpu(&self, cpu: usize) -> Option<&Cpu> {
        self.cpus.get(&cpu)
    }

    /// The groups of a level.
    #[must_use]
    pub fn groups(&self, level: Level) -> CpuSet {
        self.cpus.values().map(|cpu| cpu.at(level)).collect()
    }

    /// The CPUs of a group.
    #[must_use]
    pub fn in_group(&self, level: Level, group: usize) -> CpuSet {
        self.in_groups(level, &[group])
    }

    /// The CPUs of groups.
    #[must_use]
    pub fn in_groups(&self, level: Level, groups: &[usize]) -> CpuSet {
        let inside = self
            .cpus
            .iter()
            .filter(|(_, cpu)| groups.contains(&cpu.at(level)));
        inside.map(|(number, _)| *number).collect()
    }

    /// The groups of a level that have CPUs in a group of another.
    #[must_use]
    pub fn groups_in(&self, level: Level, outer: Level, group: usize) -> CpuSet {
        let inside = self.cpus.values().filter(|cpu| cpu.at(outer) == group);
        inside.map(|cpu| cpu.at(level)).collect()
    }

    /// The same with these CPUs alone.
    #[must_use]
    pub(crate) fn keep(&self, cpus: &CpuSet) -> Self {
        let kept = self
            .cpus
            .iter()
            .filter(|(number, _)| cpus.contains(**number));
        Self {
            cpus: kept.map(|(number, cpu)| (*number, *cpu)).collect(),
        }
    }

    /// CPUs of each group of a level where all have as many.
    #[must_use]
    pub fn per_group(&self, level: Level) -> usize {
        match self.groups(level).len() {
            0 => 0,
            groups => self.cpus.len() / groups,
        }
    }
}
