//! One worker a pod, from its first sight to its final deletion.
//!
//! A worker is woken by a new version of the pod, by the runtime, by a task of its own that has ended, by a probe, by
//! a ConfigMap or Secret, or by a time it has asked for. It then looks at everything anew, decides, and starts tasks
//! for whatever takes time; it never waits itself, so that a deletion is seen during an hour-long image pull. What it does to
//! containers is told when it has been done ([`settled`]).
//! Stages only go forward: active, stopping (containers end), stopped (status is told, volumes and cgroups go), and
//! for deleted pods, finished: sandbox removed, API object deleted with grace 0.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use knarr_cri::v1;
use tokio::{
    sync::{Notify, watch},
    task::{AbortHandle, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::{
    context::{self, Shared},
    ephemeral,
    eviction::Eviction,
    observed::View,
    status::{self, Verdict, writer},
    termination,
};

mod active;
pub(crate) mod admission;
mod adopt;
pub(crate) mod container;
mod devices;
mod done;
pub(crate) mod finish;
pub(crate) mod hooks;
mod images;
pub(crate) mod kill;
pub(crate) mod memory;
pub(crate) mod plan;
pub(crate) mod resize;
pub(crate) mod restart_all;
mod sandbox;
mod settled;
pub(crate) mod start;
mod update;

use adopt::{adopt_backoff, adopt_health};
use done::Done;
use memory::WorkerState;
use settled::Settled;
pub(crate) use update::Update;

/// A failed write, stop or clean-up is tried again after this.
const RETRY: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Active,
    Stopping,
    Stopped,
    Finished,
}

/// A stop that is under way.
struct Stop {
    task: AbortHandle,
    grace: i64,
}

pub(crate) struct Worker {
    ctx: Shared,
    uid: String,
    input: watch::Receiver<Update>,
    view: watch::Receiver<Arc<View>>,
    eviction: watch::Receiver<Option<Eviction>>,
    state: WorkerState,
    objects: Arc<Notify>,
    tasks: JoinSet<Done>,
    probes: crate::probe::Set,
    /// Ends the start that is under way.
    start: Option<CancellationToken>,
    /// Containers that are about to be started.
    starting: HashSet<String>,
    killing: HashSet<String>,
    /// What is told while containers are being killed or started.
    settled: Option<Settled>,
    stop: Option<Stop>,
    writing: bool,
    refreshing: bool,
    /// Containers are being given other resources.
    resizing: bool,
    /// All containers are being removed, to be started anew.
    removing: bool,
    /// The last write of the status failed: nothing waits for the API to know what it says.
    unheard: bool,
    finishing: bool,
    cleaned: bool,
    /// Others are on their way out for this one.
    awaits_room: bool,
    /// Volumes are to be brought up to date.
    volumes_due: bool,
    /// Labels and annotations that volumes were made with.
    shown: Option<(Option<StringMap>, Option<StringMap>)>,
    stage: Stage,
    verdict: Option<Verdict>,
    /// The answer to the last write.
    written: Option<Box<Pod>>,
    /// The API has no such pod.
    lost: bool,
    /// Uid of a mirror that the API does not have any more.
    lost_mirror: Option<String>,
    /// The API has the status as it is.
    reported: bool,
    /// Last words by id of containers that have ended.
    messages: HashMap<String, String>,
    /// Containers whose last words are being read.
    reading: HashSet<String>,
    seen: Timestamp,
    retry_at: Option<Instant>,
    /// Ephemeral containers whose references are watched.
    referenced: usize,
}

type StringMap = std::collections::BTreeMap<String, String>;

impl Worker {
    pub(crate) fn new(ctx: Shared, input: watch::Receiver<Update>) -> Self {
        let pod = input.borrow().pod.clone();
        let uid = context::uid(&pod).to_owned();
        let view = ctx.observed.subscribe(&uid);
        let eviction = ctx.evictions.subscribe(&uid);
        let known = *view.borrow().as_ref() != View::default();
        let state = WorkerState::default();
        let probes = crate::probe::Set::new(ctx.clone(), state.clone());
        adopt_health(&ctx, &pod, &view.borrow(), &state);
        let backoff = &ctx.config.configuration.settings.crash_loop_back_off;
        let longest = backoff.max_container_restart_period;
        adopt_backoff(&view.borrow(), &state, longest);
        state.edit(|memory| {
            memory.resize = resize::adopt(&pod);
            memory.restarting_all = restart_all::told(pod.status.as_ref());
        });
        Self {
            ctx,
            uid,
            input,
            view,
            eviction,
            state,
            objects: Arc::new(Notify::new()),
            tasks: JoinSet::new(),
            probes,
            start: None,
            starting: HashSet::new(),
            killing: HashSet::new(),
            settled: None,
            stop: None,
            writing: false,
            refreshing: false,
            resizing: false,
            removing: false,
            unheard: false,
            finishing: false,
            cleaned: false,
            awaits_room: false,
            volumes_due: known,
            shown: None,
            stage: Stage::Active,
            verdict: None,
            written: None,
            lost: false,
            lost_mirror: None,
            reported: false,
            messages: HashMap::new(),
            reading: HashSet::new(),
            seen: Timestamp::now(),
            retry_at: None,
            referenced: 0,
        }
    }

    /// Runs until the pod is gone or the kubelet ends; what runs in the pod goes on then.
    pub(crate) async fn run(mut self, token: CancellationToken) {
        let pod = self.input.borrow().pod.clone();
        self.ctx.objects.reference(&pod, &self.objects);
        self.referenced = ephemeral::all(&pod).count();
        loop {
            let next = self.step();
            if self.stage == Stage::Finished {
                break;
            }
            let bell = self.state.bell().clone();
            let timer = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                changed = self.input.changed() => if changed.is_err() { break },
                Ok(()) = self.view.changed() => {}
                Ok(()) = self.eviction.changed() => {}
                () = bell.notified() => {}
                () = self.objects.notified() => self.objects_changed(),
                Some(done) = self.tasks.join_next() => match done {
                    Ok(done) => self.done(done),
                    Err(error) if error.is_cancelled() => {}
                    Err(error) => {
                        tracing::error!(%error, uid = self.uid, "a pod's task panicked");
                        break;
                    }
                },
                () = timer => {}
                () = token.cancelled() => return,
            }
        }
        self.ctx.objects.release(&self.uid);
        self.ctx.seen.forget(&self.uid);
        self.ctx.tokens.forget(&self.uid);
        self.ctx.certificates.forget(&self.uid);
        self.ctx.images.forget(&self.uid);
        self.ctx.stats.starts.forget(&self.uid);
        self.ctx.allocations.forget(&self.uid);
        self.ctx.evictions.forget(&self.uid);
        if self.stage == Stage::Finished {
            self.ctx.observed.forget(&self.uid);
            self.ctx.probed.forget(&self.uid);
        }
    }

    /// Looks, decides, starts tasks; returns when to look again at the latest.
    fn step(&mut self) -> Option<Instant> {
        let mut update = self.input.borrow_and_update().clone();
        let wanted = update.pod.clone();
        update.pod = self.ctx.allocations.promised(&wanted);
        let view = self.view.borrow_and_update().clone();
        self.remember(&view);
        let mut next = None;
        let ephemeral = ephemeral::all(&update.pod).count();
        if ephemeral != self.referenced {
            self.referenced = ephemeral;
            self.ctx.objects.reference(&update.pod, &self.objects);
        }
        let before = self.settled.take();
        let before = before.unwrap_or_else(|| self.present(&view));
        if self.stage == Stage::Active {
            next = self.active(&mut update, &wanted, &view);
        }
        if self.stage == Stage::Stopping {
            self.stopping(&update, &view);
        }
        let acts = self.acts();
        let told = if acts { before } else { self.present(&view) };
        self.publish(&update, &told.view(&view), &told);
        self.settled = acts.then_some(told);
        if self.stage == Stage::Stopped {
            self.stopped(&update);
        }
        let retry = self.retry_at.filter(|at| *at > Instant::now());
        [next, retry].into_iter().flatten().min()
    }

    /// Whether a failure is to be waited out.
    fn held(&self) -> bool {
        self.retry_at.is_some_and(|at| at > Instant::now())
    }

    fn objects_changed(&mut self) {
        self.volumes_due |= self.state.read(|memory| memory.volumes.is_some());
        // What waited for the object need not wait any longer.
        self.state.edit(|memory| {
            memory.pod_retry_at = None;
            let config = |name: &String| {
                memory
                    .waiting
                    .get(name)
                    .is_some_and(|w| w.reason == "CreateContainerConfigError")
            };
            let names: Vec<String> = memory
                .retry_at
                .keys()
                .filter(|n| config(n))
                .cloned()
                .collect();
            for name in names {
                memory.retry_at.remove(&name);
            }
        });
    }

    /// Has the last words read of containers that ended, and forgets what concerns none that runs.
    fn remember(&mut self, view: &View) {
        let unread: Vec<_> = self.unread(view).cloned().collect();
        for container in unread {
            if !self.reading.insert(container.id.clone()) {
                continue;
            }
            let ctx = self.ctx.clone();
            self.tasks.spawn(async move {
                let id = container.id.clone();
                let reading =
                    tokio::task::spawn_blocking(move || termination::read(&ctx.config, &container));
                Done::LastWords(id, reading.await.unwrap_or_default())
            });
        }
        let settled = self.settled.as_ref();
        let told = |id: &String| settled.is_some_and(|settled| settled.has(id));
        self.messages
            .retain(|id, _| told(id) || view.containers.iter().any(|c| c.id == *id));
        self.state.edit(|memory| {
            for container in &view.containers {
                if container.state() == v1::ContainerState::ContainerExited {
                    let ended = || ended_at(container);
                    memory
                        .ended
                        .entry(container.id.clone())
                        .or_insert_with(ended);
                }
            }
            let known = |id: &String| view.containers.iter().any(|c| c.id == *id);
            memory.ended.retain(|id, _| known(id));
            memory.killed.retain(|id, _| known(id));
            let runs = |id: &String| view.running().any(|c| c.id == *id);
            memory.health.retain(|id, _| told(id) || runs(id));
            memory.pending_kills.retain(|id, _| runs(id));
        });
    }

    /// Containers that have ended and whose last words are not known yet.
    fn unread<'a>(&'a self, view: &'a View) -> impl Iterator<Item = &'a v1::ContainerStatus> {
        view.containers.iter().filter(|container| {
            container.state() == v1::ContainerState::ContainerExited
                && !self.messages.contains_key(&container.id)
        })
    }

    /// The newest status the API is known to hold.
    fn base(&self, object: &Pod) -> PodStatus {
        let version = |pod: &Pod| -> u64 {
            pod.metadata
                .resource_version
                .as_deref()
                .and_then(|v| v.parse().ok())
                .unwrap_or(0)
        };
        let newest = match &self.written {
            Some(written) if written.metadata.uid != object.metadata.uid => object,
            Some(written) if version(written) > version(object) => written,
            _ => object,
        };
        newest.status.clone().unwrap_or_default()
    }

    /// Starts a write of the status when it has changed.
    fn publish(&mut self, update: &Update, view: &View, told: &Settled) {
        let lost = |object: &&Arc<Pod>| self.lost_mirror.as_deref() == Some(context::uid(object));
        let object = update.object.as_ref().filter(|object| !lost(object));
        let Some(object) = object.filter(|_| !self.writing && !update.gone && !self.lost) else {
            self.reported = !self.writing || update.gone || self.lost;
            return;
        };
        // What the API is told of an end once stays.
        if self.unread(view).next().is_some() {
            self.reported = false;
            return;
        }
        let pod = &update.pod;
        let base = self.base(object);
        let status = self.state.read(|memory| {
            status::make(&status::Input {
                pod,
                base: &base,
                view,
                memory,
                waiting: &told.waiting,
                messages: &self.messages,
                given: &told.record.given,
                cgroup: told.record.cgroup,
                node_ips: self.ctx.config.host_ips(),
                recursive_read_only: self.ctx.features.recursive_read_only_mounts,
                runtime: &self.ctx.runtime_name,
                seen: self.seen,
                now: Timestamp::now(),
                over: self.stage != Stage::Active && view.running().next().is_none(),
                stopped: matches!(self.stage, Stage::Stopped | Stage::Finished),
                verdict: self.verdict.as_ref(),
            })
        });
        let difference = writer::difference(&base, &status);
        self.reported = difference.is_none();
        let Some(difference) = difference else { return };
        if self.held() {
            return;
        }
        self.writing = true;
        // What is told is what others see; a write that fails is tried again with the same.
        self.ctx
            .stats
            .starts
            .told(object, &base, &status, self.seen);
        let (client, object) = (self.ctx.client.clone(), object.clone());
        self.tasks
            .spawn(async move { Done::Written(writer::write(client, &object, difference).await) });
    }
}

/// When a container ended that is seen so for the first time. A clock that was set back makes it end now.
fn ended_at(container: &v1::ContainerStatus) -> Instant {
    let now = Instant::now();
    let ended = Timestamp::from_nanosecond(i128::from(container.finished_at)).ok();
    let ago = ended.and_then(|at| Duration::try_from(Timestamp::now().duration_since(at)).ok());
    now.checked_sub(ago.unwrap_or_default()).unwrap_or(now)
}

#[cfg(test)]
mod tests;
