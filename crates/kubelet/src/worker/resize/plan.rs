//! What to change of running containers: a pure function of what they are promised and what they were given.

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_cri::v1::{ContainerState, ContainerStatus};

use crate::{
    allocation::{self, Record},
    observed::View,
    resources::{self, Resizable},
    worker::{memory::Cause, plan::Kill},
};

/// A running container that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub id: String,
    pub name: String,
    pub from: Resizable,
    pub to: Resizable,
}

/// What is to be done for the pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Actions {
    /// Containers that are to be started anew for it.
    pub restart: Vec<Kill>,
    /// Those that get less come first.
    pub memory: Vec<Change>,
    /// Those that get less come first.
    pub cpu: Vec<Change>,
    /// The pod's own cgroup.
    pub pod: bool,
}

impl Actions {
    pub(crate) fn is_empty(&self) -> bool {
        self.restart.is_empty() && !self.changes()
    }

    /// Whether there is something to change of what runs on.
    pub(crate) fn changes(&self) -> bool {
        self.pod || !self.memory.is_empty() || !self.cpu.is_empty()
    }
}

/// `pod` asks for what it is promised.
pub(crate) fn make(pod: &Pod, view: &View, record: &Record) -> Actions {
    let mut actions = Actions {
        // One that is not known was set when the pod was made, or is set when it is.
        pod: record
            .cgroup
            .is_some_and(|set| set != resources::pod_limits(pod)),
        ..Actions::default()
    };
    for container in allocation::containers(pod) {
        let Some(status) = view.newest(&container.name) else {
            continue;
        };
        // One that does not run gets what is promised when it starts.
        if status.state() == ContainerState::ContainerRunning {
            one(container, status, record, &mut actions);
        }
    }
    actions
}

fn one(container: &Container, status: &ContainerStatus, record: &Record, actions: &mut Actions) {
    let to = Resizable::of(container.resources.as_ref());
    let given = record.given.get(&container.name);
    let from = Resizable::of(given);
    if from == to && given.is_some() {
        return;
    }
    let memory = (from.memory_limit, from.memory_request) != (to.memory_limit, to.memory_request);
    let cpu = (from.cpu_limit, from.cpu_request) != (to.cpu_limit, to.cpu_request);
    let restarts =
        memory && restarts_for(container, "memory") || cpu && restarts_for(container, "cpu");
    // What it has is unknown only if the record was lost: that is no reason to end it.
    if restarts && given.is_some() {
        actions.restart.push(Kill {
            id: status.id.clone(),
            name: container.name.clone(),
            message: format!("Container {} resize requires restart", container.name),
            grace: None,
            cause: Cause::Resize,
        });
        return;
    }
    let change = Change {
        id: status.id.clone(),
        name: container.name.clone(),
        from,
        to,
    };
    // Upstream goes by the limit where that changes, and by the request otherwise.
    let less = |limits: (i64, i64), requests: (i64, i64)| match limits.0 == limits.1 {
        true => requests.1 < requests.0,
        false => limits.1 < limits.0,
    };
    if memory {
        let limits = (from.memory_limit, to.memory_limit);
        let requests = (from.memory_request, to.memory_request);
        put(&mut actions.memory, change.clone(), less(limits, requests));
    }
    if cpu {
        let limits = (from.cpu_limit, to.cpu_limit);
        let requests = (from.cpu_request, to.cpu_request);
        put(&mut actions.cpu, change, less(limits, requests));
    }
}

fn put(list: &mut Vec<Change>, change: Change, first: bool) {
    let at = if first { 0 } else { list.len() };
    list.insert(at, change);
}

fn restarts_for(container: &Container, resource: &str) -> bool {
    let policies = container.resize_policy.iter().flatten();
    let mut policies = policies.filter(|policy| policy.resource_name == resource);
    policies
        .next()
        .is_some_and(|policy| policy.restart_policy == "RestartContainer")
}

#[cfg(test)]
mod tests;
