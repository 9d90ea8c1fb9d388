//! The scheduler: gives every pod without a node one.
//!
//! ```text
//! pod informer -> queue -> cycle: snapshot -> Filter -> Score -> assume -> bind (in the background)
//! node informer -> snapshot         ^              `-> nothing fits: preempt, nominate -> end pods (in the background)
//! claims, volumes, classes ---------^------------- a change wakes the pods that were ruled out by what changed
//! ```
//!
//! One task owns the decision: it reads the snapshot, which informers update by delta, and assumes the pod on its node
//! before the binding is sent, so that the next pod sees the node as it will be. Bindings are pipelined. The extension points
//! are upstream's; a plugin is a file under `plugins/`.
//!
//! Rejected: deciding from the informers' own caches (a binding is seen there only after its round trip), and a lock around
//! the snapshot held for the whole cycle by more than one task (decisions would have to be made twice).

mod binder;
pub mod config;
mod cycle;
mod domains;
mod extender;
mod framework;
mod labels;
pub mod metrics;
mod node_features;
mod nominated;
mod outcome;
mod plugins;
mod pod_info;
mod preempted;
mod queue;
mod rejection;
mod resources;
pub mod simulation;
mod snapshot;
mod standing;
mod state;
mod tally;

use std::{collections::HashMap, sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::{Event, Informer, InformerScope, Informers, events::series::Recorder};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use crate::config::Config;
use crate::{
    binder::Binder,
    cycle::Cycle,
    extender::Extenders,
    framework::{DeviceEvent, Profiles, VolumeEvent},
    metrics::Metrics,
    plugins::Sources,
    pod_info::PodInfo,
    state::State,
};

/// Bindings on their way to the API server at once.
const BINDINGS_IN_FLIGHT: usize = 64;
/// Pods whose volumes are being bound at once; more are tried again later.
const PODS_WAITING_FOR_VOLUMES: usize = 1024;
/// How long bindings may take to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// What the informer handlers and the cycle share.
pub(crate) struct Shared {
    pub profiles: Profiles,
    pub extenders: Extenders,
    pub metrics: Arc<Metrics>,
    pub state: Mutex<State>,
    pub wake: Notify,
}

impl Shared {
    fn volumes_changed(&self, event: &VolumeEvent<'_>) {
        self.profiles.wake_reserved();
        if self.state.lock().volumes_changed(&self.profiles, event) {
            self.wake.notify_one();
        }
    }

    fn devices_changed(&self, event: &DeviceEvent<'_>) {
        if self.state.lock().devices_changed(&self.profiles, event) {
            self.wake.notify_one();
        }
    }
}

/// The scheduler of a cluster.
pub struct Scheduler {
    client: kube::Client,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    sources: Sources,
    shared: Arc<Shared>,
}

impl Scheduler {
    /// `client` and `informers` should act as `system:kube-scheduler`. Within a runtime, which connections to extenders live in.
    pub fn new(config: Config, client: kube::Client, informers: &Informers) -> Self {
        let pods = informers.informer_with::<Pod>(InformerScope {
            // Finished pods take no room.
            field_selector: Some("status.phase!=Succeeded,status.phase!=Failed".to_owned()),
            ..InformerScope::default()
        });
        let nodes = informers.informer::<Node>();
        let sources = Sources::new(informers);
        let shared = Arc::new(Shared {
            profiles: plugins::profiles(&config, &sources),
            extenders: Extenders::new(config.extenders),
            metrics: config.metrics,
            state: Mutex::new(State::new(config.backoff)),
            wake: Notify::new(),
        });
        let scheduler = Self {
            client,
            pods,
            nodes,
            sources,
            shared,
        };
        scheduler.watch_volumes();
        scheduler.watch_devices();
        scheduler.watch_nodes();
        scheduler.watch_pods();
        scheduler
    }

    /// Schedules until `token` is cancelled, then lets the bindings in flight finish.
    pub async fn run(self, token: CancellationToken) {
        let synced = async {
            self.sources.synced().await;
            self.nodes.synced().await;
            self.pods.synced().await;
        };
        if token.run_until_cancelled(synced).await.is_none() {
            return;
        }
        let tracker = TaskTracker::new();
        self.shared.metrics.show(&self.shared);
        let cycle = Cycle {
            shared: self.shared.clone(),
            pods: self.pods.clone(),
            binder: Binder {
                client: self.client.clone(),
                shared: self.shared.clone(),
                recorders: self.recorders(),
                permits: Arc::new(Semaphore::new(BINDINGS_IN_FLIGHT)),
                waiting: Arc::new(Semaphore::new(PODS_WAITING_FOR_VOLUMES)),
                tracker: tracker.clone(),
                token: token.clone(),
            },
        };
        token.run_until_cancelled(cycle.run()).await;
        tracker.close();
        if tokio::time::timeout(DRAIN_TIMEOUT, tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(open = tracker.len(), "bindings did not finish in time");
        }
    }

    /// What tells events, by the name of the scheduler that they are from.
    fn recorders(&self) -> Arc<HashMap<String, Recorder>> {
        let names = self
            .shared
            .profiles
            .iter()
            .map(|p| p.scheduler_name.clone());
        let recorders = names.map(|name| {
            let recorder = Recorder::new(self.client.clone(), &name);
            (name, recorder)
        });
        Arc::new(recorders.collect())
    }

    fn watch_volumes(&self) {
        let shared = self.shared.clone();
        self.sources.claims.on_event(move |event| {
            let meta = &event.object().metadata;
            shared.volumes_changed(&VolumeEvent::Claim {
                namespace: meta.namespace.as_deref().unwrap_or_default(),
                name: meta.name.as_deref().unwrap_or_default(),
            });
        });
        let shared = self.shared.clone();
        self.sources
            .volumes
            .on_event(move |_| shared.volumes_changed(&VolumeEvent::Volume));
        let shared = self.shared.clone();
        self.sources.classes.on_event(move |event| {
            if !matches!(event, Event::Deleted(_)) {
                shared.volumes_changed(&VolumeEvent::Class);
            }
        });
        let shared = self.shared.clone();
        let changed = move || shared.volumes_changed(&VolumeEvent::Csi);
        self.sources.csi.on_change(changed);
    }

    fn watch_devices(&self) {
        let devices = &self.sources.devices;
        let shared = self.shared.clone();
        devices.claims.on_event(move |event| {
            let (old, new) = match &event {
                Event::Added(new) => (None, Some(&**new)),
                Event::Updated { old, new } => (Some(&**old), Some(&**new)),
                Event::Deleted(old) => (Some(&**old), None),
            };
            shared.devices_changed(&DeviceEvent::Claim { old, new });
        });
        let shared = self.shared.clone();
        let slices = &devices.slices;
        slices.on_event(move |_| shared.devices_changed(&DeviceEvent::Devices));
        let shared = self.shared.clone();
        let rules = &devices.rules;
        rules.on_event(move |_| shared.devices_changed(&DeviceEvent::Devices));
        let shared = self.shared.clone();
        let classes = &devices.classes;
        classes.on_event(move |_| shared.devices_changed(&DeviceEvent::Devices));
    }

    fn watch_nodes(&self) {
        let shared = self.shared.clone();
        self.nodes.on_event(move |event| {
            let mut state = shared.state.lock();
            let woken = match &event {
                Event::Added(node) | Event::Updated { new: node, .. } => {
                    state.set_node(&shared.profiles, node)
                }
                Event::Deleted(node) => state.remove_node(&shared.profiles, node),
            };
            drop(state);
            if woken {
                shared.wake.notify_one();
            }
        });
    }

    fn watch_pods(&self) {
        let shared = self.shared.clone();
        self.pods.on_event(move |event| {
            let pod = event.object();
            let info = Arc::new(PodInfo::new(pod));
            let assigned = info.node_name().is_some();
            let ours = shared.profiles.has(info.scheduler_name());
            let mut state = shared.state.lock();
            let mut woken = false;
            let mut nominated = None;
            if let Event::Updated { old, .. } = &event {
                match old.metadata.uid.as_deref().filter(|old| *old != info.uid) {
                    // A list that replaced a watch tells of a pod that was deleted and made anew in one event.
                    Some(old) => woken |= state.remove_pod(&shared.profiles, old),
                    None => nominated = pod_info::nominated_node(old),
                }
            }
            match &event {
                Event::Deleted(_) => woken |= state.remove_pod(&shared.profiles, &info.uid),
                _ if assigned => woken |= state.set_pod(&shared.profiles, info),
                _ if ours && info.wants_node() => {
                    state.set_waiting(&shared.profiles, nominated, info);
                    woken = true;
                }
                _ => woken |= state.remove_pod(&shared.profiles, &info.uid),
            }
            drop(state);
            // Whoever waits for the volumes or devices of a pod that is gone need not.
            if matches!(event, Event::Deleted(_)) {
                shared.profiles.wake_reserved();
            }
            if woken {
                shared.wake.notify_one();
            }
        });
    }
}

#[cfg(test)]
mod tests;
