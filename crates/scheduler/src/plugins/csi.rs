//! What drivers of volumes say of themselves, of nodes and of the room that they have: what plugins about volumes read.

use k8s_openapi::api::storage::v1::{CSINode, CSIStorageCapacity, VolumeAttachment};
use knarr_client::{Event, IndexKey, Informer, Informers, csidriver::CsiDriver};
use knarr_meta::Quantity;

/// The objects of drivers.
#[derive(Clone)]
pub struct Csi {
    pub drivers: Informer<CsiDriver>,
    pub nodes: Informer<CSINode>,
    pub capacities: Informer<CSIStorageCapacity>,
    pub attachments: Informer<VolumeAttachment>,
}

/// Attachments by the node that they are for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ForNode(pub String);

impl IndexKey<VolumeAttachment> for ForNode {
    fn keys_of(attachment: &VolumeAttachment) -> Vec<Self> {
        vec![Self(attachment.spec.node_name.clone())]
    }
}

/// Rooms by the class whose volumes they are for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct OfClass(pub String);

impl IndexKey<CSIStorageCapacity> for OfClass {
    fn keys_of(room: &CSIStorageCapacity) -> Vec<Self> {
        vec![Self(room.storage_class_name.clone())]
    }
}

impl Csi {
    pub fn new(informers: &Informers) -> Self {
        Self {
            drivers: informers.informer(),
            nodes: informers.informer(),
            capacities: informers.informer(),
            attachments: informers.informer(),
        }
    }

    /// Objects that nothing feeds but by hand.
    pub fn unfed() -> Self {
        Self {
            drivers: Informer::new(),
            nodes: Informer::new(),
            capacities: Informer::new(),
            attachments: Informer::new(),
        }
    }

    /// Waits until all have been listed once.
    pub async fn synced(&self) {
        self.drivers.synced().await;
        self.nodes.synced().await;
        self.capacities.synced().await;
        self.attachments.synced().await;
    }

    /// Calls `changed` with every change that may let a pod fit that did not.
    pub fn on_change(&self, changed: impl Fn() + Clone + Send + Sync + 'static) {
        let tell = changed.clone();
        self.drivers.on_event(move |event| {
            if let Event::Updated { old, new } = event
                && old.spec != new.spec
            {
                tell();
            }
        });
        let tell = changed.clone();
        self.nodes.on_event(move |event| match event {
            Event::Added(_) => tell(),
            Event::Updated { old, new } if offers_more(&old, &new) => tell(),
            Event::Updated { .. } | Event::Deleted(_) => {}
        });
        let tell = changed.clone();
        self.capacities.on_event(move |event| match event {
            Event::Added(_) => tell(),
            Event::Updated { old, new } if largest(&new) > largest(&old) => tell(),
            Event::Updated { .. } | Event::Deleted(_) => {}
        });
        self.attachments.on_event(move |event| {
            if let Event::Deleted(_) = event {
                changed();
            }
        });
    }
}

/// How many volumes of a driver a node takes: `None` where it does not say.
pub fn limit(node: &CSINode, driver: &str) -> Option<i64> {
    let driver = node.spec.drivers.iter().find(|d| d.name == driver)?;
    driver.allocatable.as_ref()?.count.map(i64::from)
}

/// Whether a driver runs on a node.
pub fn runs_on(node: &CSINode, driver: &str) -> bool {
    node.spec.drivers.iter().any(|d| d.name == driver)
}

/// Whether a node has a driver, or takes volumes of one, that it did not before.
fn offers_more(before: &CSINode, now: &CSINode) -> bool {
    now.spec.drivers.iter().any(|driver| {
        let name = driver.name.as_str();
        let more = match (limit(before, name), limit(now, name)) {
            (Some(before), Some(now)) => now > before,
            (Some(_), None) => true,
            (None, _) => false,
        };
        more || !runs_on(before, name)
    })
}

/// The largest volume that there is room for: what the driver says of single volumes goes before what it has in all.
pub fn largest(room: &CSIStorageCapacity) -> Option<Quantity> {
    let size = room.maximum_volume_size.as_ref().or(room.capacity.as_ref());
    size.and_then(|size| Quantity::parse(&size.0).ok())
}

#[cfg(test)]
mod tests;
