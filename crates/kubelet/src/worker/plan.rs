//! What to do next for a pod: a pure function of its specification and of what the runtime holds.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod};
use knarr_cri::v1::{ContainerState, ContainerStatus, PodSandboxState};

use super::memory::{Cause, Memory};
use crate::{
    ephemeral, labels,
    observed::View,
    status::{REMOVED_TO_RESTART, UNKNOWN_END},
};

/// What happens to the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sandbox {
    /// It is there and ready, or none is wanted.
    Keep,
    /// A new one with this attempt number; what runs in an older one is stopped first.
    Create(u32),
}

/// One container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    pub name: String,
    pub attempt: u32,
    /// A container that was created but never started: it makes room.
    pub replaces: Option<String>,
}

/// One container to kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kill {
    pub id: String,
    pub name: String,
    pub message: String,
    pub grace: Option<i64>,
    pub cause: Cause,
}

/// A container that has to wait before its restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    pub name: String,
    pub remaining: Duration,
    pub delay: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub sandbox: Sandbox,
    pub kill: Vec<Kill>,
    pub start: Vec<Start>,
    pub hold: Vec<Hold>,
    /// Every container has run to its end and none will run again.
    pub done: bool,
}

/// Restart hold-off: container name and the instance whose end counts to the rest of the delay and the whole of it.
pub(crate) type HoldOff<'a> = &'a dyn Fn(&str, &ContainerStatus) -> Option<(Duration, Duration)>;

struct Planner<'a> {
    pod: &'a Pod,
    view: &'a View,
    memory: &'a Memory,
    hold_off: HoldOff<'a>,
    plan: Plan,
    /// The present sandbox's id; none of a sandbox that is dead, whose containers all have to be made anew.
    sandbox: Option<&'a str>,
    /// When it was made: containers that do not say whose they are and are older belong to another.
    since: i64,
}

/// Makes the plan.
pub(crate) fn make(pod: &Pod, view: &View, memory: &Memory, hold_off: HoldOff<'_>) -> Plan {
    let sandbox = view.sandbox();
    let ready = sandbox.is_some_and(|s| s.state() == PodSandboxState::SandboxReady);
    let attempt = sandbox.map_or(0, |s| {
        s.metadata
            .as_ref()
            .map_or(0, |m| m.attempt)
            .saturating_add(1)
    });
    let mut planner = Planner {
        pod,
        view,
        memory,
        hold_off,
        plan: Plan {
            sandbox: if ready {
                Sandbox::Keep
            } else {
                Sandbox::Create(attempt)
            },
            kill: Vec::new(),
            start: Vec::new(),
            hold: Vec::new(),
            done: false,
        },
        sandbox: sandbox.filter(|_| ready).map(|s| s.id.as_str()),
        since: match sandbox {
            Some(sandbox) if ready => sandbox.created_at,
            // Without a live sandbox every container has to be made anew.
            Some(_) => i64::MAX,
            None => i64::MIN,
        },
    };
    planner.run();
    if planner.sandbox.is_some() && !planner.plan.done {
        planner.ephemeral();
    }
    let mut plan = planner.plan;
    if plan.start.is_empty() && plan.hold.is_empty() {
        plan.sandbox = Sandbox::Keep;
    }
    plan
}

/// Whether an init container is a sidecar.
pub(crate) fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

/// Which of a pod's lists a container is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Init,
    Main,
    Ephemeral,
}

/// Whether a container of this pod runs again after it ended with `exit_code`.
pub(crate) fn restarts(pod: &Pod, container: &Container, role: Role, exit_code: i32) -> bool {
    if role == Role::Ephemeral {
        return false;
    }
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|s| s.restart_policy.as_deref())
        .unwrap_or("Always");
    if container.restart_policy.is_some() && rules_restart(container, exit_code) {
        return true;
    }
    let policy = container.restart_policy.as_deref().unwrap_or(of_pod);
    match policy {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        // An init container that succeeded is done, unless it is a sidecar.
        _ => role == Role::Main || is_sidecar(container) || exit_code != 0,
    }
}

/// Whether the first of the container's rules that is about this exit code restarts it, alone or with all others.
fn rules_restart(container: &Container, exit_code: i32) -> bool {
    let action = rule(container, exit_code);
    action.is_some_and(|action| matches!(action, "Restart" | RESTART_ALL))
}

/// The action that restarts a pod's containers from the first one on, in the same sandbox.
pub(crate) const RESTART_ALL: &str = "RestartAllContainers";

