//! VolumeAttributesClasses are not deleted while a claim or a volume names them.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use knarr_client::{Event, IndexKey, Informer, WorkQueue};
use knarr_volumes::{claim, names::ATTRIBUTES_PROTECTION, volume};
use kube::Api;

use crate::protection::{self, Due};
use crate::runner::{Context, Error, Key, Reconciler, synced};

const WORKERS: usize = 1;

pub(crate) struct VacProtection {
    client: kube::Client,
    classes: Informer<VolumeAttributesClass>,
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    queue: WorkQueue<Key>,
}

/// Claims and volumes by the classes of attributes that they name.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Names(String);

/// The classes that a claim wants, has, and is on its way to.
fn named_by(wanting: &PersistentVolumeClaim) -> Vec<String> {
    let status = wanting.status.as_ref();
    let current = status.and_then(|s| s.current_volume_attributes_class_name.clone());
    let modify = status.and_then(|s| s.modify_volume_status.as_ref());
    let target = modify.and_then(|m| m.target_volume_attributes_class_name.clone());
    let wanted = Some(claim::attributes_class(wanting).to_owned());
    let mut names: Vec<String> = [wanted, current, target].into_iter().flatten().collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    names.dedup();
    names
}

impl IndexKey<PersistentVolumeClaim> for Names {
    fn keys_of(claim: &PersistentVolumeClaim) -> Vec<Self> {
        named_by(claim).into_iter().map(Self).collect()
    }
}

impl IndexKey<PersistentVolume> for Names {
    fn keys_of(volume: &PersistentVolume) -> Vec<Self> {
        let name = volume::attributes_class(volume);
        let named = (!name.is_empty()).then(|| Self(name.to_owned()));
        named.into_iter().collect()
    }
}

pub(crate) fn start(context: &Context) {
    let controller = Arc::new(VacProtection {
        client: context.client("volumeattributesclass-protection-controller"),
        classes: context.informers.informer(),
        claims: context.informers.informer(),
        volumes: context.informers.informer(),
        queue: WorkQueue::new(),
    });
    let queue = controller.queue.clone();
    controller.classes.on_event(move |event| {
        let class = event.object();
        let due = protection::due(&class.metadata, ATTRIBUTES_PROTECTION);
        if !matches!(event, Event::Deleted(_)) && due != Due::Nothing {
            queue.add(Key::of(&**class));
        }
    });
    // Only what stops naming a class can free it.
    let queue = controller.queue.clone();
    controller.claims.on_event(move |event| {
        if let Event::Deleted(old) | Event::Updated { old, .. } = &event {
            let names = named_by(old).into_iter();
            names.for_each(|name| queue.add(Key::new("", name)));
        }
    });
    let queue = controller.queue.clone();
    controller.volumes.on_event(move |event| {
        if let Event::Deleted(old) | Event::Updated { old, .. } = &event {
            let name = volume::attributes_class(old);
            if !name.is_empty() {
                queue.add(Key::new("", name));
            }
        }
    });
    let informers = vec![
        synced(&controller.classes),
        synced(&controller.claims),
        synced(&controller.volumes),
    ];
    context.start(controller, WORKERS, informers);
}

impl Reconciler for VacProtection {
    const NAME: &'static str = "vac-protection";
    type Key = Key;

    fn queue(&self) -> &WorkQueue<Key> {
        &self.queue
    }

    async fn reconcile(&self, key: &Key) -> Result<(), Error> {
        let Some(class) = self.classes.get("", &key.name) else {
            return Ok(());
        };
        let api: Api<VolumeAttributesClass> = Api::all(self.client.clone());
        let names = Names(key.name.clone());
        let used = || {
            !self.claims.by_index(&names).is_empty() || !self.volumes.by_index(&names).is_empty()
        };
        match protection::due(&class.metadata, ATTRIBUTES_PROTECTION) {
            Due::Add => protection::write(&api, &*class, ATTRIBUTES_PROTECTION, true).await,
            Due::RemoveIfUnused if !used() => {
                protection::write(&api, &*class, ATTRIBUTES_PROTECTION, false).await
            }
            Due::RemoveIfUnused | Due::Nothing => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
