//! A volume of a pod as its driver has to make it available.

use k8s_openapi::api::core::v1::{
    CSIPersistentVolumeSource, PersistentVolume, Pod, SecretReference, Volume,
};
use knarr_volumes::{claim, volume};

use super::{
    capability::Shape,
    places::{self, Data, Handle, Lifecycle, Strings},
};
use crate::context;

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub handle: Handle,
    /// Of the PersistentVolume, or of the pod's volume.
    pub name: String,
    pub lifecycle: Lifecycle,
    pub shape: Shape,
    pub read_only: bool,
    pub attributes: Strings,
    pub stage_secret: Option<SecretReference>,
    pub publish_secret: Option<SecretReference>,
    pub expand_secret: Option<SecretReference>,
}

impl Wanted {
    /// What a claim is bound to.
    pub(super) fn persistent(
        volume: &PersistentVolume,
        source: &CSIPersistentVolumeSource,
        read_only: bool,
    ) -> Self {
        let spec = volume.spec.as_ref();
        let options = spec.and_then(|spec| spec.mount_options.clone());
        Self {
            handle: Handle {
                driver: source.driver.clone(),
                id: source.volume_handle.clone(),
            },
            name: volume::name(volume).to_owned(),
            lifecycle: Lifecycle::Persistent,
            shape: Shape {
                is_block: volume::volume_mode(volume) == claim::BLOCK,
                fs_type: source.fs_type.clone().unwrap_or_default(),
                mount_options: options.unwrap_or_default(),
                access_modes: volume::access_modes(volume).to_vec(),
            },
            read_only,
            attributes: source
                .volume_attributes
                .clone()
                .into_iter()
                .flatten()
                .collect(),
            stage_secret: source.node_stage_secret_ref.clone(),
            publish_secret: source.node_publish_secret_ref.clone(),
            expand_secret: source.node_expand_secret_ref.clone(),
        }
    }

    /// What the pod describes itself; `None` where that is no volume of a driver.
    pub(super) fn inline(pod: &Pod, volume: &Volume) -> Option<Self> {
        let source = volume.csi.as_ref()?;
        let secret = source.node_publish_secret_ref.as_ref();
        Some(Self {
            handle: Handle {
                driver: source.driver.clone(),
                id: places::inline_handle(context::uid(pod), &volume.name),
            },
            name: volume.name.clone(),
            lifecycle: Lifecycle::Ephemeral,
            shape: Shape {
                is_block: false,
                fs_type: source.fs_type.clone().unwrap_or_default(),
                mount_options: Vec::new(),
                access_modes: vec!["ReadWriteOnce".to_owned()],
            },
            read_only: source.read_only.unwrap_or(false),
            attributes: source
                .volume_attributes
                .clone()
                .into_iter()
                .flatten()
                .collect(),
            stage_secret: None,
            publish_secret: secret.map(|secret| SecretReference {
                name: Some(secret.name.clone()),
                namespace: Some(context::namespace(pod).to_owned()),
            }),
            expand_secret: None,
        })
    }

    /// What is written on disk of it.
    pub(super) fn data(&self, node: &str) -> Data {
        Data {
            driver_name: self.handle.driver.clone(),
            volume_handle: self.handle.id.clone(),
            name: self.name.clone(),
            node_name: node.to_owned(),
            attachment: self.handle.attachment(node),
            volume_lifecycle_mode: Some(self.lifecycle),
        }
    }
}
