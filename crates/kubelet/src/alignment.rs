//! CPUs and memory of their own for containers of guaranteed pods, near each other and near their devices: the CPU, memory and topology
//! managers (`knarr-numa`), as a kubelet's configuration has them.
//!
//! ```text
//! worker: first start of a pod --> admit: a container's hints (devices, CPUs, memory) --merge--> devices, CPUs, memory --> state files
//! end of a pod --> release --> state files            shared CPUs changed --> [`reconcile`] --> containers that run on them
//! ```
//!
//! What was given is in upstream's files below the kubelet's root, for the next kubelet of either kind. One of another policy than the
//! configured ends the start, as upstream: what runs has been promised what that policy gave.

mod demand;
mod reconcile;
mod setup;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, path::PathBuf};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1::LinuxContainerResources;
use knarr_numa::{
    CpuSet, Hint, Hints, checkpoint, cpus, memory,
    merge::{Merger, Policy, Scope},
};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub(crate) use self::reconcile::run;
use crate::{
    context,
    devices::DevicePlugins,
    disk,
    resources::{self, Qos},
    worker::admission::Rejection,
};

/// Upstream's name of the policy that gives CPUs.
const STATIC_CPUS: &str = "static";
/// Upstream's name of the policy that gives memory.
const STATIC_MEMORY: &str = "Static";

/// The managers of a node.
#[derive(Default)]
pub(crate) struct Alignment {
    root: PathBuf,
    merger: Merger,
    scope: Scope,
    state: Mutex<State>,
    /// One pod at a time is let in: what it is given depends on what others have.
    admitting: tokio::sync::Mutex<()>,
    /// Rung when other CPUs are shared than before.
    changed: Notify,
}

/// What is given; none where the policy gives nothing.
#[derive(Default)]
struct State {
    cpus: Option<cpus::Static>,
    memory: Option<memory::Static>,
}

/// What a container has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    pub cpus: Vec<i64>,
    pub memory: Vec<memory::Block>,
}

impl Alignment {
    /// Whether there is nothing to be given and nobody to be asked.
    fn is_off(&self) -> bool {
        let state = self.state.lock();
        self.merger.policy == Policy::None && state.cpus.is_none() && state.memory.is_none()
    }

    /// Gives a pod that starts what it is to have for itself, devices of plugins among it. What it has already it keeps.
    ///
    /// # Errors
    /// The pod is to be turned away.
    pub(crate) async fn admit(&self, pod: &Pod, devices: &DevicePlugins) -> Result<(), Rejection> {
        if self.is_off() {
            let given = devices.allocate(pod).await;
            return given.map_err(|error| Rejection::unexpected(&error));
        }
        let _one = self.admitting.lock().await;
        let wanted = demand::of(pod);
        let whole = match (self.merger.policy, self.scope) {
            (Policy::None, _) | (_, Scope::Container) => None,
            (_, Scope::Pod) => Some(self.choose(&self.pod_hints(&wanted, devices.pod_hints(pod)))?),
        };
        for container in &wanted.containers {
            let hint = match whole {
                Some(hint) => hint,
                None if self.merger.policy == Policy::None => Hint {
                    nodes: None,
                    preferred: false,
                },
                None => {
                    let near = devices.hints(pod, &container.name);
                    self.choose(&self.hints(&wanted, container, near))?
                }
            };
            let given = devices.allocate_for(pod, &container.name, hint.nodes).await;
            given.map_err(|error| Rejection::unexpected(&error))?;
            self.give(&wanted, container, hint)?;
        }
        Ok(())
    }

    /// The nodes that suit all.
    fn choose(&self, providers: &[Option<Hints>]) -> Result<Hint, Rejection> {
        match self.merger.merge(providers) {
            (hint, true) => Ok(hint),
            (_, false) => Err(Rejection::new(
                "TopologyAffinityError",
                "Resources cannot be allocated with Topology locality",
            )),
        }
    }

    fn hints(
        &self,
        pod: &knarr_numa::Pod,
        container: &knarr_numa::Demand,
        devices: Hints,
    ) -> Vec<Option<Hints>> {
        let state = self.state.lock();
        let cpus = state.cpus.as_ref();
        let cpus = cpus.map(|cpus| cpu_hints(cpus.hints(pod, container)));
        let memory = state.memory.as_ref();
        let memory = memory.map(|memory| memory.hints(pod, container));
        providers(devices, cpus, memory)
    }

    fn pod_hints(&self, pod: &knarr_numa::Pod, devices: Hints) -> Vec<Option<Hints>> {
        let state = self.state.lock();
        let cpus = state.cpus.as_ref();
        let cpus = cpus.map(|cpus| cpu_hints(cpus.pod_hints(pod)));
        let memory = state.memory.as_ref();
        providers(devices, cpus, memory.map(|memory| memory.pod_hints(pod)))
    }

    fn give(
        &self,
        pod: &knarr_numa::Pod,
        container: &knarr_numa::Demand,
        hint: Hint,
    ) -> Result<(), Rejection> {
        let unexpected = |error: &dyn std::fmt::Display| Rejection::unexpected(&error.to_string());
        let mut state = self.state.lock();
        if let Some(cpus) = &mut state.cpus {
            let given = cpus.allocate(pod, container, hint.nodes);
            given.map_err(|error| match error.reason() {
                "UnexpectedAdmissionError" => unexpected(&error),
                reason => Rejection::new(reason, error),
            })?;
        }
        if let Some(memory) = &mut state.memory {
            let given = memory.allocate(pod, container, hint);
            given.map_err(|error| unexpected(&error))?;
        }
        drop(state);
        self.changed.notify_one();
        self.write().map_err(|error| unexpected(&error))
    }

