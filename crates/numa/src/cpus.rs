//! The static policy of the CPU manager: whole CPUs of their own for containers of guaranteed pods that ask for whole CPUs; all others
//! share what is left.

mod options;

use std::collections::BTreeMap;

pub use options::Options;

use crate::{
    CpuSet, Demand, Hint, Mask, Pod, Role, Topology, take,
    topology::Level::{Core, Node},
};

/// The resource's name in hints.
pub const RESOURCE: &str = "cpu";

/// Why a container does not get its CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("SMT Alignment Error: requested {wanted} cpus not multiple cpus per core = {per_core}")]
    NoWholeCores { wanted: usize, per_core: usize },
    #[error(
        "SMT Alignment Error: not enough free physical CPUs: available physical CPUs = {free}, requested CPUs = {wanted}, CPUs per core = {per_core}"
    )]
    TooFewCores {
        wanted: usize,
        free: usize,
        per_core: usize,
    },
    #[error(transparent)]
    Take(#[from] take::Error),
}

impl Error {
    /// The reason of the pod's refusal.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoWholeCores { .. } | Self::TooFewCores { .. } => "SMTAlignmentError",
            Self::Take(_) => "UnexpectedAdmissionError",
        }
    }
}

/// Who has which CPUs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// What is shared.
    pub shared: CpuSet,
    /// By uid and container.
    pub given: BTreeMap<String, BTreeMap<String, CpuSet>>,
}

/// The policy and what it has given.
#[derive(Clone, Debug)]
pub struct Static {
    topology: Topology,
    reserved: CpuSet,
    /// The reserved ones and those of the same cores.
    reserved_cores: CpuSet,
    options: Options,
    state: State,
    /// What the init containers of the pod that is looked at leave to those after them.
    reusable: Option<(String, CpuSet)>,
}

impl Static {
    /// For this machine; `reserved` CPUs if they are named, otherwise so many, are kept for the system. `state` is what another left.
    ///
    /// # Errors
    /// Why it cannot work, as upstream says it.
    pub fn new(
        topology: Topology,
        (count, reserved): (usize, CpuSet),
        options: Options,
        state: Option<State>,
    ) -> Result<Self, String> {
        let mut policy = Self {
            reserved_cores: CpuSet::new(),
            reserved: CpuSet::new(),
            topology,
            options,
            state: State::default(),
            reusable: None,
        };
        let all = policy.topology.all();
        let reserved = match reserved.is_empty() {
            true => policy.take(&all, count).unwrap_or_default(),
            false => reserved,
        };
        if reserved.len() != count {
            return Err(format!(
                "[cpumanager] unable to reserve the required amount of CPUs (size of {reserved} did not equal {count})"
            ));
        }
        let mut cores = Vec::new();
        for cpu in reserved.iter() {
            let known = policy.topology.cpu(cpu);
            cores.push(known.map(|cpu| cpu.core).ok_or_else(|| {
                format!(
                    "[cpumanager] unable to build the reserved physical CPUs from the reserved set: unknown CPU ID: {cpu}"
                )
            })?);
        }
        policy.reserved_cores = policy.topology.in_groups(Core, &cores);
        policy.reserved = reserved;
        policy.state = policy.adopt(state.unwrap_or_default())?;
        Ok(policy)
    }

    /// Takes over what was given before, if it can be so.
    fn adopt(&self, mut state: State) -> Result<State, String> {
        let mut all = self.topology.all();
        if self.options.strict_reservation {
            all = all.difference(&self.reserved);
        }
        if state.shared.is_empty() {
            if !state.given.is_empty() {
                return Err("default cpuset cannot be empty".to_owned());
            }
            state.shared = all;
            return Ok(state);
        }
        let shared_reserved = self.reserved.intersection(&state.shared);
        if self.options.strict_reservation && !shared_reserved.is_empty() {
            return Err(format!(
                "some of strictly reserved cpus: \"{shared_reserved}\" are present in defaultCpuSet: \"{}\"",
                state.shared
            ));
        }
        if !self.options.strict_reservation && shared_reserved != self.reserved {
            return Err(format!(
                "not all reserved cpus: \"{}\" are present in defaultCpuSet: \"{}\"",
                self.reserved, state.shared
            ));
        }
        let mut known = state.shared.clone();
        for (pod, containers) in &state.given {
            for (container, cpus) in containers {
                if !cpus.intersection(&state.shared).is_empty() {
                    return Err(format!(
                        "pod: {pod}, container: {container} cpuset: \"{cpus}\" overlaps with default cpuset \"{}\"",
                        state.shared
                    ));
                }
                known = known.union(cpus);
            }
        }
        if known != all {
            return Err(format!(
                "current set of available CPUs \"{all}\" doesn't match with CPUs in state \"{known}\""
            ));
        }
        Ok(state)
    }

    /// What is to be kept across restarts.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The container's own CPUs.
    #[must_use]
    pub fn given(&self, uid: &str, container: &str) -> Option<&CpuSet> {
        self.state.given.get(uid)?.get(container)
    }

    /// Those that containers without own ones run on.
    #[must_use]
    pub fn shared(&self) -> &CpuSet {
        &self.state.shared
    }

    /// Those that containers may have.
    #[must_use]
    pub fn allocatable(&self) -> CpuSet {
        self.topology.all().difference(&self.reserved)
    }

    /// Those that the next container may have.
    fn free(&self) -> CpuSet {
        self.state.shared.difference(&self.reserved)
    }

    fn reusable(&self, uid: &str) -> CpuSet {
        let own = self.reusable.as_ref().filter(|(of, _)| of == uid);
        own.map(|(_, cpus)| cpus.clone()).unwrap_or_default()
    }