/// What the first of the container's rules that is about this exit code has done.
pub(crate) fn rule(container: &Container, exit_code: i32) -> Option<&str> {
    let mut rules = container.restart_policy_rules.iter().flatten();
    let matching = rules.find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let named = codes.values.iter().flatten().any(|code| *code == exit_code);
            match codes.operator.as_str() {
                "In" => named,
                "NotIn" => !named,
                _ => false,
            }
        })
    });
    matching.map(|rule| rule.action.as_str())
}

/// Whether an end was counted as a restart when it was told.
fn counts_already(reason: Option<&str>) -> bool {
    matches!(reason, Some(UNKNOWN_END | REMOVED_TO_RESTART))
}

impl<'a> Planner<'a> {
    fn run(&mut self) {
        let Some(spec) = &self.pod.spec else { return };
        let main_exists = spec
            .containers
            .iter()
            .any(|c| self.current(&c.name).is_some());
        let mut initialized = true;
        for container in spec.init_containers.iter().flatten() {
            let open = self.init(container, main_exists);
            if self.plan.done {
                return;
            }
            if open {
                initialized = false;
                break;
            }
        }
        if !initialized {
            return;
        }
        let mut ended = true;
        for container in &spec.containers {
            ended &= self.main(container);
        }
        self.plan.done = ended;
        if ended {
            // Sidecars end with the pod.
            self.plan.start.clear();
            self.plan.hold.clear();
            self.plan.kill.clear();
        }
    }

