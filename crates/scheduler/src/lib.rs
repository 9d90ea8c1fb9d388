//! The scheduler: gives every pod without a node one.
//!
//! ```text
//! pod informer -> queue -> cycle: snapshot -> Filter -> Score -> assume -> bind (in the background)
//! node informer -> snapshot         ^------------- a change wakes the pods that were ruled out by what changed
//! ```
//!
//! One task owns the decision: it reads the snapshot, which informers update by delta, and assumes the pod on its node
//! before the binding is sent, so that the next pod sees the node as it will be. Bindings are pipelined. The extension points
//! are upstream's; a plugin is a file under `plugins/`.
//!
//! Rejected: deciding from the informers' own caches (a binding is seen there only after its round trip), and a lock around
//! the snapshot held for the whole cycle by more than one task (decisions would have to be made twice).

mod binder;
mod cycle;
mod framework;
mod plugins;
mod pod_info;
mod queue;
mod resources;
mod snapshot;
mod state;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::{Event, Informer, InformerScope, Informers, events::Recorder};
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{binder::Binder, cycle::Cycle, framework::Plugins, pod_info::PodInfo, state::State};

/// Bindings on their way to the API server at once.
const BINDINGS_IN_FLIGHT: usize = 64;
/// How long bindings may take to finish at shutdown.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// How the scheduler presents itself.
#[derive(Clone, Debug)]
pub struct Config {
    /// Only pods that name it in `spec.schedulerName` are ours.
    pub scheduler_name: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            scheduler_name: "default-scheduler".to_owned(),
        }
    }
}

/// What the informer handlers and the cycle share.
pub(crate) struct Shared {
    pub plugins: Plugins,
    pub state: Mutex<State>,
    pub wake: Notify,
}

/// The scheduler of a cluster.
pub struct Scheduler {
    config: Config,
    client: kube::Client,
    pods: Informer<Pod>,
    nodes: Informer<Node>,
    shared: Arc<Shared>,
}

impl Scheduler {
    /// `client` and `informers` should act as `system:kube-scheduler`.
    pub fn new(config: Config, client: kube::Client, informers: &Informers) -> Self {
        let pods = informers.informer_with::<Pod>(InformerScope {
            // Finished pods take no room.
            field_selector: Some("status.phase!=Succeeded,status.phase!=Failed".to_owned()),
            ..InformerScope::default()
        });
        let nodes = informers.informer::<Node>();
        let shared = Arc::new(Shared {
            plugins: plugins::default_profile(),
            state: Mutex::new(State::default()),
            wake: Notify::new(),
        });
        let scheduler = Self {
            config,
            client,
            pods,
            nodes,
            shared,
        };
        scheduler.watch_nodes();
        scheduler.watch_pods();
        scheduler
    }

    /// Schedules until `token` is cancelled, then lets the bindings in flight finish.
    pub async fn run(self, token: CancellationToken) {
        let synced = async {
            self.nodes.synced().await;
            self.pods.synced().await;
        };
        if token.run_until_cancelled(synced).await.is_none() {
            return;
        }
        let tracker = TaskTracker::new();
        let recorder = Recorder::new(self.client.clone(), self.config.scheduler_name.as_str(), "");
        let cycle = Cycle {
            shared: self.shared.clone(),
            binder: Binder {
                client: self.client.clone(),
                shared: self.shared.clone(),
                recorder,
                permits: Arc::new(Semaphore::new(BINDINGS_IN_FLIGHT)),
                tracker: tracker.clone(),
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

    fn watch_nodes(&self) {
        let shared = self.shared.clone();
        self.nodes.on_event(move |event| {
            let mut state = shared.state.lock();
            let woken = match &event {
                Event::Added(node) | Event::Updated { new: node, .. } => {
                    state.set_node(&shared.plugins, node)
                }
                Event::Deleted(node) => {
                    state.snapshot.remove_node(node);
                    false
                }
            };
            drop(state);
            if woken {
                shared.wake.notify_one();
            }
        });
    }

    fn watch_pods(&self) {
        let shared = self.shared.clone();
        let name = self.config.scheduler_name.clone();
        self.pods.on_event(move |event| {
            let pod = event.object();
            let info = Arc::new(PodInfo::new(pod));
            let assigned = info.node_name().is_some();
            let ours = pod.spec.as_ref().is_some_and(|spec| {
                spec.scheduler_name
                    .as_deref()
                    .unwrap_or("default-scheduler")
                    == name
            });
            let mut state = shared.state.lock();
            let mut woken = false;
            // A list that replaced a watch tells of a pod that was deleted and made anew in one event.
            if let Event::Updated { old, .. } = &event
                && let Some(old) = old.metadata.uid.as_deref().filter(|old| *old != info.uid)
            {
                woken |= state.remove_pod(&shared.plugins, old);
            }
            match &event {
                Event::Deleted(_) => woken |= state.remove_pod(&shared.plugins, &info.uid),
                _ if assigned => woken |= state.set_pod(&shared.plugins, info),
                _ if ours && info.wants_node() => {
                    state.queue.set(info);
                    woken = true;
                }
                _ => state.queue.remove(&info.uid),
            }
            drop(state);
            if woken {
                shared.wake.notify_one();
            }
        });
    }
}

#[cfg(test)]
mod tests;
