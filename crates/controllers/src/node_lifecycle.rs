//! Nodes that fall silent: their conditions become unknown, they are tainted, their pods are no longer ready.
//!
//! A node is heard of by its Lease (and its status). Times are this process's own: what counts is when a renewal was seen, so
//! that clocks of nodes do not matter. One timer a node runs, for the end of its grace period; a renewal only notes the
//! time. What the NoExecute taints do to pods is `taint_eviction`'s part.

mod census;
pub(crate) mod plan;
mod turns;

use knarr_meta::clock;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use knarr_client::lease::NODE_LEASE_NAMESPACE;
use knarr_client::{Event, Informer, InformerScope, WorkQueue, errors};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::events::{NORMAL, Recorder, WARNING};
use crate::node_events;
use crate::pod_gc::OnNode;
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};
use census::Census;
use plan::Eviction;
use turns::{Turn, Turns};

const WORKERS: usize = 4;
/// How long a node that never reported may take (upstream `--node-startup-grace-period`).
const STARTUP_GRACE: Duration = Duration::from_secs(60);

pub(crate) struct NodeLifecycle {
    client: kube::Client,
    recorder: Recorder,
    nodes: Informer<Node>,
    leases: Informer<Lease>,
    pods: Informer<Pod>,
    grace: Duration,
    /// When each node was heard of last.
    heartbeats: Mutex<HashMap<String, Instant>>,
    /// Nodes that stopped being ready, whose pods have to be told.
    lost: Mutex<HashSet<String>>,
    census: Mutex<Census>,
    /// What could happen in each zone when its nodes were looked at last.
    decided: Mutex<BTreeMap<String, Eviction>>,
    /// When the next node of each zone may be given a NoExecute taint.
    evictions: Turns,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("node-controller");
    let scope = InformerScope {
        namespace: Some(NODE_LEASE_NAMESPACE.to_owned()),
        ..InformerScope::default()
    };
    let controller = Arc::new(NodeLifecycle {
        recorder: context.recorder(&client, "node-controller"),
        client,
        nodes: context.informers.informer(),
        leases: context.informers.informer_with(scope),
        pods: context.informers.informer(),
        grace: context.config.node_monitor_grace,
        heartbeats: Mutex::default(),
        lost: Mutex::default(),
        census: Mutex::default(),
        decided: Mutex::default(),
        evictions: Turns::default(),
        queue: WorkQueue::new(),
    });
    let this = Arc::downgrade(&controller);
    controller.leases.on_event(move |event| {
        let Some(this) = this.upgrade() else { return };
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|s| s.renew_time.clone());
        match &event {
            Event::Updated { old, new } if renewed(old) == renewed(new) => {}
            Event::Deleted(_) => {}
            _ => this.heartbeat_seen(event.object().metadata.name.as_deref().unwrap_or_default()),
        }
    });
    let this = Arc::downgrade(&controller);
    controller.nodes.on_event(move |event| {
        if let Some(this) = this.upgrade() {
            this.node_changed(&event);
        }
    });
    let informers = vec![
        synced(&controller.nodes),
        synced(&controller.leases),
        synced(&controller.pods),
    ];
    context.start(controller, WORKERS, informers);
}

/// A node's NoExecute taint.
struct Evicting<'a> {
    taint: &'static str,
    /// To be spent when it is written.
    turn: Option<Turn<'a>>,
}

/// The part of a node this controller goes by.
fn relevant(node: &Node) -> impl PartialEq + use<'_> {
    let states = node
        .status
        .iter()
        .flat_map(|s| s.conditions.iter().flatten())
        .map(|c| (&c.type_, &c.status));
    let spec = node.spec.as_ref();
    (
        states.collect::<Vec<_>>(),
        spec.and_then(|s| s.taints.as_ref()),
        spec.and_then(|s| s.unschedulable),
        plan::zone_of(node),
    )
}

impl NodeLifecycle {
    fn heartbeat_seen(&self, node: &str) {
        self.heartbeats
            .lock()
            .insert(node.to_owned(), Instant::now());
    }

    fn node_changed(&self, event: &Event<Node>) {
        let node = event.object();
        let key = Key::of(&**node);
        let heartbeat = |node: &Node| {
            plan::condition(node, "Ready").and_then(|c| c.last_heartbeat_time.clone())
        };
        let counted = match event {
            Event::Deleted(_) => self.census.lock().remove(&key.name),
            Event::Added(_) | Event::Updated { .. } => self.census.lock().set(&key.name, node),
        };
        // A first list tells of each node by itself: no need to look at zones for each.
        if counted && self.nodes.is_synced() {
            self.enqueue_reconsidered();
        }
        match event {
            Event::Added(_) => {
                self.heartbeat_seen(&key.name);
                self.tell(node, "RegisteredNode", "Registered Node", "in Controller");
                if plan::readiness(node) == "Unknown" {
                    self.lost.lock().insert(key.name.clone());
                }
                self.queue.add(key);
            }
            Event::Updated { old, new } => {
                if heartbeat(old) != heartbeat(new) && plan::readiness(new) != "Unknown" {
                    self.heartbeat_seen(&key.name);
                }
                let (before, after) = (plan::readiness(old), plan::readiness(new));
                if before == "True" && after != "True" {
                    self.lost.lock().insert(key.name.clone());
                    let note = format!("Node {} status is now: NodeNotReady", key.name);
                    let about = node_events::about(node);
                    self.recorder.event(&about, NORMAL, "NodeNotReady", note);
                }
                if after == "True" {
                    self.lost.lock().remove(&key.name);
                }
                if relevant(old) != relevant(new) {
                    self.queue.add(key);
                }
            }
            Event::Deleted(_) => {
                self.tell(node, "RemovingNode", "Removing Node", "from Controller");
                self.queue.add(key);
            }
        }
    }

