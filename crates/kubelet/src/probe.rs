//! Probes: one task a container with probes, timers of its own, no polling of anything else.
//!
//! The startup probe runs alone until it succeeds; then liveness and readiness run side by side. Results go into the
//! worker's [`WorkerState`]; the worker turns them into status and restarts. A server needs some milliseconds until it listens:
//! its failures count from a period after its start. A probe that gates readiness is made at once all the same, and repeated
//! quickly and silently at first ([`schedule`]), so that nobody waits a whole period for a success.

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Pod, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use knarr_cri::v1;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    context::Shared,
    events::WARNING,
    labels,
    observed::View,
    worker::{
        kill,
        memory::{PendingKill, WorkerState},
    },
};

mod counts;
mod grpc;
mod http;
mod schedule;
mod tcp;

pub(crate) use counts::Counts;
pub(crate) use http::{Http, Target, is_not_tls};
use schedule::{Counter, Ticks, Verdict};

/// The three kinds, with the words events use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Liveness,
    Readiness,
    Startup,
}

impl Kind {
    fn title(self) -> &'static str {
        match self {
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
            Self::Startup => "Startup",
        }
    }
}

/// What one probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// It counts as a success, but somebody should look.
    Warning(String),
    /// The container answered, wrongly or not at all.
    Failure(String),
    /// The probe itself could not be made; it does not count.
    Error(String),
}

/// The probes of one pod.
pub(crate) struct Set {
    ctx: Shared,
    state: WorkerState,
    /// By container id.
    tasks: HashMap<String, JoinHandle<()>>,
    /// Cancelled when the pod is to end.
    ending: CancellationToken,
}

impl Drop for Set {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Set {
    pub(crate) fn new(ctx: Shared, state: WorkerState) -> Self {
        Self {
            ctx,
            state,
            tasks: HashMap::new(),
            ending: CancellationToken::new(),
        }
    }

    /// Starts probes of containers that run, ends those of others.
    pub(crate) fn sync(&mut self, pod: &Arc<Pod>, view: &View) {
        self.retain(view);
        for status in view.running() {
            if self.tasks.contains_key(&status.id) {
                continue;
            }
            let Some(container) = kill::find(pod, labels::container_name(status)) else {
                continue;
            };
            let has = container.liveness_probe.is_some()
                || container.readiness_probe.is_some()
                || container.startup_probe.is_some();
            // A postStart hook goes first.
            if !has || self.state.read(|memory| memory.hooks.contains(&status.id)) {
                continue;
            }
            let prober = Prober {
                ctx: self.ctx.clone(),
                state: self.state.clone(),
                pod: pod.clone(),
                container: container.into_owned(),
                id: status.id.clone(),
                ip: self
                    .ctx
                    .facts(pod, view.ips())
                    .pod_ips
                    .into_iter()
                    .next()
                    .unwrap_or_default(),
                begun: begun(status),
                ending: self.ending.clone(),
            };
            let running = knarr_tasks::spawn("a probe", prober.run());
            self.tasks.insert(status.id.clone(), running);
        }
    }

    /// Ends probes of containers that do not run.
    pub(crate) fn retain(&mut self, view: &View) {
        self.tasks.retain(|id, task| {
            let keep = view.running().any(|c| c.id == *id);
            if !keep {
                task.abort();
            }
            keep
        });
    }

    /// The pod is to end: nothing of it is restarted any more. Readiness is probed on, as by upstream's `StopLivenessAndStartup`:
    /// a pod that ends may still get requests, where there is no other, for as long as it is ready.
    pub(crate) fn end(&self) {
        self.ending.cancel();
    }