    fn take(&self, free: &CpuSet, count: usize) -> Result<CpuSet, take::Error> {
        if self.options.across_nodes {
            let group = match self.options.whole_cores {
                true => self.topology.per_group(Core),
                false => 1,
            };
            return take::spread(&self.topology, free, count, group);
        }
        take::packed(&self.topology, free, count, self.options.by_cache)
    }

    /// Where one container's CPUs could come from; nothing if it does not matter.
    #[must_use]
    pub fn hints(&self, pod: &Pod, container: &Demand) -> Option<Vec<Hint>> {
        let wanted = container.cpus;
        if wanted == 0 {
            return None;
        }
        if let Some(given) = self.given(&pod.uid, &container.name) {
            return Some(match given.len() == wanted {
                true => self.hints_for(given, &CpuSet::new(), wanted),
                false => Vec::new(),
            });
        }
        Some(self.hints_for(&self.free(), &self.reusable(&pod.uid), wanted))
    }

    /// Where the CPUs of a whole pod could come from.
    #[must_use]
    pub fn pod_hints(&self, pod: &Pod) -> Option<Vec<Hint>> {
        let wanted = pod.cpus();
        if wanted == 0 {
            return None;
        }
        let mut given = CpuSet::new();
        for container in &pod.containers {
            let Some(own) = self.given(&pod.uid, &container.name) else {
                continue;
            };
            if own.len() != container.cpus {
                return Some(Vec::new());
            }
            given = given.union(own);
        }
        if given.len() == wanted {
            return Some(self.hints_for(&given, &CpuSet::new(), wanted));
        }
        let reusable = self.reusable(&pod.uid).union(&given);
        Some(self.hints_for(&self.free(), &reusable, wanted))
    }

    /// Sets of nodes with enough CPUs and with all of the reusable ones; those are preferred that an empty machine would have served from.
    fn hints_for(&self, free: &CpuSet, reusable: &CpuSet, wanted: usize) -> Vec<Hint> {
        let nodes: Vec<usize> = self.topology.groups(Node).iter().collect();
        let mut least = nodes.len();
        let mut masks = Vec::new();
        let inside = |mask: Mask, cpu: usize| {
            let cpu = self.topology.cpu(cpu);
            cpu.is_some_and(|cpu| mask.has(cpu.node))
        };
        for mask in Mask::all_of(&nodes) {
            let members: Vec<usize> = mask.nodes().collect();
            if self.topology.in_groups(Node, &members).len() >= wanted {
                least = least.min(mask.count());
            }
            if reusable.iter().any(|cpu| !inside(mask, cpu)) {
                continue;
            }
            let more = free.iter().filter(|cpu| inside(mask, *cpu)).count();
            if reusable.len() + more >= wanted {
                masks.push(mask);
            }
        }
        let hint = |mask: Mask| Hint {
            nodes: Some(mask),
            preferred: mask.count() == least,
        };
        masks.into_iter().map(hint).collect()
    }

    /// Gives a container its CPUs, from these nodes as far as they go.
    ///
    /// # Errors
    /// They cannot be had.
    pub fn allocate(
        &mut self,
        pod: &Pod,
        container: &Demand,
        nodes: Option<Mask>,
    ) -> Result<(), Error> {
        let wanted = container.cpus;
        if wanted == 0 {
            return Ok(());
        }
        if let Some(given) = self.given(&pod.uid, &container.name).cloned() {
            self.note_reusable(pod, container, &given);
            return Ok(());
        }
        self.check_cores(wanted)?;
        let free = self.free().union(&self.reusable(&pod.uid));
        let mut taken = CpuSet::new();
        if let Some(nodes) = nodes {
            let members: Vec<usize> = nodes.nodes().collect();
            let near = free.intersection(&self.topology.in_groups(Node, &members));
            taken = self.take(&near, wanted.min(near.len()))?;
        }
        let rest = self.take(&free.difference(&taken), wanted - taken.len())?;
        taken = taken.union(&rest);
        self.state.shared = self.state.shared.difference(&taken);
        let given = self.state.given.entry(pod.uid.clone()).or_default();
        given.insert(container.name.clone(), taken.clone());
        self.note_reusable(pod, container, &taken);
        Ok(())
    }

    /// Whether only whole cores are given, and there are enough of them.
    fn check_cores(&self, wanted: usize) -> Result<(), Error> {
        if !self.options.whole_cores {
            return Ok(());
        }
        let per_core = self.topology.per_group(Core);
        if per_core == 0 || !wanted.is_multiple_of(per_core) {
            return Err(Error::NoWholeCores { wanted, per_core });
        }
        let free = self.state.shared.difference(&self.reserved_cores).len();
        match wanted > free {
            true => Err(Error::TooFewCores {
                wanted,
                free,
                per_core,
            }),
            false => Ok(()),
        }
    }

    /// Containers that run later may have the CPUs of init containers that end before.
    fn note_reusable(&mut self, pod: &Pod, container: &Demand, cpus: &CpuSet) {
        let reusable = self.reusable(&pod.uid);
        let reusable = match container.role {
            Role::Init => reusable.union(cpus),
            Role::Sidecar | Role::Main => reusable.difference(cpus),
        };
        self.reusable = Some((pod.uid.clone(), reusable));
    }

    /// Takes a container's CPUs back, but for those that another of the pod has as well.
    pub fn remove(&mut self, uid: &str, container: &str) {
        let Some(containers) = self.state.given.get_mut(uid) else {
            return;
        };
        let Some(cpus) = containers.remove(container) else {
            return;
        };
        let kept = containers
            .values()
            .fold(CpuSet::new(), |all, own| all.union(own));
        if containers.is_empty() {
            self.state.given.remove(uid);
        }
        self.state.shared = self.state.shared.union(&cpus.difference(&kept));
    }
}

#[cfg(test)]
mod tests;
