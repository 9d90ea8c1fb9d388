//! The sources of volumes: where their data is.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, str_at, struct_at},
};
use serde_json::Value;

use crate::{
    core::{
        pod_spec::{validate_csi_driver_name, validate_host_path, validate_no_backsteps},
        volume_sources::{self, Owner},
    },
    tree, validate,
};

/// Every source, in the order in which upstream looks at them.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];

/// Sources that pass the old annotation's mount options on.
const WITH_OPTIONS: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

const SECRETS: &[&str] = &[
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];

/// Exactly one source, and what it needs. `volume` is the name of the PersistentVolume.
pub(super) fn validate(volume: &str, spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut found = false;
    for name in SOURCES.iter().copied() {
        let Some(source) = struct_at(spec, &[name]) else {
            continue;
        };
        // Upstream does not ask it of this one.
        if found && name != "flexVolume" {
            let shown = if name == "cephfs" { "cephFS" } else { name };
            errors.push(Error::forbidden(
                &path.child(shown),
                "may not specify more than 1 volume type",
            ));
            continue;
        }
        found = true;
        let source_path = path.child(name);
        volume_sources::validate(name, source, Owner::PersistentVolume, path, errors);
        match name {
            "hostPath" => validate_host_path(source, &source_path, errors),
            "local" => validate_local(spec, source, path, errors),
            "csi" => validate_csi(source, &source_path, errors),
            "iscsi" => {
                volume_sources::validate_portal_of_volume(source, volume, &source_path, errors);
            }
            _ => {}
        }
    }
    if !found {
        errors.push(Error::required(path, "must specify a volume type"));
    }
    let host_path = str_at(spec, &["hostPath", "path"]);
    let root = !host_path.is_empty() && host_path.split('/').all(|p| matches!(p, "" | "."));
    let policy = str_at(spec, &["persistentVolumeReclaimPolicy"]);
    if root && host_path.starts_with('/') && policy == "Recycle" {
        errors.push(Error::forbidden(
            &path.child("persistentVolumeReclaimPolicy"),
            "may not be 'recycle' for a hostPath mount of '/'",
        ));
    }
}

fn validate_local(spec: &Value, source: &Value, path: &Path, errors: &mut ErrorList) {
    let local_path = path.child("local").child("path");
    match str_at(source, &["path"]) {
        "" => errors.push(Error::required(&local_path, "")),
        place => validate_no_backsteps(place, &local_path, errors),
    }
    if struct_at(spec, &["nodeAffinity"]).is_none() {
        errors.push(Error::required(
            &path.child("nodeAffinity"),
            "Local volume requires node affinity",
        ));
    }
}

fn validate_csi(source: &Value, path: &Path, errors: &mut ErrorList) {
    let driver = str_at(source, &["driver"]);
    validate_csi_driver_name(driver, &path.child("driver"), errors);
    validate::filled(errors, source, &["volumeHandle"], path);
    for secret in SECRETS {
        if let Some(reference) = struct_at(source, &[secret]) {
            let path = path.child(*secret);
            validate::required(errors, reference, "name", &path, names::dns1123_subdomain);
            validate::required(errors, reference, "namespace", &path, names::dns1123_label);
        }
    }
}

/// Whether the old annotation for mount options is heard.
pub(super) fn takes_options(spec: &Value) -> bool {
    let mut heard = WITH_OPTIONS.iter();
    heard.any(|source| struct_at(spec, &[source]).is_some())
}

/// Which sources an update would change, a line each. The secret for expansion may be given once.
pub(super) fn changes(new: &Value, old: &Value) -> Vec<String> {
    const LATE: &str = "controllerExpandSecretRef";
    let source = |object, name| at(object, &["spec", name]).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for name in SOURCES {
        let (mut now, before) = (source(new, name), source(old, name));
        if *name == "csi"
            && before.is_object()
            && struct_at(&before, &[LATE]).is_none()
            && let Some(csi) = now.as_object_mut()
        {
            csi.remove(LATE);
        }
        if !tree::same(Some(&now), Some(&before)) {
            lines.push(format!("- {name}: {before}\n+ {name}: {now}"));
        }
    }
    lines
}
