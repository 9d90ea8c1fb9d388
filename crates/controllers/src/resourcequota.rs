//! ResourceQuotas: counts what a namespace uses, when a quota changes and when something is gone. What comes is charged by the
//! API server's admission as it comes.
//!
//! A write that was charged and failed is found by counting anew a while after each charge.

mod count;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, ResourceQuota, Service};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use knarr_api::core::amounts::Amounts;
use knarr_api::core::resource_quota::usage::Counted;
use knarr_client::{Event, Informer, WorkQueue};
use knarr_meta::Quantity;
use kube::Api;
use kube::api::PostParams;
use parking_lot::Mutex;

use crate::resources::ServedResource;
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 5;
/// How long after a change of a quota's status its use is counted anew.
const RECOUNT: Duration = Duration::from_secs(10);

pub(crate) struct ResourceQuotaController {
    client: kube::Client,
    quotas: Informer<ResourceQuota>,
    pods: Informer<Pod>,
    services: Informer<Service>,
    /// What discovery said when it was last asked.
    served: Mutex<Arc<Vec<ServedResource>>>,
    queue: WorkQueue<Key>,
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(ResourceQuotaController {
        client: context.client("resourcequota-controller"),
        quotas: context.informers.informer(),
        pods: context.informers.informer(),
        services: context.informers.informer(),
        served: Mutex::default(),
        queue: WorkQueue::new(),
    });
    controller.watch();
    let this = Arc::downgrade(&controller);
    context.gone.on(move |resource, namespace| {
        if let Some(this) = this.upgrade() {
            let (group, resource) = (&resource.api.group, &resource.api.plural);
            this.freed(Counted { group, resource }, namespace);
        }
    });
    let informers = vec![
        synced(&controller.quotas),
        synced(&controller.pods),
        synced(&controller.services),
    ];
    context.start(controller, WORKERS, informers);
}

pub(crate) fn amounts(map: Option<&BTreeMap<String, ApiQuantity>>) -> Amounts {
    let entries = map.into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(&amount.0).ok()?)))
        .collect()
}

fn to_map(amounts: &Amounts) -> BTreeMap<String, ApiQuantity> {
    let entries = amounts.iter();
    entries
        .map(|(name, amount)| (name.clone(), ApiQuantity(amount.to_string())))
        .collect()
}

fn hard(quota: &ResourceQuota) -> Amounts {
    amounts(quota.spec.as_ref().and_then(|s| s.hard.as_ref()))
}

impl ResourceQuotaController {
    fn watch(self: &Arc<Self>) {
        let queue = self.queue.clone();
        self.quotas.on_event(move |event| {
            let key = Key::of(&**event.object());
            match &event {
                Event::Added(_) => queue.add(key),
                Event::Updated { old, new } if old.spec != new.spec => queue.add(key),
                Event::Updated { old, new } if old.status != new.status => {
                    queue.add_after(key, RECOUNT);
                }
                Event::Updated { .. } | Event::Deleted(_) => {}
            }
        });
        let this = Arc::downgrade(self);
        self.pods.on_event(move |event| {
            let Some(this) = this.upgrade() else { return };
            // Pods are counted from this informer, which may learn of an end later than the watch of what is gone.
            let frees = match &event {
                // Most namespaces have no quota, and nothing to be looked at.
                Event::Updated { old, new } => this.counts_in(new) && count::frees(old, new),
                Event::Deleted(_) => true,
                Event::Added(_) => false,
            };
            if frees {
                let pod = event.object();
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                this.freed(count::PODS, namespace);
            }
        });
        let this = Arc::downgrade(self);
        self.services.on_event(move |event| {
            let type_ = |s: &Service| s.spec.as_ref().and_then(|s| s.type_.clone());
            let Some(this) = this.upgrade() else { return };
            let frees = match &event {
                Event::Updated { old, new } => type_(old) != type_(new),
                Event::Deleted(_) => true,
                Event::Added(_) => false,
            };
            if frees {
                let service = event.object();
                let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
                this.freed(count::SERVICES, namespace);
            }
        });
    }

    /// Whether the pod's namespace has any quota.
    fn counts_in(&self, pod: &Pod) -> bool {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        !self.quotas.list_in(namespace).is_empty()
    }

    /// An object of this kind uses less than before.
    fn freed(&self, counted: Counted<'_>, namespace: &str) {
        for quota in self.quotas.list_in(namespace) {
            let spec = quota.spec.as_ref();
            let mut names = spec.iter().flat_map(|s| s.hard.iter().flatten());
            if names.any(|(name, _)| counted.uses(name)) {
                self.queue.add(Key::of(&*quota));
            }
        }
    }
}

impl Reconciler for ResourceQuotaController {
    const NAME: &'static str = "resourcequota";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(quota) = self.quotas.get(&key.namespace, &key.name) else {
            return Ok(());
        };
        let (hard, status) = (hard(&quota), quota.status.clone().unwrap_or_default());
        let counted = self.count(&quota, &hard).await;
        let mut used = amounts(status.used.as_ref());
        // What could not be counted stays as it was.
        let (Ok(found) | Err((found, _))) = &counted;
        used.extend(found.clone());
        used.retain(|name, _| hard.contains_key(name));
        let same = status.hard.is_some()
            && status.used.is_some()
            && amounts(status.hard.as_ref()) == hard
            && amounts(status.used.as_ref()) == used;
        if !same {
            let mut new = (*quota).clone();
            let status = new.status.get_or_insert_default();
            status.hard = Some(to_map(&hard));
            status.used = Some(to_map(&used));
            let api: Api<ResourceQuota> = Api::namespaced(self.client.clone(), &key.namespace);
            api.replace_status(&key.name, &PostParams::default(), &new)
                .await?;
        }
        counted.map(drop).map_err(|(_, error)| error)
    }
}

#[cfg(test)]
mod tests;
