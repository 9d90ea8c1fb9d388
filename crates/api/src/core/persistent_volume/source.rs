//! The sources of volumes: where their data is.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, str_at, struct_at},
};
use serde_json::{Map, Value};

use crate::{
    core::pod_spec::{validate_csi_driver_name, validate_host_path, validate_no_backsteps},
    tree, validate,
};

/// Every source, in the order in which upstream looks at them, with the fields that must be filled.
const SOURCES: &[(&str, &[&str])] = &[
    ("hostPath", &[]),
    ("gcePersistentDisk", &["pdName"]),
    ("awsElasticBlockStore", &["volumeID"]),
    ("glusterfs", &["endpoints", "path"]),
    ("flocker", &[]),
    ("nfs", &["server", "path"]),
    ("rbd", &["image"]),
    ("quobyte", &["registry", "volume"]),
    ("cephfs", &[]),
    ("iscsi", &["targetPortal", "iqn"]),
    ("cinder", &["volumeID"]),
    ("fc", &[]),
    ("flexVolume", &["driver"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("local", &[]),
    ("storageos", &[]),
    ("csi", &[]),
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
    "fc",
    "csi",
];

const SECRETS: &[&str] = &[
    "controllerPublishSecretRef",
    "controllerExpandSecretRef",
    "nodePublishSecretRef",
    "nodeExpandSecretRef",
];

/// Fills the sources' own defaults.
pub(super) fn default(spec: &mut Map<String, Value>) {
    if let Some(host_path) = tree::existing(spec, "hostPath") {
        tree::default_value(host_path, "type", "");
    }
    if let Some(iscsi) = tree::existing(spec, "iscsi") {
        tree::default_str(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = tree::existing(spec, "rbd") {
        for (field, value) in [
            ("pool", "rbd"),
            ("user", "admin"),
            ("keyring", "/etc/ceph/keyring"),
        ] {
            tree::default_str(rbd, field, value);
        }
    }
    if let Some(disk) = tree::existing(spec, "azureDisk") {
        tree::default_value(disk, "cachingMode", "ReadWrite");
        tree::default_value(disk, "kind", "Shared");
        tree::default_value(disk, "fsType", "ext4");
        tree::default_value(disk, "readOnly", false);
    }
    if let Some(scale) = tree::existing(spec, "scaleIO") {
        tree::default_str(scale, "storageMode", "ThinProvisioned");
        tree::default_str(scale, "fsType", "xfs");
    }
}

/// Exactly one source, and what it needs.
pub(super) fn validate(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let mut found = false;
    for (name, required) in SOURCES {
        let Some(source) = struct_at(spec, &[name]) else {
            continue;
        };
        let source_path = path.child(*name);
        if found {
            errors.push(Error::forbidden(
                &source_path,
                "may not specify more than 1 volume type",
            ));
            continue;
        }
        found = true;
        validate::filled(errors, source, required, &source_path);
        match *name {
            "hostPath" => validate_host_path(source, &source_path, errors),
            "local" => validate_local(spec, source, path, errors),
            "csi" => validate_csi(source, &source_path, errors),
            "nfs" if !str_at(source, &["path"]).starts_with('/') => errors.push(Error::invalid(
                &source_path.child("path"),
                str_at(source, &["path"]),
                "must be an absolute path",
            )),
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
    for (name, _) in SOURCES {
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
