//! EndpointSlices of services with selectors: where a service's pods can be reached, and in which state they are.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use knarr_client::{Informer, WorkQueue, errors};
use kube::Api;
use kube::api::{DeleteParams, PostParams};

use crate::pods;
use crate::runner::{Context, Error, Key, Reconciler, synced};
use crate::services::{self, Membership, TRIGGER_TIME, TriggerTimes};
use crate::written::{self, Written};
use plan::{MANAGED_BY, MANAGED_BY_LABEL, Plan, SERVICE_NAME_LABEL, Zones};

const WORKERS: usize = 5;
const BY_SERVICE: &str = "service";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";

pub(crate) struct EndpointSliceController {
    client: kube::Client,
    members: Membership,
    slices: Informer<EndpointSlice>,
    nodes: Informer<Node>,
    triggers: TriggerTimes,
    written: Written,
    queue: WorkQueue<Key>,
}

/// The service a slice of this controller belongs to.
fn service_key(slice: &EndpointSlice) -> Option<Key> {
    let labels = slice.metadata.labels.as_ref()?;
    let service = labels
        .get(SERVICE_NAME_LABEL)
        .filter(|name| !name.is_empty())?;
    let ours = labels
        .get(MANAGED_BY_LABEL)
        .is_some_and(|by| by == MANAGED_BY);
    ours.then(|| {
        Key::new(
            slice.metadata.namespace.as_deref().unwrap_or_default(),
            service,
        )
    })
}

pub(crate) fn start(context: &Context) {
    let slices: Informer<EndpointSlice> = context.informers.informer();
    let controller = Arc::new(EndpointSliceController {
        client: context.client("endpointslice-controller"),
        members: Membership::new(context.informers.informer(), context.informers.informer()),
        slices: slices.with_index(BY_SERVICE, |slice| {
            service_key(slice)
                .map(|key| key.to_string())
                .into_iter()
                .collect()
        }),
        nodes: context.informers.informer(),
        triggers: TriggerTimes::default(),
        written: Written::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let informers = vec![
        synced(&controller.members.services),
        synced(&controller.members.pods),
        synced(&controller.slices),
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
        self.slices.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            let slice = event.object();
            let Some(key) = service_key(slice) else {
                return;
            };
            if matches!(event, knarr_client::Event::Deleted(_)) {
                this.written
                    .forget_object(&key, slice.metadata.name.as_deref().unwrap_or_default());
            }
            this.queue.add(key);
        });
    }

    /// Until when to wait for what was written to be seen.
    fn unseen(&self, key: &Key) -> Option<Duration> {
        let seen = |name: &str| self.slices.get(&key.namespace, name);
        self.written.unseen(key, |name| {
            seen(name).map(|slice| written::revision(&*slice))
        })
    }

    async fn execute(
        &self,
        key: &Key,
        plan: Plan,
        trigger: Option<Timestamp>,
    ) -> Result<(), Error> {
        let api: Api<EndpointSlice> = Api::namespaced(self.client.clone(), &key.namespace);
        for mut slice in plan.create {
            annotate(&mut slice, trigger);
            let created = api.create(&PostParams::default(), &slice).await?;
            let name = created.metadata.name.clone().unwrap_or_default();
            self.written.note(key, &name, &created);
        }
        for mut slice in plan.update {
            annotate(&mut slice, trigger);
            let name = slice.metadata.name.clone().unwrap_or_default();
            let updated = api.replace(&name, &PostParams::default(), &slice).await?;
            self.written.note(key, &name, &updated);
        }
        for slice in plan.delete {
            let name = slice.metadata.name.as_deref().unwrap_or_default();
            errors::optional(api.delete(name, &DeleteParams::default()).await)?;
        }
        Ok(())
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
                let zone = node
                    .metadata
                    .labels
                    .as_ref()
                    .and_then(|labels| labels.get(ZONE_LABEL));
                zones.insert(name.to_owned(), zone.cloned().unwrap_or_default());
            }
        }
        zones
    }
}

fn annotate(slice: &mut EndpointSlice, trigger: Option<Timestamp>) {
    let annotations = slice.metadata.annotations.get_or_insert_default();
    match trigger {
        Some(at) => annotations.insert(TRIGGER_TIME.to_owned(), at.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
}

fn has_endpoints(service: &Service) -> bool {
    let external = service
        .spec
        .as_ref()
        .is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"));
    !external && services::selector(service).is_some()
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
            self.written.forget(key);
            return Ok(());
        };
        if !has_endpoints(&service) {
            return Ok(());
        }
        if let Some(left) = self.unseen(key) {
            self.queue.add_after(key.clone(), left);
            return Ok(());
        }
        let pods = self.members.pods_of(&service);
        let existing = self.slices.by_index(BY_SERVICE, &key.to_string());
        let mut plan = plan::plan(&service, &pods, &existing, &self.zones(&pods));
        let without_node = std::mem::take(&mut plan.without_node);
        let trigger = self.triggers.latest_change(key, &service, &pods);
        self.execute(key, plan, trigger).await?;
        if without_node.is_empty() {
            return Ok(());
        }
        Err(Error::Other(format!(
            "pods {} left out: their nodes are not known",
            without_node.join(", ")
        )))
    }
}
