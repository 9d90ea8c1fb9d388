//! A change of a running pod's resources: whether it is promised, what is done for it, and what is told of it.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use serde::Serialize;
use tokio::time::{Duration, Instant};

use super::{
    Done, Worker,
    memory::{Cause, Condition, Resize},
    plan::{Plan, Sandbox},
};
use crate::{
    allocation::{self, Answer},
    events::{NORMAL, WARNING},
    observed::View,
    status,
};

pub(crate) mod actuate;
pub(crate) mod plan;

/// Conditions of a pod whose resources are being changed.
pub(crate) const PENDING: &str = "PodResizePending";
pub(crate) const IN_PROGRESS: &str = "PodResizeInProgress";
/// Reason of a change that this node never makes.
const INFEASIBLE: &str = "Infeasible";
/// Reason of a change for which there is no room now.
const DEFERRED: &str = "Deferred";
/// Reason of a change that the runtime or the kernel refused.
const ERROR: &str = "Error";
/// A refused change is tried again after this: what containers use may have become less.
const RETRY: Duration = Duration::from_secs(10);

impl Condition {
    fn new(reason: &str, message: String, generation: Option<i64>) -> Self {
        Self {
            reason: reason.to_owned(),
            message,
            generation,
            since: status::whole(Timestamp::now()),
        }
    }
}

/// After a restart, what the API was told of a change holds until it is over.
pub(super) fn adopt(pod: &Pod) -> Resize {
    let status = pod.status.as_ref();
    let told = |kind: &str| {
        let mut conditions = status
            .and_then(|s| s.conditions.as_ref())
            .into_iter()
            .flatten();
        let found = conditions.find(|condition| condition.type_ == kind)?;
        Some(Condition {
            reason: found.reason.clone().unwrap_or_default(),
            message: found.message.clone().unwrap_or_default(),
            generation: found.observed_generation,
            since: found
                .last_transition_time
                .as_ref()
                .map_or_else(Timestamp::now, |time| time.0),
        })
    };
    Resize {
        pending: told(PENDING),
        progress: told(IN_PROGRESS),
        retry_at: None,
    }
}

impl Worker {
    /// Asks for what the pod wants; the pod with what it is promised.
    pub(super) fn promised(&mut self, wanted: &Arc<Pod>) -> Arc<Pod> {
        let generation = wanted.metadata.generation;
        let pending = self.state.read(|memory| memory.resize.pending.clone());
        let since = pending.map(|pending| pending.since);
        let as_promised = self.ctx.allocations.promised(wanted);
        if !Arc::ptr_eq(&as_promised, wanted)
            && let Some(why) = self.ctx.alignment.keeps_from_resizing(wanted)
        {
            self.put_off(wanted, ("ResizeInfeasible", INFEASIBLE), why);
            return as_promised;
        }
        match self.ctx.allocations.ask(wanted, self.state.bell(), since) {
            Answer::Kept => self.state.edit(|memory| memory.resize.pending = None),
            Answer::Promised => {
                self.state.edit(|memory| {
                    memory.resize = Resize {
                        progress: Some(Condition::new("", String::new(), generation)),
                        ..Resize::default()
                    };
                });
                // They may show resources.
                self.volumes_due |= self.state.read(|memory| memory.volumes.is_some());
                self.tell("ResizeStarted", "started", wanted, generation, "");
            }
            Answer::Deferred(why) => self.put_off(wanted, ("ResizeDeferred", DEFERRED), why),
        }
        self.ctx.allocations.promised(wanted)
    }

    /// Tells why the pod is not promised what it wants.
    fn put_off(&self, wanted: &Pod, (event, reason): (&str, &str), why: String) {
        let mut now = Condition::new(reason, why.clone(), wanted.metadata.generation);
        let known = self.state.edit(|memory| {
            let before = memory.resize.pending.take();
            if let Some(before) = before.as_ref().filter(|b| b.reason == reason) {
                now.since = before.since;
            }
            let known = before.is_some_and(|before| {
                before.reason == now.reason && before.generation == now.generation
            });
            memory.resize.pending = Some(now);
            known
        });
        if !known {
            let generation = wanted.metadata.generation;
            self.tell(event, reason, wanted, generation, &why);
        }
    }

