//! Volumes of CSI drivers: those of claims, and those that pods describe themselves.
//!
//! A driver registers ([`drivers`]) and is told of to the API ([`node_info`]). A volume is then made available in steps, each of
//! which may be repeated ([`setup`]): it is attached, by others ([`attach`]); staged, once for all pods of the node; published, for
//! each pod; and grows when its claim has ([`expand`]). Everything is undone by what lies on disk ([`places`]): a pod's volumes are
//! unpublished with the pod ([`teardown`]), and what nobody uses any more is unstaged ([`unstage`]). So a kubelet that was killed
//! anywhere, or is faced with pods that nobody knows, leaves nothing.
//!
//! A driver is a program of somebody else's. Each call has a deadline, a volume has one operation at a time ([`turns`]), and nothing
//! but the pods of a volume waits for it. Paths are told to a driver as it names the kubelet's root ([`crate::root`]).
//!
//! As upstream's `pkg/volume/csi`, less: labels of SELinux, which no host of ours has been seen to need; NodeGetVolumeHealth.

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, Node, PersistentVolume, PersistentVolumeClaim,
};
use knarr_client::Informer;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Error, MountedVolume, Target, VolumeType};
use crate::{config::Config, plugins::Handler};

mod attach;
mod capability;
mod drivers;
mod expand;
mod given;
mod node_info;
mod places;
mod settings;
mod setup;
mod stats;
mod teardown;
mod turns;
mod unstage;
mod uses;
mod wanted;

use drivers::{Driver, Drivers, Registration};
use node_info::NodeInfo;
use places::{Handle, Places};
use turns::Turns;
use uses::Uses;
use wanted::Wanted;

use stats::Stats;
pub(crate) use stats::{Usage as VolumeUsage, VolumeStats};

/// How long a driver that is not there is waited for: at a start all of them come at about the same time.
const DRIVER_PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Inline;

#[async_trait]
impl VolumeType for Inline {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let wanted = Wanted::inline(target.pod, target.volume)?;
        Some(setup::setup(target, &wanted, None).await)
    }
}

/// Sets up what a claim is bound to.
pub(super) async fn setup(
    target: &Target<'_>,
    (claim, volume): (&PersistentVolumeClaim, &PersistentVolume),
    source: &CSIPersistentVolumeSource,
    read_only: bool,
) -> Result<MountedVolume, Error> {
    let wanted = Wanted::persistent(volume, source, read_only);
    setup::setup(target, &wanted, Some((claim, volume))).await
}

/// Whether the pod has the volume of this name already, or may have it.
pub(super) fn has(target: &Target<'_>, name: &str) -> bool {
    let places = Places::new(&target.ctx.config);
    let uid = crate::context::uid(target.pod);
    let device = places.pod_device(uid, name);
    places.pod_volume(uid, name).dir.exists() || device.symlink_metadata().is_ok()
}

/// A pod's volume that its driver has published.
#[derive(Clone, Debug)]
struct Published {
    handle: Handle,
    /// Where it was published; of a device, the device.
    path: PathBuf,
    staging: Option<PathBuf>,
    /// The pod's name for it.
    volume: String,
    /// Namespace and name.
    claim: Option<(String, String)>,
    /// It is to be published again from time to time.
    republish: bool,
    can_expand: bool,
    has_stats: bool,
    is_device: bool,
    read_only: bool,
}

/// Uid of a pod, and the kubelet's name of a volume.
type Key = (String, String);

/// Everything about drivers and their volumes that the pods of a node share.
pub(crate) struct Csi {
    client: kube::Client,
    node: String,
    places: Places,
    drivers: Drivers,
    info: NodeInfo,
    turns: Turns,
    uses: Uses,
    /// Volumes that this process has staged.
    staged: Mutex<HashSet<Handle>>,
    /// Volumes that this process has published.
    published: Mutex<HashMap<Key, Published>>,
    /// Volumes that do not grow as they are, by the size that was asked for.
    stuck: Mutex<HashMap<Handle, String>>,
    stats: Stats,
    /// Rung when the Node has changed.
    node_changed: Arc<Notify>,
}

impl Csi {
    /// Volumes that are on disk count as in use from the start.
    pub(crate) fn new(client: kube::Client, config: &Config, nodes: &Informer<Node>) -> Self {
        let node_changed = Arc::new(Notify::new());
        let changed = node_changed.clone();
        nodes.on_event(move |_| changed.notify_waiters());
        let csi = Self {
            node: config.node_name.clone(),
            places: Places::new(config),
            drivers: Drivers::new(config.root()),
            info: NodeInfo::new(client.clone(), &config.node_name),
            turns: Turns::default(),
            uses: Uses::default(),
            staged: Mutex::default(),
            published: Mutex::default(),
            stuck: Mutex::default(),
            stats: Stats::default(),
            node_changed,
            client,
        };
        csi.remember();
        csi
    }

    /// What takes drivers.
    pub(crate) fn handler(&self) -> Arc<dyn Handler> {
        Arc::new(Registration::new(self.drivers.clone(), self.info.clone()))
    }

    /// Tells the API that this node can have drivers, and unstages what nobody uses, until the token is cancelled.
    pub(crate) async fn run(csi: Arc<Self>, token: CancellationToken) {
        tokio::join!(
            csi.info.run(token.clone()),
            unstage::run(csi.clone(), token)
        );
    }

    /// Volumes for the Node's status.
    pub(crate) fn volumes_in_use(&self) -> Vec<String> {
        self.uses.reported()
    }

    /// Waits for other [`Self::volumes_in_use`].
    pub(crate) async fn in_use_changed(&self) {
        self.uses.changed().await;
    }

    /// Reads what an earlier kubelet has left. What cannot be read is not reported, and not touched.
    fn remember(&self) {
        let found = crate::disk::waiting(|| self.places.of_pods());
        for found in found.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell which volumes of CSI drivers pods have");
            Vec::new()
        }) {
            if found.data.volume_lifecycle_mode != Some(places::Lifecycle::Ephemeral) {
                self.uses.enter(&found.data.handle(), &found.uid, true);
            }
        }
        let staged = crate::disk::waiting(|| self.places.all_staged());
        for (handle, _) in staged.unwrap_or_else(|error| {
            tracing::warn!(%error, "cannot tell which volumes of CSI drivers are staged");
            Vec::new()
        }) {
            self.uses.found(&handle);
        }
    }

    /// The driver, which may be about to come.
    async fn driver(&self, name: &str, patience: Duration) -> Result<Driver, String> {
        let waiting = async {
            loop {
                let mut came = std::pin::pin!(self.drivers.came().notified());
                came.as_mut().enable();
                if let Ok(driver) = self.drivers.get(name) {
                    return driver;
                }
                came.await;
            }
        };
        match tokio::time::timeout(patience, waiting).await {
            Ok(driver) => Ok(driver),
            Err(_) => self.drivers.get(name),
        }
    }
}

/// A while from now, not just the same for all.
fn in_a_while(period: Duration) -> Timestamp {
    let spread = period.mul_f64(0.25 * fastrand::f64());
    Timestamp::now()
        .saturating_add(period + spread)
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
