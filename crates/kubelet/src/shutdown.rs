//! Graceful shutdown of the machine: pods end before it does, those of low priority first, each group within its time.
//!
//! ```text
//! logind (or a test) --Down(lock)--> node not ready, no new pods --> groups of pods, one after the other --> the lock is let go
//!                    --Up---------> node ready again
//! ```
//!
//! Ends of knarr itself end no pods: containers outlive it. Only what the machine's init says counts.

mod bus;
mod logind;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use k8s_openapi::api::core::v1::Pod;
use knarr_cri::v1::PodSandboxState;
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};
use tokio_util::sync::CancellationToken;

pub(crate) use self::logind::Logind;
use self::logind::{Lock, ShutdownSignal};
use crate::{
    configuration::{Period, Settings},
    context::{self, Context, Shared},
    disk,
    eviction::Eviction,
    pods,
    worker::admission::Rejection,
};

/// Of pods that end, in upstream's words.
const REASON: &str = "Terminated";
const MESSAGE: &str = "Pod was terminated in response to imminent node shutdown.";
/// From this priority on pods are critical.
const CRITICAL: i32 = 2_000_000_000;
/// Before the bus is connected to again.
const RECONNECT: Duration = Duration::from_secs(1);
/// When it began and ended, in the kubelet's root, as upstream.
const STATE_FILE: &str = "graceful_node_shutdown_state";

/// The times that are configured, low priorities first; none where nothing is to be done.
pub(crate) fn periods(settings: &Settings) -> Vec<Period> {
    let mut periods = settings.shutdown_grace_period_by_pod_priority.clone();
    let whole = settings.shutdown_grace_period;
    if periods.is_empty() && !whole.is_zero() {
        let critical = settings.shutdown_grace_period_critical_pods;
        let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        let period = |priority: i32, time: Duration| Period {
            priority,
            seconds: seconds(time),
        };
        periods.push(period(0, whole.saturating_sub(critical)));
        periods.push(period(CRITICAL, critical));
    }
    periods.sort_by_key(|period| period.priority);
    periods
}

/// The pods of each period: of the last one whose priority is not above theirs, or of the first.
fn groups(periods: &[Period], pods: Vec<Arc<Pod>>) -> Vec<(Period, Vec<Arc<Pod>>)> {
    let mut groups: Vec<_> = periods.iter().map(|period| (*period, Vec::new())).collect();
    for pod in pods {
        let priority = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.priority)
            .unwrap_or(0);
        let below = periods
            .iter()
            .rposition(|period| period.priority <= priority);
        if let Some((_, group)) = groups.get_mut(below.unwrap_or(0)) {
            group.push(pod);
        }
    }
    groups
}

/// Whether the machine goes down.
#[derive(Default)]
pub(crate) struct Shutdown {
    going: Mutex<bool>,
    /// Rung when that changes.
    pub changed: Notify,
}

impl Shutdown {
    /// What keeps the node from being ready.
    pub(crate) fn trouble(&self) -> Option<&'static str> {
        self.going.lock().then_some("node is shutting down")
    }

    /// Turns new pods away meanwhile.
    pub(crate) fn admit(&self) -> Result<(), Rejection> {
        match *self.going.lock() {
            false => Ok(()),
            true => Err(Rejection::new(
                "NodeShutdown",
                "Pod was rejected as the node is shutting down.",
            )),
        }
    }

    fn set(&self, going: bool) {
        *self.going.lock() = going;
        self.changed.notify_one();
    }
}

/// Waits for the machine to go down, until the token is cancelled; connects again when the bus was away.
pub(crate) async fn run(ctx: Shared, logind: Logind, token: CancellationToken) {
    let periods = periods(&ctx.config.configuration.settings);
    let seconds: u64 = periods
        .iter()
        .map(|period| period.seconds.unsigned_abs())
        .sum();
    loop {
        let (watch, own) = (logind.clone(), token.child_token());
        // Nothing of a connection stays when the next one is made.
        let _ended = own.clone().drop_guard();
        let watching =
            tokio::task::spawn_blocking(move || watch.watch(Duration::from_secs(seconds), own));
        match watching.await {
            Ok(Ok(mut signal)) => {
                while let Some(Some(signal)) = token.run_until_cancelled(signal.recv()).await {
                    handle(&ctx, &periods, signal).await;
                }
            }
            Ok(Err(error)) => tracing::warn!(error, "the machine's shutdown cannot be delayed"),
            Err(error) => tracing::error!(%error, "watching the machine's shutdown panicked"),
        }
        let pause = tokio::time::sleep(RECONNECT);
        if token.run_until_cancelled(pause).await.is_none() {
            return;
        }
    }
}