    /// The container's newest instance in the present sandbox.
    fn current(&self, name: &'a str) -> Option<&'a ContainerStatus> {
        let newest = self.view.newest(name)?;
        let present = match newest.annotations.get(labels::SANDBOX) {
            // Ids, not times: a clock may be set back.
            Some(id) if !self.view.sandboxes.is_empty() => self.sandbox == Some(id),
            _ => newest.created_at >= self.since,
        };
        present.then_some(newest)
    }

    /// Returns whether the containers after it have to wait.
    fn init(&mut self, container: &'a Container, main_exists: bool) -> bool {
        let sidecar = is_sidecar(container);
        let Some(status) = self.current(&container.name) else {
            // Its record may have been cleaned away long after it ran.
            if main_exists && !sidecar {
                return false;
            }
            self.start(container);
            return !main_exists;
        };
        match status.state() {
            ContainerState::ContainerRunning => {
                if sidecar {
                    self.check_running(container, status, Role::Init);
                    return !main_exists && !self.started(container, status);
                }
                !main_exists
            }
            ContainerState::ContainerExited | ContainerState::ContainerUnknown => {
                if !sidecar && (status.exit_code == 0 || main_exists) {
                    return false;
                }
                if restarts(self.pod, container, Role::Init, status.exit_code) {
                    self.restart(container, status);
                    return !main_exists;
                }
                self.plan.done = true;
                true
            }
            ContainerState::ContainerCreated => {
                self.start(container);
                !main_exists
            }
        }
    }

    /// Returns whether the container has ended for good.
    fn main(&mut self, container: &'a Container) -> bool {
        let Some(status) = self.current(&container.name) else {
            // In a new sandbox, what has succeeded before does not run again.
            let before = self.view.newest(&container.name);
            let ended = before.is_some_and(|b| {
                b.state() == ContainerState::ContainerExited
                    && !restarts(self.pod, container, Role::Main, b.exit_code)
            });
            if !ended {
                self.start(container);
            }
            return ended;
        };
        match status.state() {
            ContainerState::ContainerRunning => {
                self.check_running(container, status, Role::Main);
                false
            }
            ContainerState::ContainerCreated => {
                self.start(container);
                false
            }
            ContainerState::ContainerExited | ContainerState::ContainerUnknown => {
                // One that runs is replaced when its definition changes; one that has ended stays as its policy says.
                let cause = self.memory.killed.get(&status.id);
                let replaced = matches!(cause, Some(Cause::Definition | Cause::Resize));
                if restarts(self.pod, container, Role::Main, status.exit_code) || replaced {
                    self.restart(container, status);
                    return false;
                }
                true
            }
        }
    }

    fn redefined(&self, container: &Container, status: &ContainerStatus) -> bool {
        status
            .annotations
            .get(labels::HASH)
            .is_some_and(|hash| *hash != labels::hash(container))
    }

    fn check_running(&mut self, container: &Container, status: &ContainerStatus, role: Role) {
        let name = &container.name;
        let (what, grace, cause) = if self.redefined(container, status) {
            ("definition changed".to_owned(), None, Cause::Definition)
        } else if let Some(kill) = self.memory.pending_kills.get(&status.id) {
            (format!("failed {}", kill.failed), kill.grace, Cause::Probe)
        } else {
            return;
        };
        // Of sidecars, which always are restarted, upstream does not say so.
        let message = match role {
            Role::Init => format!("Init container {name} {what}"),
            _ if cause == Cause::Definition || self.restarts_failed(container) => {
                format!("Container {name} {what}, will be restarted")
            }
            _ => format!("Container {name} {what}"),
        };
        self.plan.kill.push(Kill {
            id: status.id.clone(),
            name: name.clone(),
            message,
            grace,
            cause,
        });
    }

    /// Whether a main container is started again after it was killed for a failure: its rules are for what ends by itself.
    fn restarts_failed(&self, container: &Container) -> bool {
        let spec = self.pod.spec.as_ref();
        let of_pod = spec.and_then(|spec| spec.restart_policy.as_deref());
        let policy = container.restart_policy.as_deref().or(of_pod);
        policy != Some("Never")
    }

    fn started(&self, container: &Container, status: &ContainerStatus) -> bool {
        if self.memory.hooks.contains(&status.id) {
            return false;
        }
        container.startup_probe.is_none()
            || self.memory.health.get(&status.id).and_then(|h| h.started) == Some(true)
    }

    fn restart(&mut self, container: &'a Container, status: &ContainerStatus) {
        let name = &container.name;
        // As upstream, which plans the restart of what it kills before it does so: the end before that one counts.
        let counts = if self.memory.killed.contains_key(&status.id) {
            let mut older = self.view.of(name).filter(|c| c.id != status.id);
            older.find(|c| c.state() == ContainerState::ContainerExited)
        } else {
            Some(status)
        };
        let held = counts.and_then(|ended| (self.hold_off)(name, ended));
        if let Some((remaining, delay)) = held {
            let name = name.clone();
            self.plan.hold.push(Hold {
                name,
                remaining,
                delay,
            });
            return;
        }
        self.start(container);
    }

    /// They come first, as upstream has it: whoever looks at a pod that does not start wants them now. A pod without a sandbox has
    /// nothing to look at.
    fn ephemeral(&mut self) {
        let mut starts = Vec::new();
        for container in ephemeral::all(self.pod) {
            let newest = self.view.newest(&container.name);
            let ran = match newest {
                Some(newest) => newest.state() != ContainerState::ContainerCreated,
                None => ephemeral::ran(self.pod, &container.name),
            };
            if !ran {
                starts.push(Start {
                    name: container.name.clone(),
                    attempt: 0,
                    replaces: newest.map(|unused| unused.id.clone()),
                });
            }
        }
        starts.append(&mut self.plan.start);
        self.plan.start = starts;
    }

    fn start(&mut self, container: &'a Container) {
        let newest = self.view.newest(&container.name);
        let unused = newest.filter(|c| c.state() == ContainerState::ContainerCreated);
        let attempt = match (newest, unused) {
            (_, Some(unused)) => labels::restart_count(unused),
            (Some(newest), None) => labels::restart_count(newest).saturating_add(1),
            (None, None) => {
                let removed = self.memory.attempts.get(&container.name).copied();
                let lost = self.lost_attempts(&container.name);
                lost.max(removed.unwrap_or(0))
            }
        };
        self.plan.start.push(Start {
            name: container.name.clone(),
            attempt,
            replaces: unused.map(|c| c.id.clone()),
        });
    }

    /// The next attempt of a container of which only the API remembers that it ran.
    fn lost_attempts(&self, name: &str) -> u32 {
        let Some(status) = &self.pod.status else {
            return 0;
        };
        let main = status.container_statuses.iter().flatten();
        let init = status.init_container_statuses.iter().flatten();
        let Some(status) = main.chain(init).find(|s| s.name == name) else {
            return 0;
        };
        let has_run = |id: &Option<String>| id.as_deref().is_some_and(|id| !id.is_empty());
        let ended = status.last_state.iter().find_map(|s| s.terminated.as_ref());
        let counted = match (has_run(&status.container_id), ended) {
            (true, _) => 1,
            // Told to have ended unseen or to have been removed: that is counted already.
            (false, Some(ended)) if counts_already(ended.reason.as_deref()) => 0,
            (false, Some(_)) => 1,
            (false, None) => return 0,
        };
        u32::try_from(status.restart_count)
            .unwrap_or(0)
            .saturating_add(counted)
    }
}

#[cfg(test)]
mod tests;
