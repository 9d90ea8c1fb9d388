//! EndpointSlices of services with selectors: where a service's pods can be reached, and in which state they are.

mod plan;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::{Event, Informer, WorkQueue};
use kube::Resource;

use crate::events::Recorder;
use crate::pod_gc::OnNode;
use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};
use crate::services::{self, Membership, TRIGGER_TIME, TriggerTimes};
use crate::slices::{self, Slices};
use plan::{MANAGED_BY, Zones};

const WORKERS: usize = 5;
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

pub(crate) struct EndpointSliceController {
    recorder: Recorder,
    members: Membership,
    slices: Slices,
    nodes: Informer<Node>,
    triggers: TriggerTimes,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let client = context.client("endpointslice-controller");
    let controller = Arc::new(EndpointSliceController {
        recorder: context.recorder(&client, "endpoint-slice-controller"),
        members: Membership::new(context.informers.informer(), context.informers.informer()),
        slices: Slices::new(client, context.informers.informer(), MANAGED_BY),
        nodes: context.informers.informer(),
        triggers: TriggerTimes::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.members.services),
        synced(&controller.members.pods),
        synced(&controller.slices.informer),
        synced(&controller.nodes),
    ];
    context.start(controller, WORKERS, informers);
}

impl EndpointSliceController {
    fn watch(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.members
            .services
            .on_event(move |event| queue.add(Key::of(&**event.object())));
        let (queue, members) = (self.queue.clone(), self.members.clone());
        self.members.pods.on_event(move |event| {
            members
                .affected(&event)
                .into_iter()
                .for_each(|key| queue.add(key))
        });
        let this = Arc::downgrade(self);
        self.nodes.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            // Heartbeats change nothing here.
            let changed = match &event {
                Event::Added(_) | Event::Deleted(_) => true,
                Event::Updated { old, new } => zone_of(old) != zone_of(new),
            };
            if changed {
                this.node_changed(event.object());
            }
        });
        let this = Arc::downgrade(self);
        self.slices.informer.on_event(move |event| {
            if let Some(this) = this.upgrade() {
                let keys = this.slices.affected(&event);
                keys.into_iter().for_each(|key| this.queue.add(key));
            }
        });
    }

    /// Endpoints name the zone of their node, and are left out while the node is not known.
    fn node_changed(&self, node: &Node) {
        let name = node.metadata.name.clone().unwrap_or_default();
        for pod in self.members.pods.by_index(&OnNode(name)) {
            let services = self.members.services_of(&pod);
            services.into_iter().for_each(|key| self.queue.add(key));
        }
    }

    fn zones(&self, pods: &[Arc<k8s_openapi::api::core::v1::Pod>]) -> Zones {
        let mut zones = Zones::new();
        for name in pods
            .iter()
            .map(|pod| pods::node_name(pod))
            .filter(|name| !name.is_empty())
        {
            if zones.contains_key(name) {
                continue;
            }
            if let Some(node) = self.nodes.get("", name) {
                zones.insert(name.to_owned(), zone_of(&node).to_owned());
            }
        }
        zones
    }
}

fn zone_of(node: &Node) -> &str {
    let labels = node.metadata.labels.as_ref();
    labels
        .and_then(|labels| labels.get(ZONE_LABEL))
        .map_or("", String::as_str)
}

fn annotate(slice: &mut EndpointSlice, trigger: Option<Timestamp>) {
    let annotations = slice.metadata.annotations.get_or_insert_default();
    match trigger {
        Some(at) => annotations.insert(TRIGGER_TIME.to_owned(), at.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
}

impl Reconciler for EndpointSliceController {
    const NAME: &'static str = "endpointslice";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(service) = self.members.services.get(&key.namespace, &key.name) else {
            // The slices go with their owner.
            self.triggers.forget(key);
            self.slices.forget(key);
            return Ok(());
        };
        if !services::has_endpoints(&service) {
            return Ok(());
        }
        if let Some(left) = self.slices.unseen(key) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let pods = self.members.pods_of(&service);
        let existing = self.slices.of(key);
        let mut plan = plan::plan(&service, &pods, &existing, &self.zones(&pods));
        let trigger = self.triggers.latest_change(key, &service, &pods);
        let changes = &mut plan.changes;
        for slice in changes.create.iter_mut().chain(&mut changes.update) {
            annotate(slice, trigger);
        }
        let written = self.slices.write(key, plan.changes).await;
        if let Err(error) = &written {
            let about = (&service.object_ref(&()), "Service");
            slices::report(&self.recorder, about, key, error);
        }
        written?;
        if plan.without_node.is_empty() {
            return Ok(());
        }
        Err(Error::Other(format!(
            "pods {} left out: their nodes are not known",
            plan.without_node.join(", ")
        )))
    }
}