async fn handle(ctx: &Shared, periods: &[Period], signal: ShutdownSignal) {
    let going = matches!(signal, ShutdownSignal::Down(_));
    let what = if going { "event" } else { "cancellation" };
    let note = format!("Shutdown manager detected shutdown {what}");
    ctx.events.node(&ctx.config.node_name, "NodeShutdown", note);
    ctx.shutdown.set(going);
    if let ShutdownSignal::Down(lock) = signal {
        go_down(ctx, periods, lock).await;
    }
}

/// Ends all pods, and lets the machine go.
async fn go_down(ctx: &Shared, periods: &[Period], lock: Lock) {
    let begun = SystemTime::now();
    record(ctx, begun, None);
    let active = pods::list(ctx).into_iter().filter(|pod| is_active(pod));
    for (period, group) in groups(periods, active.collect()) {
        if !group.is_empty() {
            end(ctx, period, &group).await;
        }
    }
    record(ctx, begun, Some(SystemTime::now()));
    tracing::info!("all pods were signal to end, the machine may go down");
    drop(lock);
}

fn is_active(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    !matches!(phase, Some("Succeeded" | "Failed"))
}

/// Ends pods, and waits until nothing of them runs, for as long as their period is.
async fn end(ctx: &Context, period: Period, group: &[Arc<Pod>]) {
    let ends = group.iter().map(|pod| async move {
        let uid = context::uid(pod);
        let spec = pod.spec.as_ref();
        let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let grace = own.unwrap_or(period.seconds).min(period.seconds);
        ctx.evictions.evict(
            uid,
            Eviction {
                reason: REASON,
                message: MESSAGE.to_owned(),
                grace: Some(grace),
                disruption: true,
            },
        );
        let mut view = ctx.observed.subscribe(uid);
        loop {
            {
                let now = view.borrow_and_update();
                let mut sandboxes = now.sandboxes.iter();
                let ready = sandboxes.any(|s| s.state() == PodSandboxState::SandboxReady);
                if !ready && now.running().next().is_none() {
                    return;
                }
            }
            if view.changed().await.is_err() {
                return;
            }
        }
    });
    let all = futures::future::join_all(ends);
    let limit = Duration::from_secs(period.seconds.unsigned_abs());
    if timeout(limit, all).await.is_err() {
        let priority = period.priority;
        tracing::warn!(
            priority,
            seconds = period.seconds,
            "pods did not end in their time"
        );
    }
}

fn record(ctx: &Context, begun: SystemTime, ended: Option<SystemTime>) {
    let text = |time: SystemTime| {
        let stamp = jiff::Timestamp::try_from(time).unwrap_or_default();
        stamp.to_string()
    };
    let state = serde_json::json!({
        "startTime": text(begun),
        // Go's zero time.
        "endTime": ended.map_or("0001-01-01T00:00:00Z".to_owned(), text),
    });
    let path = ctx.config.root().path().join(STATE_FILE);
    let written = disk::waiting(|| knarr_host::write_durably(&path, state.to_string().as_bytes()));
    if let Err(error) = written {
        tracing::warn!(%error, "the shutdown is not recorded");
    }
}

/// Looks for the machine's init where pods are to end before the machine does. Blocks.
///
/// # Errors
/// There is none that tells of it.
pub(crate) fn find(settings: &Settings) -> Result<Option<Logind>, String> {
    if periods(settings).is_empty() {
        return Ok(None);
    }
    let found = Logind::of_machine().and_then(|logind| logind.check().map(|()| logind));
    found.map(Some).map_err(|why| {
        format!(
            "invalid configuration: shutdownGracePeriod: this machine has no systemd-logind that tells of its shutdown ({why}): drain the node before its machine is shut down"
        )
    })
}
