//! Choosing CPUs that lie together: whole NUMA nodes and sockets first, then caches where that is asked for, then cores, then single CPUs.
//! Where one has no better reason, what has the fewest free CPUs is used up first. This is upstream's algorithm, which its own answers
//! for made-up machines check.

mod spread;

use crate::{
    CpuSet, Topology,
    topology::Level::{self, Cache, Core, Node, Socket},
};

pub(crate) use spread::spread;

/// Why CPUs cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not enough cpus available to satisfy request: requested={wanted}, available={free}")]
    TooFew { wanted: usize, free: usize },
    #[error("failed to allocate cpus")]
    NotFound,
    #[error("accounting error, not enough CPUs allocated, remaining: {0}")]
    TooFewTaken(usize),
}

/// What is still free, what is still needed, and what has been taken.
struct Taker<'a> {
    machine: &'a Topology,
    free: Topology,
    needed: usize,
    taken: CpuSet,
}

/// So many of the `free` CPUs, as close to each other as can be; `by_cache` prefers those that share a cache.
pub(crate) fn packed(
    machine: &Topology,
    free: &CpuSet,
    wanted: usize,
    by_cache: bool,
) -> Result<CpuSet, Error> {
    let mut taker = Taker::new(machine, free, wanted)?;
    let (first, second) = taker.order();
    taker.whole(first);
    taker.whole(second);
    if by_cache {
        taker.caches();
    }
    taker.whole(Core);
    taker.singles();
    match taker.needed {
        0 => Ok(taker.taken),
        _ => Err(Error::NotFound),
    }
}

impl<'a> Taker<'a> {
    fn new(machine: &'a Topology, free: &CpuSet, wanted: usize) -> Result<Self, Error> {
        let taker = Self {
            machine,
            free: machine.keep(free),
            needed: wanted,
            taken: CpuSet::new(),
        };
        let there = taker.free.all().len();
        match wanted > there {
            true => Err(Error::TooFew {
                wanted,
                free: free.len(),
            }),
            false => Ok(taker),
        }
    }

    /// What of sockets and NUMA nodes is above the other in this machine, and what below.
    fn order(&self) -> (Level, Level) {
        let (sockets, nodes) = (self.machine.groups(Socket), self.machine.groups(Node));
        match sockets.len() >= nodes.len() {
            true => (Node, Socket),
            false => (Socket, Node),
        }
    }

    fn take(&mut self, cpus: &CpuSet) {
        self.taken = self.taken.union(cpus);
        self.free = self.free.keep(&self.free.all().difference(&self.taken));
        self.needed = self.needed.saturating_sub(cpus.len());
    }

    /// By the number of their free CPUs, and then by their own.
    fn sorted(&self, level: Level, groups: &CpuSet) -> Vec<usize> {
        let mut sorted: Vec<usize> = groups.iter().collect();
        sorted.sort_by_key(|group| (self.free.in_group(level, *group).len(), *group));
        sorted
    }

    /// Groups of a level with free CPUs, group by group of the level above them.
    fn groups(&self, level: Level) -> Vec<usize> {
        let (first, second) = self.order();
        let above = match level {
            level if level == first => return self.sorted(level, &self.free.groups(level)),
            level if level == second => first,
            Core => second,
            _ => Node,
        };
        let outer = self.groups(above).into_iter();
        outer
            .flat_map(|outer| self.sorted(level, &self.free.groups_in(level, above, outer)))
            .collect()
    }

    /// Takes whole groups of a level of which nothing is used, as long as so much is needed.
    fn whole(&mut self, level: Level) {
        let expected = match level {
            Core | Socket => Some(self.machine.per_group(level)),
            Cache | Node => None,
        };
        let free = |group: &usize| {
            let all = self.machine.in_group(level, *group);
            self.free.in_group(level, *group).len() == expected.unwrap_or(all.len())
        };
        let whole: Vec<usize> = self.groups(level).into_iter().filter(free).collect();
        for group in whole {
            let cpus = self.machine.in_group(level, group);
            if self.needed > 0 && self.needed >= cpus.len() {
                self.take(&cpus);
            }
        }
    }

    /// Takes whole caches, and then all of the rest of one cache.
    fn caches(&mut self) {
        let size = self.machine.per_group(Cache);
        for cache in self.groups(Cache) {
            if self.needed >= size {
                self.whole(Cache);
            }
            if self.needed == 0 {
                return;
            }
            self.part_of(cache);
            if self.needed == 0 {
                return;
            }
        }
    }

    /// Takes what is needed from one cache, if it has that.
    fn part_of(&mut self, cache: usize) {
        let per_core = self.machine.per_group(Core).max(1);
        let cores = self.free.groups_in(Core, Cache, cache);
        let cores: Vec<usize> = cores.iter().take(self.needed.div_ceil(per_core)).collect();
        let mut cpus: Vec<usize> = self.free.in_groups(Core, &cores).iter().collect();
        // Of the last core one thread is enough.
        if !self.needed.is_multiple_of(2) && per_core > 1 && cpus.len() > self.needed {
            cpus.pop();
        }
        if cpus.len() == self.needed {
            self.take(&cpus.into_iter().collect());
        }
    }

    fn singles(&mut self) {
        let cores = self.groups(Core).into_iter();
        let cpus: Vec<usize> = cores
            .flat_map(|core| self.free.in_group(Core, core).iter().collect::<Vec<_>>())
            .collect();
        for cpu in cpus.into_iter().take(self.needed) {
            self.take(&[cpu].into_iter().collect());
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