    /// Ends all.
    pub(crate) fn stop(&mut self) {
        for (_, task) in self.tasks.drain() {
            task.abort();
        }
    }
}

/// When the container started, on our clock.
fn begun(status: &v1::ContainerStatus) -> Instant {
    let now = Instant::now();
    let started = jiff::Timestamp::from_nanosecond(i128::from(status.started_at));
    let ago = started
        .ok()
        .map(|at| jiff::Timestamp::now().duration_since(at));
    let ago = ago
        .and_then(|ago| Duration::try_from(ago).ok())
        .unwrap_or_default();
    now.checked_sub(ago).unwrap_or(now)
}

struct Prober {
    ctx: Shared,
    state: WorkerState,
    pod: Arc<Pod>,
    container: Container,
    id: String,
    ip: String,
    begun: Instant,
    ending: CancellationToken,
}

impl Prober {
    async fn run(self) {
        let known = self
            .state
            .read(|m| m.health.get(&self.id).copied())
            .unwrap_or_default();
        if let Some(probe) = &self.container.startup_probe
            && known.started != Some(true)
            && self.until_ending(self.until_started(probe)).await != Some(true)
        {
            return;
        }
        self.state
            .write(|m| m.health.entry(self.id.clone()).or_default().started = Some(true));
        let readiness = async {
            if let Some(probe) = &self.container.readiness_probe {
                self.keep_ready(probe, known.ready).await;
            }
        };
        let liveness = async {
            if let Some(probe) = &self.container.liveness_probe {
                self.until_ending(self.until_dead(probe)).await;
            }
        };
        tokio::join!(readiness, liveness);
    }

    /// What a probe comes to unless the pod is to end first.
    async fn until_ending<T>(&self, probing: impl Future<Output = T>) -> Option<T> {
        self.ending.run_until_cancelled(probing).await
    }

    /// Returns whether the container has started; false when it failed for good.
    async fn until_started(&self, probe: &Probe) -> bool {
        let mut counter = Counter::new(probe, None);
        let mut ticks = Ticks::start(self.begun, probe, Kind::Startup, false).await;
        loop {
            let early = ticks.early();
            let outcome = self.probe(Kind::Startup, probe, early).await;
            match counter.add(&outcome, early) {
                Verdict::Good => return true,
                Verdict::Bad => {
                    self.request_kill(Kind::Startup, probe);
                    return false;
                }
                Verdict::Unchanged => {}
            }
            ticks.next(&outcome).await;
        }
    }

    async fn keep_ready(&self, probe: &Probe, known: Option<bool>) {
        let mut counter = Counter::new(probe, known);
        let known = known == Some(true);
        let mut ticks = Ticks::start(self.begun, probe, Kind::Readiness, known).await;
        loop {
            let early = ticks.early();
            let outcome = self.probe(Kind::Readiness, probe, early).await;
            let ready = match counter.add(&outcome, early) {
                Verdict::Good => Some(true),
                Verdict::Bad => Some(false),
                Verdict::Unchanged => None,
            };
            if let Some(ready) = ready {
                self.state
                    .write(|m| m.health.entry(self.id.clone()).or_default().ready = Some(ready));
            }
            ticks.next(&outcome).await;
        }
    }

    async fn until_dead(&self, probe: &Probe) {
        let mut counter = Counter::new(probe, Some(true));
        let mut ticks = Ticks::start(self.begun, probe, Kind::Liveness, true).await;
        loop {
            let outcome = self.probe(Kind::Liveness, probe, false).await;
            if counter.add(&outcome, false) == Verdict::Bad {
                self.request_kill(Kind::Liveness, probe);
                return;
            }
            ticks.next(&outcome).await;
        }
    }

    fn request_kill(&self, kind: Kind, probe: &Probe) {
        let kill = PendingKill {
            failed: format!("{} probe", kind.title().to_lowercase()),
            grace: probe.termination_grace_period_seconds,
        };
        self.state
            .write(|memory| memory.pending_kills.insert(self.id.clone(), kill));
    }

    /// Probes once and tells of a failure, unless it is an early one.
    async fn probe(&self, kind: Kind, probe: &Probe, early: bool) -> Outcome {
        let outcome = self.once(probe).await;
        // Those that the kubelet makes of its own accord, beside the periods, are nobody's.
        if !early {
            self.ctx
                .probed
                .count(&self.pod, &self.container.name, kind, &outcome);
        }
        let (reason, word, message) = match &outcome {
            Outcome::Success => return outcome,
            Outcome::Warning(message) => ("ProbeWarning", "warning", message),
            _ if early => return outcome,
            Outcome::Failure(message) => ("Unhealthy", "failed", message),
            Outcome::Error(message) => {
                let word = "errored and resulted in unknown state";
                ("Unhealthy", word, message)
            }
        };
        let note = format!("{} probe {word}: {message}", kind.title());
        self.ctx
            .events
            .container(&self.pod, &self.container.name, WARNING, reason, note);
        match outcome {
            Outcome::Warning(_) => Outcome::Success,
            outcome => outcome,
        }
    }

