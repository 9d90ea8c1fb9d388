//! What the containers of a pod are to have for themselves.

use std::collections::BTreeMap;

/// When a container runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Before the others, to its end.
    Init,
    /// From the start on, with the others.
    Sidecar,
    Main,
}

/// One container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    pub name: String,
    pub role: Role,
    /// Whole CPUs of a guaranteed pod; 0 where the shared pool does.
    pub cpus: usize,
    /// Bytes of memory and of huge pages of a guaranteed pod by resource.
    pub memory: BTreeMap<String, u64>,
}

/// One pod, its init containers first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    pub containers: Vec<Demand>,
}

impl Pod {
    /// Most that init containers need at a time, beside sidecars that were started before, and what those that run together need.
    fn total(&self, of: impl Fn(&Demand) -> u64) -> (u64, u64) {
        let (mut most, mut sidecars, mut mains) = (0_u64, 0_u64, 0_u64);
        for container in &self.containers {
            let wanted = of(container);
            match container.role {
                Role::Init => most = most.max(sidecars.saturating_add(wanted)),
                Role::Sidecar => sidecars = sidecars.saturating_add(wanted),
                Role::Main => mains = mains.saturating_add(wanted),
            }
        }
        (most, sidecars.saturating_add(mains))
    }

    /// CPUs that the pod needs at a time.
    #[must_use]
    pub fn cpus(&self) -> usize {
        let (init, together) = self.total(|container| container.cpus as u64);
        usize::try_from(init.max(together)).unwrap_or(usize::MAX)
    }

    /// Memory that the pod needs at a time, of what its main containers have any of.
    #[must_use]
    pub fn memory(&self) -> BTreeMap<String, u64> {
        let mains = self.containers.iter().filter(|c| c.role == Role::Main);
        let names = mains.flat_map(|container| container.memory.keys());
        let of = |name: &String| {
            let (init, together) = self.total(|c| c.memory.get(name).copied().unwrap_or(0));
            (name.clone(), init.max(together))
        };
        names.map(of).collect()
    }
}
