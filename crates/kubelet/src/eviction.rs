//! Evictions: pods that keep more on the node's disk than they may, and those that go first when the node runs short.
//!
//! ```text
//! usage of pods with limits --storage-------------------------------------+
//! memory, disks, inodes, pids --shortage--> pressures --> Node, admission +--> Evictions --> workers
//!                         +--containers and images that nobody uses go    |
//!                             +--still short, rank: one pod a round ------+
//! ```
//!
//! Looked at every ten seconds, as upstream's eviction manager does. A worker that is told ends its pod with a second of grace, or
//! for a soft threshold with what the configuration grants, and the pod's status says why.

mod figures;
mod pressure;
mod rank;
mod shortage;
mod storage;
mod thresholds;

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use k8s_openapi::api::core::v1::Pod;
use knarr_meta::taints;
use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use figures::Figures;
pub(crate) use pressure::Pressure;
use shortage::Short;
use thresholds::Signal;
pub(crate) use thresholds::Thresholds;

use crate::{
    context::{self, Shared},
    events::WARNING,
    garbage, pods,
    resources::{self, Qos},
    sources::SOURCE,
};

/// Reason of evicted pods and of those that are turned away meanwhile.
pub(crate) const EVICTED: &str = "Evicted";
/// Reason of pods that make room for one that the node cannot do without.
pub(crate) const PREEMPTING: &str = "Preempting";
/// What the condition of such a pod says.
pub(crate) const PREEMPTED: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";
/// Seconds that containers of an evicted pod get when there is no time.
const GRACE_SECONDS: i64 = 1;

const PERIOD: Duration = Duration::from_secs(10);
/// At most one part in so many of the time is spent on looking at what pods have on disk.
const LOOKING_SHARE: u32 = 20;
/// How long an evicted pod may take to go before the next is looked for.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
const CLEANUP_POLL: Duration = Duration::from_secs(1);
/// The lowest priority of pods that the system depends on.
const SYSTEM_CRITICAL: i32 = 2_000_000_000;

/// Why a pod has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Eviction {
    pub reason: &'static str,
    pub message: String,
    /// Seconds that its containers get at most; nothing for what they get anyway.
    pub grace: Option<i64>,
    /// The node is at fault, not the pod: who counts its failures is told by a condition.
    pub disruption: bool,
}

/// Who is to go, and what the node is short of.
#[derive(Default)]
pub(crate) struct Evictions {
    /// By uid; each pod that runs here has one.
    pods: Mutex<HashMap<String, watch::Sender<Option<Eviction>>>>,
    pressures: Mutex<Vec<Pressure>>,
    /// Where the runtime keeps images, once it has said.
    images: Mutex<Option<PathBuf>>,
    /// How many pods had to go, by what was short.
    counts: Mutex<BTreeMap<&'static str, u64>>,
    /// How many had to make room, by what there was not enough of.
    preemptions: Mutex<BTreeMap<String, u64>>,
}

impl Evictions {
    /// What a pod's worker waits for, until [`Evictions::forget`].
    pub(crate) fn subscribe(&self, uid: &str) -> watch::Receiver<Option<Eviction>> {
        let mut pods = self.pods.lock();
        pods.entry(uid.to_owned()).or_default().subscribe()
    }

    pub(crate) fn forget(&self, uid: &str) {
        self.pods.lock().remove(uid);
    }

    /// Tells the worker; false where there is none, or it has been told.
    pub(crate) fn evict(&self, uid: &str, eviction: Eviction) -> bool {
        let pods = self.pods.lock();
        pods.get(uid).is_some_and(|told| {
            told.send_if_modified(|known| match known {
                Some(_) => false,
                None => {
                    *known = Some(eviction);
                    true
                }
            })
        })
    }

    fn is_there(&self, uid: &str) -> bool {
        self.pods.lock().contains_key(uid)
    }

    pub(crate) fn is_evicted(&self, uid: &str) -> bool {
        let pods = self.pods.lock();
        pods.get(uid).is_some_and(|told| told.borrow().is_some())
    }

    /// Counts a pod that had to make room.
    pub(crate) fn count_preemption(&self, resource: &str) {
        let mut all = self.preemptions.lock();
        *all.entry(resource.to_owned()).or_default() += 1;
    }

