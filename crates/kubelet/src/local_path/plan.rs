//! Which claims and volumes are this node's, and what its volumes look like.

use std::{collections::BTreeMap, path::Path};

use k8s_openapi::{
    api::{
        core::v1::{
            LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
            PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::api::resource::Quantity,
};
use knarr_volumes::{
    claim::{self, annotation},
    names, volume,
};
use kube::api::ObjectMeta;

/// Names of volumes are this and the claim's uid.
pub(super) const VOLUME_PREFIX: &str = "pvc-";
/// Of volumes: the node that has the directory.
const NODE: &str = "local.path.provisioner/selected-node";
const HOSTNAME: &str = "kubernetes.io/hostname";

/// Why a claim is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is another node's, or nobody's yet.
    Elsewhere,
    /// What it asks for cannot be had.
    Never(String),
}

/// What is to be done about a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Nothing,
    /// Nobody has it any more, and nothing of it is to stay.
    Remove,
    /// It is being deleted, and what it holds is to stay.
    LetGo,
}

/// Whether the binder asks this provisioner for the claim's volume.
pub(super) fn is_ours(wanting: &PersistentVolumeClaim, class: &StorageClass) -> bool {
    let asked = [names::STORAGE_PROVISIONER, names::BETA_STORAGE_PROVISIONER]
        .iter()
        .find_map(|key| annotation(&wanting.metadata, key));
    asked == Some(names::LOCAL_PATH_PROVISIONER)
        && class.provisioner == names::LOCAL_PATH_PROVISIONER
        && claim::volume_name(wanting).is_empty()
        && wanting.metadata.deletion_timestamp.is_none()
}

/// Whether the claim gets a directory of this node.
pub(super) fn check(
    wanting: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &str,
) -> Result<(), Refusal> {
    let never = |why: &str| Err(Refusal::Never(why.to_owned()));
    match claim::selected_node(wanting) {
        Some(selected) if selected == node => {}
        Some(_) => return Err(Refusal::Elsewhere),
        None if claim::waits_for_consumer(class) => return Err(Refusal::Elsewhere),
        None => return never("configuration error, no node was specified"),
    }
    let spec = wanting.spec.as_ref();
    if spec.is_some_and(|spec| spec.selector.is_some()) {
        return never("claim.Spec.Selector is not supported");
    }
    if spec.is_some_and(|spec| spec.data_source.is_some() || spec.data_source_ref.is_some()) {
        return never("claim.Spec.DataSource is not supported");
    }
    if claim::volume_mode(wanting) == claim::BLOCK {
        let provisioner = names::LOCAL_PATH_PROVISIONER;
        return never(&format!(
            "{provisioner} does not support block volume provisioning"
        ));
    }
    let modes = claim::access_modes(wanting);
    if !modes
        .iter()
        .all(|mode| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod"))
    {
        return never(
            "NodePath only supports ReadWriteOnce and ReadWriteOncePod (1.22+) access modes",
        );
    }
    Ok(())
}

/// The volume that a claim gets, below `directory` on a node.
pub(super) fn volume(
    wanting: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &str,
    directory: &Path,
) -> PersistentVolume {
    let uid = wanting.metadata.uid.as_deref().unwrap_or_default();
    let name = format!("{VOLUME_PREFIX}{uid}");
    let path = directory.join(&name).display().to_string();
    let policy = class.reclaim_policy.clone();
    let size = Quantity(claim::requested(wanting).to_string());
    let here = NodeSelectorRequirement {
        key: HOSTNAME.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(BTreeMap::from([
                (
                    names::PROVISIONED_BY.to_owned(),
                    names::LOCAL_PATH_PROVISIONER.to_owned(),
                ),
                (NODE.to_owned(), node.to_owned()),
            ])),
            finalizers: Some(vec![names::PROVISIONER_FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(claim::access_modes(wanting).to_vec()),
            capacity: Some(BTreeMap::from([("storage".to_owned(), size)])),
            claim_ref: Some(claim::reference(wanting)),
            local: Some(LocalVolumeSource {
                path,
                fs_type: None,
            }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![here]),
                        match_fields: None,
                    }],
                }),
            }),
            persistent_volume_reclaim_policy: policy.or_else(|| Some("Delete".to_owned())),
            storage_class_name: Some(claim::class(wanting).to_owned()),
            volume_mode: Some(claim::FILESYSTEM.to_owned()),
            ..PersistentVolumeSpec::default()
        }),
        status: None,
    }
}

/// What is due about a volume, if it is one that this node's provisioner has made: its node, and the place that its name
/// stands for, must be as they were written.
pub(super) fn due(of: &PersistentVolume, node: &str, directory: &Path) -> Due {
    let local = of.spec.as_ref().and_then(|spec| spec.local.as_ref());
    let place = directory.join(volume::name(of));
    let ours = volume::provisioned_by(of) == Some(names::LOCAL_PATH_PROVISIONER)
        && annotation(&of.metadata, NODE) == Some(node)
        && local.is_some_and(|local| Path::new(&local.path) == place);
    let mut finalizers = of.metadata.finalizers.iter().flatten();
    let held = finalizers.any(|finalizer| finalizer == names::PROVISIONER_FINALIZER);
    let going = of.metadata.deletion_timestamp.is_some();
    // What is held only by others is not waited for.
    if !ours || (going && !held) || volume::phase(of) == "Bound" {
        return Due::Nothing;
    }
    let released = matches!(volume::phase(of), "Released" | "Failed");
    match volume::reclaim_policy(of) {
        "Delete" if released => Due::Remove,
        "Delete" => Due::Nothing,
        _ if going => Due::LetGo,
        _ => Due::Nothing,
    }
}

#[cfg(test)]
mod tests;