    /// Has running containers given what is promised, and notes how far that is; returns when to look again. Containers that
    /// have to be started anew for it are added to the plan's kills.
    pub(super) fn resize(
        &mut self,
        pod: &Arc<Pod>,
        view: &Arc<View>,
        plan: &mut Plan,
    ) -> Option<Instant> {
        let record = self.ctx.allocations.record(&self.uid)?;
        let actions = plan::make(pod, view, &record);
        // Their successors are started with what is promised.
        let restarting = self.state.read(|memory| {
            allocation::containers(pod).any(|container| {
                let newest = view.newest(&container.name);
                newest.is_some_and(|c| memory.killed.get(&c.id) == Some(&Cause::Resize))
            })
        });
        let waiting = !actions.is_empty() || restarting || self.resizing;
        self.progress(pod, waiting);
        let known = |id: &String| plan.kill.iter().any(|kill| kill.id == *id);
        let restarts: Vec<_> = actions
            .restart
            .iter()
            .filter(|kill| !known(&kill.id))
            .cloned()
            .collect();
        plan.kill.extend(restarts);
        let retry = self.state.read(|memory| memory.resize.retry_at);
        let retry = retry.filter(|at| *at > Instant::now());
        let busy = self.resizing
            || self.start.is_some()
            || !self.killing.is_empty()
            || !plan.kill.is_empty()
            || plan.sandbox != Sandbox::Keep;
        if busy || retry.is_some() || !actions.changes() {
            return retry.filter(|_| actions.changes());
        }
        self.resizing = true;
        let (ctx, pod, view) = (self.ctx.clone(), pod.clone(), view.clone());
        self.tasks.spawn(async move {
            let result = actuate::run(&ctx, &pod, &view, record, actions).await;
            ctx.allocations.settle(&pod);
            Done::Resized(result)
        });
        None
    }

    /// Notes that a change is under way, or that it is over.
    fn progress(&self, pod: &Arc<Pod>, waiting: bool) {
        let over = self.state.edit(|memory| {
            let progress = &mut memory.resize.progress;
            if waiting && progress.is_none() {
                let generation = pod.metadata.generation;
                *progress = Some(Condition::new("", String::new(), generation));
            }
            if waiting { None } else { progress.take() }
        });
        if let Some(over) = over {
            // A container that was started anew, too.
            self.ctx.allocations.settle(pod);
            self.tell("ResizeCompleted", "completed", pod, over.generation, "");
        }
    }

    /// What a try to change containers came to.
    pub(super) fn resized(&mut self, result: Result<(), String>) {
        self.resizing = false;
        let Err(why) = result else {
            self.state.edit(|memory| memory.resize.retry_at = None);
            return;
        };
        let update = self.input.borrow().clone();
        let generation = self.state.edit(|memory| {
            memory.resize.retry_at = Some(Instant::now() + RETRY);
            let progress = memory.resize.progress.as_mut()?;
            let known = progress.reason == ERROR && progress.message == why;
            if progress.reason != ERROR {
                progress.since = status::whole(Timestamp::now());
            }
            ERROR.clone_into(&mut progress.reason);
            progress.message.clone_from(&why);
            (!known).then_some(progress.generation)
        });
        if let Some(generation) = generation {
            tracing::warn!(
                pod = crate::context::display(&update.pod),
                error = why,
                "cannot change a pod's resources"
            );
            let pod = self.ctx.allocations.promised(&update.pod);
            self.tell("ResizeError", "error", &pod, generation, &why);
        }
    }

    /// Upstream's event: what it is about, as JSON.
    fn tell(&self, reason: &str, what: &str, pod: &Pod, generation: Option<i64>, error: &str) {
        let kind = match reason {
            "ResizeStarted" | "ResizeCompleted" => NORMAL,
            _ => WARNING,
        };
        let note = format!("Pod resize {what}: {}", summary(pod, generation, error));
        self.ctx.events.pod(pod, kind, reason, note);
    }
}

/// Fields in upstream's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Summary<'a> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    init_containers: Vec<Named<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    containers: Vec<Named<'a>>,
    generation: i64,
    #[serde(skip_serializing_if = "str::is_empty")]
    error: &'a str,
}

#[derive(Serialize)]
struct Named<'a> {
    name: &'a str,
    resources: ResourceRequirements,
}

impl<'a> Named<'a> {
    fn all(list: &'a [Container]) -> Vec<Self> {
        let named = |container: &'a Container| Self {
            name: &container.name,
            resources: container.resources.clone().unwrap_or_default(),
        };
        list.iter().map(named).collect()
    }
}

fn summary(pod: &Pod, generation: Option<i64>, error: &str) -> String {
    let spec = pod.spec.as_ref();
    let init = spec.and_then(|spec| spec.init_containers.as_deref());
    let main = spec.map(|spec| spec.containers.as_slice());
    let summary = Summary {
        init_containers: Named::all(init.unwrap_or_default()),
        containers: Named::all(main.unwrap_or_default()),
        generation: generation.unwrap_or_default(),
        error,
    };
    serde_json::to_string(&summary).unwrap_or_default()
}

#[cfg(test)]
mod tests;
