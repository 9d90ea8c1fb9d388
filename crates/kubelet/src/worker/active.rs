//! The active stage: admission, starts, restarts, volume updates, and what ends it.

use std::{sync::Arc, time::Duration};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Done, RETRY, Stage, Update, Worker, admission, kill,
    memory::{Memory, Waiting},
    plan::{self, Plan, Sandbox},
    start,
};
use crate::{
    backoff::Backoff,
    context,
    events::{NORMAL, WARNING},
    eviction::Eviction,
    observed::View,
    preemption,
    stats::PodWork,
    status::Verdict,
    volume,
};

impl Worker {
    /// Returns when to look again. `update` is left with the pod as it is promised, whatever is `wanted`.
    pub(super) fn active(
        &mut self,
        update: &mut Update,
        wanted: &Arc<Pod>,
        view: &Arc<View>,
    ) -> Option<Instant> {
        if self.ends(update, view) {
            self.end();
            return None;
        }
        if self.awaits_room {
            return Some(Instant::now() + RETRY);
        }
        update.pod = self.promised(wanted);
        if self.restarts_all(update, view) {
            return deadline(&update.pod).map(until);
        }
        let pod = &update.pod;
        let mut plan = self.state.read(|memory| {
            plan::make(pod, view, memory, &|name, ended| {
                hold_off(memory, name, ended)
            })
        });
        if plan.done {
            self.end();
            return None;
        }
        let resize = self.resize(pod, view, &mut plan);
        self.kill_pending(pod, &plan);
        // Their old instances have just ended; the restart is under way, not held off.
        plan.hold.retain(|hold| !self.starting.contains(&hold.name));
        let holds = self.hold(pod, &plan);
        let retry = start::due(&self.state, &mut plan);
        let nothing = plan.start.is_empty() && plan.sandbox == Sandbox::Keep;
        let free = self.start.is_none() && self.killing.is_empty() && !self.resizing;
        if free && !nothing {
            self.start(pod, view, plan);
        }
        let deadline = deadline(pod).map(until);
        let refresh = self.refresh(pod);
        self.probes.sync(pod, view);
        [holds, retry, deadline, refresh, resize]
            .into_iter()
            .flatten()
            .min()
    }

    fn end(&mut self) {
        self.stage = Stage::Stopping;
        if let Some(sequence) = &self.start {
            sequence.cancel();
        }
        self.probes.end();
    }

    /// Whether the pod is to end, apart from its containers having ended.
    fn ends(&mut self, update: &Update, view: &View) -> bool {
        let pod = &update.pod;
        let status = pod.status.as_ref();
        let phase = status.and_then(|s| s.phase.as_deref());
        if update.gone || self.lost || pod.metadata.deletion_timestamp.is_some() {
            return true;
        }
        if matches!(phase, Some("Succeeded" | "Failed")) {
            return true;
        }
        let eviction = self.eviction.borrow_and_update().clone();
        if let Some(Eviction {
            reason,
            message,
            disruption,
            ..
        }) = eviction
        {
            self.verdict = Some(Verdict {
                reason: reason.to_owned(),
                message,
                disruption,
                rejected: false,
            });
            return true;
        }
        if deadline(pod).is_some_and(|at| at <= Timestamp::now()) {
            let message =
                "Pod was active on the node longer than the specified deadline".to_owned();
            self.ctx
                .events
                .pod(pod, NORMAL, "DeadlineExceeded", message.clone());
            self.verdict = Some(Verdict {
                reason: "DeadlineExceeded".to_owned(),
                message,
                disruption: false,
                rejected: false,
            });
            return true;
        }
        let running = !view.containers.is_empty() || phase == Some("Running");
        let rejected = self.state.read(|memory| memory.rejected.clone());
        let admitted = rejected.map_or_else(|| admission::admit(&self.ctx, pod, running), Err);
        self.awaits_room = admitted.is_err();
        let refused = |rejection| preemption::make_room(&self.ctx, pod, rejection);
        if let Err(rejection) = admitted.or_else(refused) {
            self.ctx
                .events
                .pod(pod, WARNING, &rejection.reason, rejection.message.clone());
            self.verdict = Some(Verdict {
                message: rejection.status_message(),
                reason: rejection.reason,
                disruption: false,
                rejected: true,
            });
            return true;
        }
        false
    }

    fn kill_pending(&mut self, pod: &Arc<Pod>, plan: &Plan) {
        for kill in &plan.kill {
            if !self.killing.insert(kill.id.clone()) {
                continue;
            }
            self.state
                .edit(|memory| memory.killed.insert(kill.id.clone(), kill.cause));
            let (ctx, pod, kill) = (self.ctx.clone(), pod.clone(), kill.clone());
            self.tasks.spawn(async move {
                let grace = kill.grace.unwrap_or_else(|| kill::grace_of(&pod));
                let which = (kill.id.as_str(), kill.name.as_str());
                let result =
                    kill::container(&ctx, &pod, which, Some(kill.message.clone()), grace).await;
                Done::Kill(kill.id, result)
            });
        }
    }