    /// How many pods had to go by signal, and how many had to make room by resource.
    pub(crate) fn counts(&self) -> [BTreeMap<String, u64>; 2] {
        let evictions = self.counts.lock();
        let evictions = evictions
            .iter()
            .map(|(name, count)| ((*name).to_owned(), *count));
        [evictions.collect(), self.preemptions.lock().clone()]
    }

    /// What the node is short of.
    pub(crate) fn pressures(&self) -> Vec<Pressure> {
        self.pressures.lock().clone()
    }

    /// Why a new pod may not come now.
    pub(crate) fn turns_away(&self, pod: &Pod) -> Option<String> {
        let pressures = self.pressures.lock();
        let hurts = |pressure: &Pressure| match pressure {
            // Those that have asked for memory keep to it.
            Pressure::Memory if pressures.len() == 1 => {
                resources::qos(pod) == Qos::BestEffort && !tolerates(pod, pressure.taint())
            }
            _ => true,
        };
        if is_critical(pod) || !pressures.iter().any(hurts) {
            return None;
        }
        let names: Vec<&str> = pressures.iter().map(|one| one.condition()).collect();
        Some(format!("The node had condition: [{}]. ", names.join(" ")))
    }
}

fn tolerates(pod: &Pod, key: &str) -> bool {
    let taint = k8s_openapi::api::core::v1::Taint {
        key: key.to_owned(),
        effect: "NoSchedule".to_owned(),
        ..Default::default()
    };
    let tolerations = pod.spec.as_ref().and_then(|s| s.tolerations.as_deref());
    taints::untolerated(tolerations.unwrap_or_default(), &[taint], &["NoSchedule"]).is_none()
}

/// Whether the pod is never evicted: the node's own, which no API has sent, and those of the highest priorities.
pub(crate) fn is_critical(pod: &Pod) -> bool {
    let annotations = pod.metadata.annotations.as_ref();
    let source = annotations.and_then(|all| all.get(SOURCE));
    priority(pod) >= SYSTEM_CRITICAL || source.is_some_and(|source| source != "api")
}

pub(crate) fn priority(pod: &Pod) -> i32 {
    pod.spec.as_ref().and_then(|s| s.priority).unwrap_or(0)
}

/// Looks every ten seconds until the token is cancelled.
pub(crate) async fn run(ctx: Shared, token: CancellationToken) {
    let settings = &ctx.config.configuration.settings;
    // They were read at the start.
    let thresholds = Thresholds::parse(settings).unwrap_or_default();
    let transition = settings.eviction_pressure_transition_period;
    let mut shortages = shortage::Shortages::new(thresholds, transition);
    let work = async {
        let mut pause = PERIOD;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let looked = look(&ctx, &mut shortages).await;
            pause = PERIOD.max(began.elapsed().saturating_mul(LOOKING_SHARE));
            match looked {
                Ok(evicted) if evicted.is_empty() => {}
                Ok(evicted) => cleaned_up(&ctx, &evicted).await,
                Err(error) => tracing::warn!(error, "cannot tell what pods use"),
            }
        }
    };
    token.run_until_cancelled(work).await;
}

/// What there is now.
async fn figures(ctx: &Shared) -> Result<Figures, String> {
    let known = ctx.evictions.images.lock().clone();
    let images = match known {
        Some(images) => Some(images),
        None => {
            let told = garbage::place_of_images(ctx).await.ok();
            ctx.evictions.images.lock().clone_from(&told);
            told
        }
    };
    let ctx = ctx.clone();
    let read = move || {
        let pods = ctx.cgroups.usage(&ctx.cgroups.pods());
        Figures::read(&ctx.config.data_dir, images.as_deref(), &pods)
    };
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| error.to_string())
}

/// Waits until the pods are gone, or for a while: what they leave counts for the next look.
async fn cleaned_up(ctx: &Shared, uids: &[String]) {
    let gone = async {
        while uids
            .iter()
            .any(|uid| ctx.evictions.is_there(uid) && is_active(ctx, uid))
        {
            tokio::time::sleep(CLEANUP_POLL).await;
        }
    };
    if tokio::time::timeout(CLEANUP_TIMEOUT, gone).await.is_err() {
        tracing::info!("evicted pods take long to end");
    }
}