    /// A pod has ended, or never came to be: what it had is there for others.
    pub(crate) fn release(&self, uid: &str) {
        let mut state = self.state.lock();
        let names: Vec<String> = {
            let cpus = state
                .cpus
                .as_ref()
                .and_then(|cpus| cpus.state().given.get(uid));
            let memory = state.memory.as_ref().and_then(|m| m.state().given.get(uid));
            let cpus = cpus.into_iter().flat_map(BTreeMap::keys);
            let all = cpus.chain(memory.into_iter().flat_map(BTreeMap::keys));
            all.cloned().collect()
        };
        if names.is_empty() {
            return;
        }
        for name in names {
            if let Some(cpus) = &mut state.cpus {
                cpus.remove(uid, &name);
            }
            if let Some(memory) = &mut state.memory {
                memory.remove(uid, &name);
            }
        }
        drop(state);
        self.changed.notify_one();
        if let Err(error) = self.write() {
            tracing::warn!(error, uid, "what a pod had is not written to be free");
        }
    }

    /// The pods that have anything for themselves.
    pub(crate) fn uids(&self) -> Vec<String> {
        let state = self.state.lock();
        let cpus = state.cpus.iter().flat_map(|cpus| cpus.state().given.keys());
        let memory = state.memory.iter().flat_map(|m| m.state().given.keys());
        cpus.chain(memory).cloned().collect()
    }

    fn write(&self) -> Result<(), String> {
        disk::waiting(|| {
            let state = self.state.lock();
            let put = |file: &str, bytes: Result<Vec<u8>, checkpoint::Error>| {
                let bytes = bytes.map_err(|error| error.to_string())?;
                let path = self.root.join(file);
                let written = knarr_host::write_durably(&path, &bytes);
                written.map_err(|error| format!("could not save checkpoint: {path:?}: {error}"))
            };
            if let Some(cpus) = &state.cpus {
                let bytes = checkpoint::write_cpus(STATIC_CPUS, cpus.state());
                put(checkpoint::CPU_FILE, bytes)?;
            }
            if let Some(memory) = &state.memory {
                let bytes = checkpoint::write_memory(STATIC_MEMORY, memory.state());
                put(checkpoint::MEMORY_FILE, bytes)?;
            }
            Ok(())
        })
    }

    /// Holds a container to its CPUs, or to those that are shared, and to the nodes of its memory.
    pub(crate) fn limit(&self, pod: &Pod, container: &str, to: &mut LinuxContainerResources) {
        if let Some(cpus) = self.cpus(context::uid(pod), container) {
            to.cpuset_cpus = cpus.to_string();
        }
        let state = self.state.lock();
        let blocks = state.memory.as_ref();
        let blocks = blocks.and_then(|memory| memory.given(context::uid(pod), container));
        let nodes = blocks.into_iter().flatten().flat_map(|block| &block.nodes);
        let nodes: CpuSet = nodes.copied().collect();
        if !nodes.is_empty() {
            to.cpuset_mems = nodes.to_string();
        }
    }

    /// The CPUs that a container is to run on, if not just any.
    fn cpus(&self, uid: &str, container: &str) -> Option<CpuSet> {
        let state = self.state.lock();
        let cpus = state.cpus.as_ref()?;
        let own = cpus.given(uid, container);
        Some(own.unwrap_or(cpus.shared()).clone()).filter(|cpus| !cpus.is_empty())
    }

    /// What a container has for itself.
    pub(crate) fn own(&self, uid: &str, container: &str) -> Own {
        let state = self.state.lock();
        let cpus = state
            .cpus
            .as_ref()
            .and_then(|cpus| cpus.given(uid, container));
        let memory = state
            .memory
            .as_ref()
            .and_then(|memory| memory.given(uid, container));
        Own {
            cpus: cpus.map(numbers).unwrap_or_default(),
            memory: memory.unwrap_or_default().to_vec(),
        }
    }

    /// What containers may have for themselves.
    pub(crate) fn allocatable(&self) -> Own {
        let state = self.state.lock();
        let cpus = state.cpus.as_ref().map(cpus::Static::allocatable);
        let memory = state.memory.as_ref().map(memory::Static::allocatable);
        Own {
            cpus: cpus.as_ref().map(numbers).unwrap_or_default(),
            memory: memory.unwrap_or_default(),
        }
    }

    /// Why the resources of a pod cannot be changed while it runs.
    pub(crate) fn keeps_from_resizing(&self, pod: &Pod) -> Option<String> {
        if resources::qos(pod) != Qos::Guaranteed {
            return None;
        }
        let state = self.state.lock();
        let (manager, policy) = match (&state.cpus, &state.memory) {
            (Some(_), _) => ("CPU", STATIC_CPUS),
            (None, Some(_)) => ("Memory", STATIC_MEMORY),
            (None, None) => return None,
        };
        Some(format!(
            "Resize is infeasible for Guaranteed Pods alongside {manager} Manager policy \"{policy}\""
        ))
    }
}

fn numbers(cpus: &CpuSet) -> Vec<i64> {
    let numbers = cpus.iter().map(i64::try_from);
    numbers.filter_map(Result::ok).collect()
}

/// What each says; a manager that is not there says nothing, as one does that does not mind.
fn providers(
    devices: Hints,
    cpus: Option<Option<Hints>>,
    memory: Option<Option<Hints>>,
) -> Vec<Option<Hints>> {
    let mut all = vec![Some(devices)];
    all.extend(cpus);
    all.extend(memory);
    all
}

fn cpu_hints(hints: Option<Vec<Hint>>) -> Option<Hints> {
    hints.map(|hints| Hints::from([(cpus::RESOURCE.to_owned(), hints)]))
}
