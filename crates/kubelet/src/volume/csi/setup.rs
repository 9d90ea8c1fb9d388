//! From a volume that is wanted to one that the pod can have. Every step may have been done before.

use std::{fs, io, os::unix::fs::FileTypeExt, path::PathBuf, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_csi::v1::{NodePublishVolumeRequest, NodeStageVolumeRequest};

use super::{
    Csi, DRIVER_PATIENCE, Published, attach,
    drivers::{Capabilities, Capability, Driver},
    expand, given, in_a_while, places,
    places::{Lifecycle, Strings},
    settings::Settings,
    wanted::Wanted,
};
use crate::{
    context,
    volume::{Error, MountedVolume, Target, blocking, ownership, within},
};

/// Before a volume is published again; upstream does it when it syncs a pod, as often.
const REPUBLISH_PERIOD: Duration = Duration::from_secs(60);
/// Between two looks whether a volume has to grow: a kubelet may get claims and not watch them.
const GROWTH_PERIOD: Duration = Duration::from_secs(30);

/// What has been found out on the way.
struct Step<'a> {
    target: &'a Target<'a>,
    csi: &'a Csi,
    wanted: &'a Wanted,
    settings: Settings,
    driver: Driver,
    capabilities: Capabilities,
    publish_context: Strings,
}

/// Makes the volume available; `claim` is what is bound to it, with the volume.
pub(super) async fn setup(
    target: &Target<'_>,
    wanted: &Wanted,
    claim: Option<(&PersistentVolumeClaim, &PersistentVolume)>,
) -> Result<MountedVolume, Error> {
    let csi = &*target.ctx.csi;
    let key = (context::uid(target.pod).to_owned(), wanted.name.clone());
    let known = csi.published.lock().get(&key).cloned();
    if let Some(published) = known.as_ref().filter(|published| !published.republish) {
        if let Some(claim) = claim {
            expand::again(target, wanted, published, claim).await;
        }
        return Ok(mounted(published, None));
    }
    let step = Step::begin(target, csi, wanted).await?;
    let _turn = csi.turns.take(&wanted.handle).await;
    let staging = step.stage().await?;
    let (path, refresh_at) = step.publish(staging.as_ref(), known.is_some()).await?;
    let meta = claim.map(|(claim, _)| &claim.metadata);
    let published = Published {
        handle: wanted.handle.clone(),
        path,
        staging,
        volume: target.volume.name.clone(),
        claim: meta.map(|meta| {
            let name = meta.name.clone().unwrap_or_default();
            (meta.namespace.clone().unwrap_or_default(), name)
        }),
        republish: step.settings.republish,
        can_expand: claim.is_some() && step.capabilities.has(Capability::ExpandVolume),
        has_stats: step.capabilities.has(Capability::GetVolumeStats),
        is_device: wanted.shape.is_block,
        read_only: wanted.read_only,
    };
    if let Some(claim) = claim {
        let grown = expand::first(&step.driver, target, wanted, &published, claim).await;
        grown.map_err(|why| {
            let why = format!("while expanding volume: {why}");
            Error::set_up(&wanted.name, why)
        })?;
    }
    csi.published.lock().insert(key, published.clone());
    Ok(mounted(&published, refresh_at))
}

fn mounted(published: &Published, refresh_at: Option<Timestamp>) -> MountedVolume {
    let again = published.republish.then(|| in_a_while(REPUBLISH_PERIOD));
    let growth = published.can_expand.then(|| in_a_while(GROWTH_PERIOD));
    MountedVolume {
        path: published.path.clone(),
        read_only: published.read_only,
        is_device: published.is_device,
        refresh_at: [again, growth, refresh_at].into_iter().flatten().min(),
    }
}

impl<'a> Step<'a> {
    /// Waits for the volume to be attached, and for its driver.
    async fn begin(
        target: &'a Target<'a>,
        csi: &'a Csi,
        wanted: &'a Wanted,
    ) -> Result<Self, Error> {
        let handle = &wanted.handle;
        let refused = |why: String| {
            let why = format!("kubernetes.io/csi: mounter.SetUpAt failed {why}");
            Error::set_up(&wanted.name, why)
        };
        let settings = Settings::of(&csi.client, &handle.driver).await;
        let settings = settings.map_err(|why| refused(format!("to read the CSIDriver: {why}")))?;
        let lifecycle = settings.check(&handle.driver, wanted.lifecycle);
        lifecycle.map_err(|why| refused(format!("to check volume lifecycle mode: {why}")))?;
        let mut publish_context = Strings::new();
        if wanted.lifecycle == Lifecycle::Persistent {
            let attach = settings.attach_required;
            csi.uses.enter(handle, context::uid(target.pod), attach);
            if attach {
                publish_context = attached(target, csi, wanted).await?;
            }
        }
        let driver = csi.driver(&handle.driver, DRIVER_PATIENCE).await;
        let driver = driver.map_err(|why| refused(format!("to get CSI client: {why}")))?;
        let capabilities = driver.capabilities().await;
        let capabilities = capabilities
            .map_err(|error| refused(format!("to ask for the driver's capabilities: {error}")))?;
        Ok(Self {
            target,
            csi,
            wanted,
            settings,
            driver,
            capabilities,
            publish_context,
        })
    }