fn is_active(ctx: &Shared, uid: &str) -> bool {
    ctx.observed.view(uid).running().next().is_some()
}

/// The pods that were told to go.
async fn look(ctx: &Shared, shortages: &mut shortage::Shortages) -> Result<Vec<String>, String> {
    let short = shortages.look(&figures(ctx).await?, Instant::now());
    *ctx.evictions.pressures.lock() = shortages.pressures();
    let pods: Vec<Arc<Pod>> = pods::list(ctx)
        .into_iter()
        .filter(|pod| !is_critical(pod) && is_active(ctx, context::uid(pod)))
        .filter(|pod| !ctx.evictions.is_evicted(context::uid(pod)))
        .collect();
    let limited: Vec<Arc<Pod>> = pods
        .iter()
        .filter(|pod| storage::is_limited(pod))
        .cloned()
        .collect();
    let mut evicted = Vec::new();
    for (pod, used) in storage::used(ctx, limited).await? {
        if let Some((limit, message)) = storage::exceeded(&pod, &used) {
            let eviction = Eviction {
                reason: EVICTED,
                message,
                grace: Some(GRACE_SECONDS),
                disruption: false,
            };
            evicted.extend(evict(ctx, &pod, eviction, limit));
        }
    }
    let Some(worst) = short.first().filter(|_| evicted.is_empty()) else {
        return Ok(evicted);
    };
    let resource = worst.signal().resource();
    ctx.events.node_warning(
        &ctx.config.node_name,
        "EvictionThresholdMet",
        format!("Attempting to reclaim {resource}"),
    );
    let images = ctx.evictions.images.lock().clone();
    let dedicated = figures::is_dedicated(&ctx.config.data_dir, images.as_deref());
    if reclaim(ctx, worst.signal(), dedicated).await
        && !shortage::lasts(&short, &figures(ctx).await?)
    {
        tracing::info!(resource, "there is enough again, and no pod had to go");
        return Ok(evicted);
    }
    for (pod, message) in rank::order(ctx, pods, worst, dedicated).await? {
        let eviction = Eviction {
            reason: EVICTED,
            message,
            grace: Some(grace(ctx, &pod, worst)),
            disruption: true,
        };
        evicted.extend(evict(ctx, &pod, eviction, worst.signal().name()));
        if !evicted.is_empty() {
            break;
        }
    }
    Ok(evicted)
}

/// Removes what nobody uses where it takes of what is short; false where there is nothing of the kind.
async fn reclaim(ctx: &Shared, signal: Signal, dedicated: bool) -> bool {
    match signal {
        Signal::NodeFs | Signal::NodeFsInodes if dedicated => false,
        Signal::NodeFs | Signal::NodeFsInodes | Signal::ImageFs | Signal::ImageFsInodes => {
            garbage::everything(ctx).await;
            true
        }
        Signal::Memory | Signal::AllocatableMemory | Signal::Pids => false,
    }
}

/// Seconds that a pod gets: next to none, unless only a soft threshold was passed.
fn grace(ctx: &Shared, pod: &Pod, short: &Short) -> i64 {
    if short.threshold.grace.is_none() {
        return GRACE_SECONDS;
    }
    let most = i64::from(
        ctx.config
            .configuration
            .settings
            .eviction_max_pod_grace_period,
    );
    let spec = pod.spec.as_ref();
    let own = spec.and_then(|spec| spec.termination_grace_period_seconds);
    own.map_or(most, |own| own.min(most))
}

fn evict(ctx: &Shared, pod: &Pod, eviction: Eviction, signal: &'static str) -> Option<String> {
    let uid = context::uid(pod);
    let message = eviction.message.clone();
    if !ctx.evictions.evict(uid, eviction) {
        return None;
    }
    *ctx.evictions.counts.lock().entry(signal).or_default() += 1;
    tracing::info!(pod = context::display(pod), message, "evicting a pod");
    ctx.events.pod(pod, WARNING, EVICTED, message);
    Some(uid.to_owned())
}

#[cfg(test)]
mod tests;
