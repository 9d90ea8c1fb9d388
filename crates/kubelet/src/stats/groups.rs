//! The control groups of the node, of its pods and of their containers. All of it blocks.

use knarr_host::{net_dev, usage};

use super::INTERFACE;
use crate::{cgroup::Cgroups, context::Shared};

/// Where groups are found.
pub(super) struct Groups {
    cgroups: Cgroups,
}

impl Groups {
    pub(super) fn new(ctx: &Shared) -> Self {
        Self {
            cgroups: ctx.cgroups.clone(),
        }
    }

    /// That of the whole node.
    pub(super) fn root(&self) -> usage::Group {
        self.cgroups.usage("/")
    }

    /// The path of the one that all pods are in.
    pub(super) fn all_pods(&self) -> String {
        self.cgroups.pods()
    }

    pub(super) fn of(&self, path: &str) -> usage::Group {
        self.cgroups.usage(path)
    }

    /// That of a container, which the runtime makes below the pod's under the container's id.
    pub(super) fn container(&self, pod: &str, id: &str) -> usage::Group {
        self.cgroups.usage(&container(pod, id))
    }

    /// What went through a pod's own network: as one of its processes sees it, the oldest of the first container that has any.
    pub(super) fn interfaces(&self, pod: &str, containers: &[String]) -> Vec<net_dev::Interface> {
        let oldest = |id: &String| self.container(pod, id).processes().min();
        let Some(pid) = containers.iter().find_map(oldest) else {
            return Vec::new();
        };
        net_dev::of_process(pid, INTERFACE, net_dev::MAX_INTERFACES_OF_POD)
    }
}

/// The path of a container's group.
pub(super) fn container(pod: &str, id: &str) -> String {
    format!("{pod}/{id}")
}