    /// The group that the driver gives files to, where that is its business.
    fn delegated_group(&self) -> Option<i64> {
        let delegates = self.capabilities.has(Capability::VolumeMountGroup);
        self.target.fs_group().filter(|_| delegates)
    }

    fn staging_failed(&self, message: impl ToString) -> Error {
        match self.wanted.shape.is_block {
            true => Error::map("SetUpDevice", &self.wanted.name, message),
            false => Error::Mount {
                step: "MountDevice",
                volume: self.wanted.name.clone(),
                message: message.to_string(),
            },
        }
    }

    fn publishing_failed(&self, message: impl ToString) -> Error {
        match self.wanted.shape.is_block {
            true => Error::map("MapPodDevice", &self.wanted.name, message),
            false => Error::set_up(&self.wanted.name, message),
        }
    }

    /// Makes the volume ready on the node, by drivers that want that. Returns where.
    async fn stage(&self) -> Result<Option<PathBuf>, Error> {
        let Self { csi, wanted, .. } = self;
        let stages = self.capabilities.has(Capability::StageUnstageVolume);
        if !stages || wanted.lifecycle == Lifecycle::Ephemeral {
            return Ok(None);
        }
        let handle = &wanted.handle;
        let (staging, kept) = match wanted.shape.is_block {
            true => {
                let device = csi.places.device(&wanted.name);
                (device.staging.clone(), device.data_dir())
            }
            false => (csi.places.staging(handle), csi.places.staged(handle)),
        };
        if csi.staged.lock().contains(handle) {
            return Ok(Some(staging));
        }
        let secrets = given::secret(&csi.client, wanted.stage_secret.as_ref()).await;
        let secrets = secrets.map_err(|why| {
            self.staging_failed(format!("fetching NodeStageSecretRef failed: {why}"))
        })?;
        let (place, data) = (staging.clone(), wanted.data(&csi.node));
        let noted = blocking(move || {
            // What is to be undone is noted before it is done.
            places::save(&kept, &data)?;
            places::make(&place)
        });
        noted.await.map_err(|why| self.staging_failed(why))?;
        let group = self.delegated_group();
        let request = NodeStageVolumeRequest {
            volume_id: handle.id.clone(),
            publish_context: self.publish_context.clone(),
            staging_target_path: self.driver.path(&staging),
            volume_capability: Some(wanted.shape.capability(&self.capabilities, group)),
            secrets,
            volume_context: wanted.attributes.clone(),
        };
        if let Err(error) = self.driver.node.stage(request).await {
            if error.is_final() && !wanted.shape.is_block {
                // There is nothing to undo.
                let place = staging.clone();
                if let Err(why) = blocking(move || places::remove(&place)).await {
                    tracing::debug!(why, "a volume that was not staged leaves its place");
                }
            }
            return Err(self.staging_failed(error));
        }
        csi.staged.lock().insert(handle.clone());
        Ok(Some(staging))
    }