    async fn once(&self, probe: &Probe) -> Outcome {
        let timeout = seconds(probe.timeout_seconds, 1);
        if let Some(exec) = &probe.exec {
            return self
                .exec(exec.command.as_deref().unwrap_or_default(), timeout)
                .await;
        }
        if let Some(get) = &probe.http_get {
            let target = match http_target(&self.container, get, &self.ip) {
                Ok(target) => target,
                Err(error) => return Outcome::Error(error),
            };
            return http::probe(&self.ctx.http, &target, timeout).await;
        }
        if let Some(socket) = &probe.tcp_socket {
            let host = socket
                .host
                .as_deref()
                .filter(|h| !h.is_empty())
                .unwrap_or(&self.ip);
            return match port(&self.container, &socket.port) {
                Ok(port) => tcp::probe(host, port, timeout).await,
                Err(error) => Outcome::Error(error),
            };
        }
        if let Some(grpc) = &probe.grpc {
            let Ok(port) = u16::try_from(grpc.port) else {
                return Outcome::Error(format!("invalid port {}", grpc.port));
            };
            let service = grpc.service.as_deref().unwrap_or_default();
            return grpc::probe(&self.ip, port, service, timeout).await;
        }
        Outcome::Error("missing probe handler".to_owned())
    }

    async fn exec(&self, command: &[String], timeout: Duration) -> Outcome {
        match self.ctx.runtime.exec_sync(&self.id, command, timeout).await {
            Ok(answer) if answer.exit_code == 0 => Outcome::Success,
            Ok(answer) => Outcome::Failure(answer.output),
            Err(error) if error.code == knarr_cri::tonic::Code::DeadlineExceeded => {
                let command = command.join(" ");
                Outcome::Failure(format!(
                    "command timed out: \"{command}\" timed out after {}s",
                    timeout.as_secs()
                ))
            }
            Err(error) => Outcome::Error(error.to_string()),
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    let value = value.and_then(|v| u64::try_from(v).ok()).filter(|v| *v > 0);
    Duration::from_secs(value.unwrap_or(default))
}

/// A port by number or by the container's name for it.
pub(crate) fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let named = container
                .ports
                .iter()
                .flatten()
                .find(|p| p.name.as_deref() == Some(name));
            match named {
                Some(port) => port.container_port,
                None => name
                    .parse()
                    .map_err(|_| format!("couldn't find port: {name}"))?,
            }
        }
    };
    let invalid = || format!("invalid port number: {number}");
    u16::try_from(number)
        .ok()
        .filter(|p| *p > 0)
        .ok_or_else(invalid)
}

/// Where an httpGet of this container goes.
pub(crate) fn http_target(
    container: &Container,
    get: &HTTPGetAction,
    pod_ip: &str,
) -> Result<Target, String> {
    let host = get
        .host
        .as_deref()
        .filter(|h| !h.is_empty())
        .unwrap_or(pod_ip);
    let path = get.path.as_deref().unwrap_or("/");
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    let headers = get.http_headers.iter().flatten();
    Ok(Target {
        https: get.scheme.as_deref() == Some("HTTPS"),
        host: host.to_owned(),
        port: port(container, &get.port)?,
        path: escaped(&path),
        headers: headers.map(|h| (h.name.clone(), h.value.clone())).collect(),
    })
}

/// A path as Go sends what users write: what no URL may have is escaped, what is escaped stays, and a fragment is left out.
fn escaped(path: &str) -> String {
    let path = path.split_once('#').map_or(path, |(path, _)| path);
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

#[cfg(test)]
mod tests;
