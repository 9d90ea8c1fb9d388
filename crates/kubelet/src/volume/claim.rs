//! Volumes of claims: `persistentVolumeClaim` and `ephemeral`, which mount what their claim is bound to.
//!
//! Claim and volume are read from the API server each time: the node authorizer lets a kubelet get those of its pods, no more.
//! Volumes of types that no CSI driver serves, and that are none of `hostPath`, `local` and `nfs`, are refused by name.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use knarr_client::errors;
use knarr_volumes::{
    claim,
    pod::{self, PodClaim},
    volume,
};
use kube::api::Api;

use super::{
    Error, MountedVolume, READ_TIMEOUT, Target, VolumeType, blocking, csi, directory, host_path,
    local, nfs,
};
use crate::context;

/// How long a claim that names its volume is waited for until it is told to be bound, which whoever binds it writes last. The
/// scheduler does not wait for that, and pods get here sooner than upstream's do.
const BINDING: Duration = Duration::from_millis(1500);
/// The first wait between looks at it; each is twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(50);

pub(super) struct Claim;

#[async_trait]
impl VolumeType for Claim {
    async fn setup(&self, target: &Target<'_>) -> Option<Result<MountedVolume, Error>> {
        let used = pod::claim_of(target.pod, target.volume)?;
        Some(setup(target, &used).await)
    }
}

async fn setup(target: &Target<'_>, used: &PodClaim) -> Result<MountedVolume, Error> {
    let namespace = context::namespace(target.pod);
    let process = |why: String| Error::Process {
        volume: target.volume.name.clone(),
        message: format!("error processing PVC {namespace}/{}: {why}", used.name),
    };
    let claim = read_claim(target, used).await.map_err(process)?;
    let volume = read_volume(target, &claim).await.map_err(process)?;
    check_mode(target, &volume).map_err(|message| Error::Process {
        volume: target.volume.name.clone(),
        message,
    })?;
    check_node(target, &volume)?;
    let source = target.volume.persistent_volume_claim.as_ref();
    let read_only = source.and_then(|source| source.read_only) == Some(true);
    let began = Instant::now();
    let made = mount(target, (&claim, &volume), read_only).await;
    target.count(plugin(&volume), began, made.is_ok());
    made
}

async fn mount(
    target: &Target<'_>,
    (claim, volume): (&PersistentVolumeClaim, &PersistentVolume),
    read_only: bool,
) -> Result<MountedVolume, Error> {
    let name = volume::name(volume);
    let spec = volume.spec.as_ref();
    if let Some(source) = spec.and_then(|spec| spec.csi.as_ref()) {
        return csi::setup(target, (claim, volume), source, read_only).await;
    }
    if let Some(source) = spec.and_then(|spec| spec.nfs.as_ref()) {
        return nfs::setup(target, volume, source, read_only).await;
    }
    let host_path = spec.and_then(|spec| spec.host_path.as_ref());
    let local = spec.and_then(|spec| spec.local.as_ref());
    let mounted = match (host_path, local) {
        (Some(source), _) => {
            let place = place(target, name);
            let noted = blocking(move || directory(&place, 0o750)).await;
            noted.map_err(|why| Error::set_up(name, why))?;
            host_path::setup(target, name, source).await?
        }
        (None, Some(source)) => local::setup(target, name, source, read_only).await?,
        (None, None) => {
            let why = "no volume plugin matched: only hostPath, local, nfs and csi volumes can be mounted";
            return Err(Error::set_up(name, why));
        }
    };
    Ok(MountedVolume {
        read_only,
        ..mounted
    })
}

/// Upstream's name of what mounts the volume.
fn plugin(volume: &PersistentVolume) -> String {
    let Some(spec) = volume.spec.as_ref() else {
        return String::new();
    };
    let name = match () {
        () if spec.csi.is_some() => "kubernetes.io/csi",
        () if spec.nfs.is_some() => "kubernetes.io/nfs",
        () if spec.host_path.is_some() => "kubernetes.io/host-path",
        () if spec.local.is_some() => "kubernetes.io/local-volume",
        () => "",
    };
    super::plugin(name, spec.csi.as_ref().map(|csi| csi.driver.as_str()))
}

/// The pod's place for what a claim is bound to. It is there once the pod has it.
pub(super) fn place(target: &Target<'_>, volume: &str) -> PathBuf {
    target.named_dir("local-volume", volume)
}