    /// Makes the volume available to the pod. Returns where, and when tokens are to be renewed.
    async fn publish(
        &self,
        staging: Option<&PathBuf>,
        again: bool,
    ) -> Result<(PathBuf, Option<Timestamp>), Error> {
        let Self { csi, wanted, .. } = self;
        let failed = |why: String| self.publishing_failed(why);
        let secrets = given::secret(&csi.client, wanted.publish_secret.as_ref()).await;
        let mut secrets = secrets
            .map_err(|why| failed(format!("fetching NodePublishSecretRef failed: {why}")))?;
        let mut volume_context = wanted.attributes.clone();
        if self.settings.pod_info {
            volume_context.extend(given::pod_info(self.target.pod, wanted.lifecycle));
        }
        let tokens = given::tokens(self.target.ctx, self.target.pod, &self.settings).await;
        let tokens = tokens.map_err(|why| {
            failed(format!(
                "kubernetes.io/csi: mounter.SetUpAt failed to get service account token attributes: {why}"
            ))
        })?;
        let refresh_at = tokens.as_ref().map(|(_, at)| *at);
        match self.settings.tokens_in_secrets {
            true => secrets.extend(tokens.into_iter().flat_map(|(tokens, _)| tokens)),
            false => volume_context.extend(tokens.into_iter().flat_map(|(tokens, _)| tokens)),
        }
        let path = self.note().await.map_err(failed)?;
        let group = self.delegated_group();
        let request = NodePublishVolumeRequest {
            volume_id: wanted.handle.id.clone(),
            publish_context: self.publish_context.clone(),
            staging_target_path: staging.map(|at| self.driver.path(at)).unwrap_or_default(),
            target_path: self.driver.path(&path),
            volume_capability: Some(wanted.shape.capability(&self.capabilities, group)),
            readonly: wanted.read_only,
            secrets,
            volume_context,
        };
        if let Err(error) = self.driver.node.publish(request).await {
            if error.is_final() && !again && !wanted.shape.is_block {
                let place = path.clone();
                if let Err(why) = blocking(move || places::remove(&place)).await {
                    tracing::debug!(why, "a volume that was not published leaves its place");
                }
            }
            return Err(failed(error.to_string()));
        }
        let path = match wanted.shape.is_block {
            true => blocking(move || device(path)).await.map_err(failed)?,
            false => self.own(path, again).await.map_err(failed)?,
        };
        Ok((path, refresh_at))
    }

    /// Notes on disk what is about to be published, and where. Returns where.
    async fn note(&self) -> Result<PathBuf, String> {
        let Self { csi, wanted, .. } = self;
        let (uid, name) = (context::uid(self.target.pod), &wanted.name);
        let data = wanted.data(&csi.node);
        if !wanted.shape.is_block {
            let volume = csi.places.pod_volume(uid, name);
            let target = volume.target();
            blocking(move || places::save(&volume.dir, &data)).await?;
            return Ok(target);
        }
        let (device, link) = (csi.places.device(name), csi.places.pod_device(uid, name));
        let target = device.publish.join(uid);
        let to = target.clone();
        blocking(move || {
            places::save(&device.data_dir(), &data)?;
            places::make(&device.publish)?;
            if let Some(links) = link.parent() {
                places::make(links)?;
            }
            match std::os::unix::fs::symlink(&to, &link) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                linked => linked,
            }
        })
        .await?;
        Ok(target)
    }

    /// Gives the volume's files to the pod's group, where that is the kubelet's business.
    async fn own(&self, path: PathBuf, again: bool) -> Result<PathBuf, String> {
        let (wanted, target) = (self.wanted, self.target);
        let delegates = self.capabilities.has(Capability::VolumeMountGroup);
        let shape = &wanted.shape;
        let applies = !again
            && !delegates
            && !wanted.read_only
            && self
                .settings
                .fs_group
                .applies(&shape.fs_type, &shape.access_modes);
        let group = target.fs_group().filter(|_| applies);
        let only_if_root_differs = ownership::only_if_root_differs(target.pod);
        let owning = within(target.pod, move || {
            if !fs::metadata(&path)?.is_dir() {
                let path = path.display();
                return Err(io::Error::other(format!("{path} is not a directory")));
            }
            if let Some(group) = group {
                ownership::apply_to_volume(&path, group, only_if_root_differs)?;
            }
            Ok(path)
        });
        owning.await.map_err(|error| error.to_string())
    }
}

/// Waits for the volume to be attached.
async fn attached(target: &Target<'_>, csi: &Csi, wanted: &Wanted) -> Result<Strings, Error> {
    let attached = csi.attached(&target.ctx.node, &wanted.handle).await;
    attached.map_err(|failure| match failure {
        attach::Failure::Late => Error::Unattached {
            volume: target.volume.name.clone(),
        },
        attach::Failure::Api(message) => Error::Mount {
            step: "WaitForAttach",
            volume: wanted.name.clone(),
            message,
        },
    })
}

/// The device that was published at `path`.
fn device(path: PathBuf) -> io::Result<PathBuf> {
    let found = fs::canonicalize(&path)?;
    match fs::metadata(&found)?.file_type().is_block_device() {
        true => Ok(found),
        false => {
            let path = path.display();
            Err(io::Error::other(format!("{path} is not a block device")))
        }
    }
}