    /// Tells which containers wait for their restart; returns when the first may.
    fn hold(&self, pod: &Pod, plan: &Plan) -> Option<Instant> {
        for hold in &plan.hold {
            let (name, delay) = (&hold.name, go_seconds(hold.delay));
            let reason = "CrashLoopBackOff".to_owned();
            let message = format!(
                "back-off {delay} restarting failed container={name} pod={}",
                context::display(pod)
            );
            let waiting = Waiting { reason, message };
            let before = self
                .state
                .edit(|m| m.waiting.insert(name.clone(), waiting.clone()));
            if before != Some(waiting) {
                let note = format!(
                    "Back-off restarting failed container {name} in pod {}",
                    context::display(pod)
                );
                self.ctx
                    .events
                    .container(pod, name, WARNING, "BackOff", note);
            }
        }
        plan.hold
            .iter()
            .map(|hold| Instant::now() + hold.remaining)
            .min()
    }

    fn start(&mut self, pod: &Arc<Pod>, view: &View, plan: Plan) {
        let backoff = &self.ctx.config.configuration.settings.crash_loop_back_off;
        let longest = backoff.max_container_restart_period;
        for start in &plan.start {
            let ended = view
                .newest(&start.name)
                .is_some_and(|c| c.state() == v1::ContainerState::ContainerExited);
            if ended {
                self.state.edit(|memory| {
                    let backoff = memory.backoff.entry(start.name.clone());
                    backoff.or_insert_with(|| Backoff::up_to(longest)).next();
                });
            }
        }
        self.starting = plan.start.iter().map(|start| start.name.clone()).collect();
        let token = CancellationToken::new();
        self.start = Some(token.clone());
        self.show(pod);
        let work = match plan.sandbox {
            Sandbox::Keep => PodWork::Sync,
            _ => PodWork::Create,
        };
        let durations = self.ctx.stats.durations.clone();
        let sequence = start::Sequence {
            ctx: self.ctx.clone(),
            pod: pod.clone(),
            state: self.state.clone(),
            plan,
            token,
        };
        self.tasks.spawn(async move {
            let began = Instant::now();
            sequence.run().await;
            durations.of_pod(work, began.elapsed());
            Done::Started
        });
    }

    /// Records what of the pod's metadata volumes show; tells whether it has changed.
    fn show(&mut self, pod: &Pod) -> bool {
        let meta = &pod.metadata;
        let now = Some((meta.labels.clone(), meta.annotations.clone()));
        let changed = self.shown.is_some() && self.shown != now;
        self.shown = now;
        changed
    }

    /// Brings volumes up to date when something they show has changed or a token is due.
    fn refresh(&mut self, pod: &Arc<Pod>) -> Option<Instant> {
        self.volumes_due |= self.show(pod);
        let at = self
            .state
            .read(|memory| memory.volumes.as_ref().and_then(|v| v.refresh_at));
        self.volumes_due |= at.is_some_and(|at| at <= Timestamp::now());
        let busy = self.refreshing || self.start.is_some() || self.held();
        if self.volumes_due && !busy {
            self.volumes_due = false;
            self.refreshing = true;
            let (ctx, pod) = (self.ctx.clone(), pod.clone());
            self.tasks
                .spawn(async move { Done::Refreshed(volume::setup(&ctx, &pod).await) });
        }
        at.map(until).filter(|at| *at > Instant::now())
    }
}

/// When the pod has to have ended.
fn deadline(pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec.as_ref()?.active_deadline_seconds?;
    let start = pod.status.as_ref()?.start_time.as_ref()?.0;
    Some(start + SignedDuration::from_secs(seconds))
}

fn until(at: Timestamp) -> Instant {
    let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    Instant::now() + wait
}

/// The rest of a container's restart delay, and the whole of it.
fn hold_off(
    memory: &Memory,
    name: &str,
    ended: &v1::ContainerStatus,
) -> Option<(Duration, Duration)> {
    let backoff = memory.backoff.get(name)?;
    let remaining = backoff.remaining_since(memory.ended.get(&ended.id).copied());
    (!remaining.is_zero()).then(|| (remaining, backoff.delay()))
}

/// Go's rendering of whole seconds: `40s`, `1m20s`.
fn go_seconds(time: Duration) -> String {
    let seconds = time.as_secs();
    if seconds < 60 {
        format!("{seconds}s")
    } else {
        format!("{}m{}s", seconds / 60, seconds % 60)
    }
}