async fn get<K>(api: Api<K>, name: &str) -> Result<K, String>
where
    K: Clone + serde::de::DeserializeOwned + std::fmt::Debug,
{
    match tokio::time::timeout(READ_TIMEOUT, api.get(name)).await {
        Ok(found) => found.map_err(|error| errors::message(&error)),
        Err(_) => Err("timed out waiting for the condition".to_owned()),
    }
}

/// The claim, not while it is just being bound.
async fn settled(
    api: &Api<PersistentVolumeClaim>,
    name: &str,
) -> Result<PersistentVolumeClaim, String> {
    let limit = Instant::now() + BINDING;
    let mut wait = FIRST_WAIT;
    loop {
        let claim = get(api.clone(), name).await?;
        let pending = matches!(claim::phase(&claim), "" | "Pending");
        let binds = pending && !claim::volume_name(&claim).is_empty();
        if !binds || Instant::now() + wait > limit {
            return Ok(claim);
        }
        tokio::time::sleep(wait).await;
        wait *= 2;
    }
}

async fn read_claim(target: &Target<'_>, used: &PodClaim) -> Result<PersistentVolumeClaim, String> {
    let namespace = context::namespace(target.pod);
    let api: Api<PersistentVolumeClaim> = Api::namespaced(target.ctx.client.clone(), namespace);
    let claim = settled(&api, &used.name).await;
    let claim = claim.map_err(|why| format!("failed to fetch PVC from API server: {why}"))?;
    if used.ephemeral {
        pod::check_owner(target.pod, &claim)?;
    }
    let name = claim::volume_name(&claim);
    // A pod that has the volume already keeps it to its end.
    let has_it = !name.is_empty()
        && (place(target, name).exists() || csi::has(target, name) || nfs::has(target, name));
    if claim.metadata.deletion_timestamp.is_some() && !has_it {
        return Err("PVC is being deleted".to_owned());
    }
    if claim::phase(&claim) != "Bound" {
        return Err("PVC is not bound".to_owned());
    }
    if name.is_empty() {
        return Err("PVC has empty pvc.Spec.VolumeName".to_owned());
    }
    Ok(claim)
}

async fn read_volume(
    target: &Target<'_>,
    claim: &PersistentVolumeClaim,
) -> Result<PersistentVolume, String> {
    let name = claim::volume_name(claim);
    let volume: PersistentVolume = get(Api::all(target.ctx.client.clone()), name)
        .await
        .map_err(|why| format!("failed to fetch PV {name} from API server: {why}"))?;
    let Some(reference) = volume::claim_reference(&volume) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    if reference.uid != claim.metadata.uid {
        return Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {} does not point to claim.UID {}",
            reference.uid.as_deref().unwrap_or_default(),
            claim.metadata.uid.as_deref().unwrap_or_default()
        ));
    }
    Ok(volume)
}

/// Whether the containers use the volume as what it is. Devices are drivers' alone.
fn check_mode(target: &Target<'_>, volume: &PersistentVolume) -> Result<(), String> {
    let name = &target.volume.name;
    let spec = target.pod.spec.as_ref();
    let containers = spec.into_iter().flat_map(|spec| {
        let first = spec.init_containers.iter().flatten();
        first.chain(&spec.containers)
    });
    if volume::volume_mode(volume) == claim::BLOCK {
        let mut mounts = containers.flat_map(|c| c.volume_mounts.iter().flatten());
        if mounts.any(|mount| mount.name == *name) {
            return Err(format!(
                "volume {name} has volumeMode Block, but is specified in volumeMounts"
            ));
        }
        let is_csi = volume.spec.as_ref().is_some_and(|spec| spec.csi.is_some());
        return match is_csi {
            true => Ok(()),
            false => Err(format!(
                "volume {name} has volumeMode Block, which this kubelet supports for csi volumes only"
            )),
        };
    }
    let mut devices = containers.flat_map(|c| c.volume_devices.iter().flatten());
    match devices.any(|device| device.name == *name) {
        true => Err(format!(
            "volume {name} has volumeMode Filesystem, but is specified in volumeDevices"
        )),
        false => Ok(()),
    }
}

/// A volume of another node's is not mounted, whoever has put the pod here.
fn check_node(target: &Target<'_>, volume: &PersistentVolume) -> Result<(), Error> {
    let node = target.ctx.node.get("", &target.ctx.config.node_name);
    match node.is_none_or(|node| volume::is_usable_on(volume, &node)) {
        true => Ok(()),
        false => Err(Error::Mount {
            step: "NodeAffinity check",
            volume: volume::name(volume).to_owned(),
            message: "no matching NodeSelectorTerms".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