    /// Tells that a node has come or gone.
    fn tell(&self, node: &Node, reason: &str, before: &str, behind: &str) {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let note = format!("Node {name} event: {before} {name} {behind}");
        let about = node_events::about(node);
        self.recorder.event(&about, NORMAL, reason, note);
    }

    /// Looks again at the lost nodes of zones in which something else may be done to them than before. When many nodes fall
    /// silent at once, most of them change nothing about the others.
    fn enqueue_reconsidered(&self) {
        let now = plan::evictions(self.census.lock().zones());
        let before = std::mem::replace(&mut *self.decided.lock(), now.clone());
        if before == now {
            return;
        }
        self.evictions.retain(|zone| now.contains_key(zone));
        for node in self.nodes.list() {
            let zone = plan::zone_of(&node);
            if plan::eviction_taint(&node).is_some() && before.get(&zone) != now.get(&zone) {
                self.queue.add(Key::of(&*node));
            }
        }
    }

    /// The NoExecute taint the node may have now, with its turn where it is a new one; or how long it has to wait for it.
    fn eviction_taint(&self, node: &Node) -> Result<Option<Evicting<'_>>, Duration> {
        let Some(taint) = plan::eviction_taint(node) else {
            return Ok(None);
        };
        let zone = plan::zone_of(node);
        let eviction = plan::eviction(self.census.lock().zones(), &zone);
        match eviction {
            Eviction::Cancel => Ok(None),
            _ if plan::is_evicting(node) => Ok(Some(Evicting { taint, turn: None })),
            Eviction::Wait => Ok(None),
            Eviction::Rate(rate) => {
                let interval = Duration::from_secs_f64(1.0 / rate);
                let turn = Some(self.evictions.take(&zone, interval)?);
                Ok(Some(Evicting { taint, turn }))
            }
        }
    }

    /// Makes the conditions of a silent node unknown; arms the timer of one that is not.
    async fn check_silence(&self, key: &Key, node: &Node, api: &Api<Node>) -> Result<(), Error> {
        let seen = *self
            .heartbeats
            .lock()
            .entry(key.name.clone())
            .or_insert_with(Instant::now);
        let grace = if plan::condition(node, "Ready").is_some() {
            self.grace
        } else {
            STARTUP_GRACE
        };
        let left = grace.saturating_sub(seen.elapsed());
        if !left.is_zero() {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let conditions = plan::silent_conditions(node, clock::now());
        if !conditions.is_empty() {
            tracing::warn!(node = key.name, "node was not heard of within {grace:?}");
            let patch = serde_json::json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "status": {"conditions": conditions},
            });
            api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(patch))
                .await?;
        }
        // A renewal wakes nobody, so that the node is looked at again after another period.
        self.queue.add_after(key.clone(), grace);
        Ok(())
    }

    /// Pods of a lost node are not ready: services must not send to them.
    async fn mark_pods(&self, node: &str) -> Result<(), Error> {
        for pod in self
            .pods
            .by_index(&OnNode(node.to_owned()))
            .iter()
            .filter(|pod| pods::is_ready(pod))
        {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
            let patch = serde_json::json!({
                "metadata": {"uid": pod.metadata.uid},
                "status": {"conditions": [{
                    "type": "Ready",
                    "status": "False",
                    "lastTransitionTime": knarr_meta::time::format_seconds(clock::now()),
                }]},
            });
            errors::optional(
                api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch))
                    .await,
            )?;
            self.recorder.event(
                &pod.object_ref(&()),
                WARNING,
                "NodeNotReady",
                "Node is not ready",
            );
        }
        Ok(())
    }
}

impl Reconciler for NodeLifecycle {
    const NAME: &'static str = "node-lifecycle";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(node) = self.nodes.get("", &key.name) else {
            self.heartbeats.lock().remove(&key.name);
            self.lost.lock().remove(&key.name);
            return Ok(());
        };
        let api: Api<Node> = Api::all(self.client.clone());
        self.check_silence(key, &node, &api).await?;
        let evict = self.eviction_taint(&node).unwrap_or_else(|wait| {
            self.queue.add_after(key.clone(), wait);
            None
        });
        let taint = evict.as_ref().map(|evicting| evicting.taint);
        if let Some(taints) = plan::taints(&node, taint, clock::now()) {
            let patch = serde_json::json!({
                "metadata": {"resourceVersion": node.metadata.resource_version},
                "spec": {"taints": taints},
            });
            api.patch(&key.name, &PatchParams::default(), &Patch::Merge(patch))
                .await?;
        }
        if let Some(turn) = evict.and_then(|evicting| evicting.turn) {
            turn.spend();
        }
        // Where this state is older than the loss, the event that told of it wakes the key again.
        if plan::readiness(&node) != "True" && self.lost.lock().contains(&key.name) {
            self.mark_pods(&key.name).await?;
            self.lost.lock().remove(&key.name);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
