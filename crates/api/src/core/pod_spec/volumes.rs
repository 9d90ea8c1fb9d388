//! Validation of volumes.

use std::collections::{BTreeMap, HashSet};

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{
    Within,
    files::{
        validate_descending, validate_downward_file, validate_key_to_path, validate_mode,
        validate_no_backsteps,
    },
    projections,
};
use crate::{
    core::{
        persistent_volume_claim::spec,
        volume_sources::{self, Owner},
    },
    validate,
};

/// Every volume source of the API.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "scaleIO",
    "projected",
    "csi",
    "ephemeral",
    "image",
];

const HOST_PATH_TYPES: &[&str] = &[
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
];

/// The volumes that mounts may use, by name.
pub(super) type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Validates all volumes and returns those without errors.
pub(super) fn validate_volumes<'a>(
    spec: &'a Value,
    within: Within,
    path: &Path,
    errors: &mut ErrorList,
) -> Volumes<'a> {
    let mut known = Volumes::new();
    for (index, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
        let path = path.child("volumes").index(index);
        let before = errors.len();
        validate_source(volume, within, &path, errors);
        validate::required(errors, volume, "name", &path, names::dns1123_label);
        let name = str_at(volume, &["name"]);
        if known.contains_key(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if errors.len() == before {
            known.insert(name, volume);
        }
    }
    known
}

fn validate_source(volume: &Value, within: Within, parent: &Path, errors: &mut ErrorList) {
    let name = str_at(volume, &["name"]);
    validate::one_field(
        errors,
        volume,
        SOURCES,
        "volume type",
        parent,
        |kind, source, path, errors| match kind {
            "emptyDir" => validate_empty_dir(source, path, errors),
            "hostPath" => validate_host_path(source, path, errors),
            "secret" => validate_files(source, "secretName", path, errors),
            "configMap" => validate_files(source, "name", path, errors),
            "downwardAPI" => {
                validate_mode(source, "defaultMode", path, errors);
                for item in list_at(source, &["items"]) {
                    validate_downward_file(item, path, errors);
                }
            }
            "projected" => projections::validate_projected(source, within, path, errors),
            "persistentVolumeClaim" => validate::filled(errors, source, &["claimName"], path),
            "image" => validate_image(source, path, errors),
            "gitRepo" => {
                validate::filled(errors, source, &["repository"], path);
                let directory = str_at(source, &["directory"]);
                validate_descending(directory, &path.child("directory"), errors);
            }
            "iscsi" => {
                volume_sources::validate(kind, source, Owner::Pod, parent, errors);
                volume_sources::validate_portal(source, name, parent, errors);
            }
            "csi" => validate_csi(source, path, errors),
            "ephemeral" => {
                let path = path.child("volumeClaimTemplate");
                match struct_at(source, &["volumeClaimTemplate"]) {
                    Some(template) => spec::validate_template(template, &path, errors),
                    None => errors.push(Error::required(&path, "")),
                }
            }
            _ => volume_sources::validate(kind, source, Owner::Pod, parent, errors),
        },
    );
}

/// Claims that are made for the pod's ephemeral volumes are not to be named by others of its volumes. `pod` is its name, which
/// may not be known yet.
pub(crate) fn validate_created_claims(
    pod: &str,
    spec: &Value,
    path: &Path,
    errors: &mut ErrorList,
) {
    if pod.is_empty() {
        return;
    }
    let volumes = list_at(spec, &["volumes"]);
    let created: HashSet<String> = volumes
        .iter()
        .filter(|volume| struct_at(volume, &["ephemeral"]).is_some())
        .map(|volume| format!("{pod}-{}", str_at(volume, &["name"])))
        .collect();
    for (index, volume) in volumes.iter().enumerate() {
        let claim = str_at(volume, &["persistentVolumeClaim", "claimName"]);
        if created.contains(claim) {
            let path = path.child("volumes").index(index);
            errors.push(Error::invalid(
                &path.child("persistentVolumeClaim").child("claimName"),
                claim,
                "must not reference a PVC that gets created for an ephemeral volume",
            ));
        }
    }
}

/// A volume of a driver's own, for the pod's life.
fn validate_csi(source: &Value, path: &Path, errors: &mut ErrorList) {
    let driver = str_at(source, &["driver"]);
    validate_csi_driver_name(driver, &path.child("driver"), errors);
    if let Some(secret) = struct_at(source, &["nodePublishSecretRef"]) {
        match str_at(secret, &["name"]) {
            "" => errors.push(Error::required(
                &path.child("nodePublishSecretRef").child("name"),
                "",
            )),
            // Upstream leaves the reference out of this path.
            name => validate::each(
                errors,
                &path.child("name"),
                name,
                names::dns1123_subdomain(name),
            ),
        }
    }
}

const MAX_DRIVER_NAME_CHARS: usize = 63;

/// The name of a CSI driver, in pods, volumes and the objects of its group.
pub(crate) fn validate_csi_driver_name(driver: &str, path: &Path, errors: &mut ErrorList) {
    if driver.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if driver.len() > MAX_DRIVER_NAME_CHARS {
        errors.push(Error::too_long(path, MAX_DRIVER_NAME_CHARS));
    }
    let messages = names::dns1123_subdomain(&driver.to_lowercase());
    validate::each(errors, path, driver, messages);
}

/// The same in the words of a rule that is declared with the type.
pub(crate) fn validate_declared_driver_name(driver: &str, path: &Path, errors: &mut ErrorList) {
    if driver.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if driver.chars().count() > MAX_DRIVER_NAME_CHARS {
        errors.push(Error::too_long_characters(path, MAX_DRIVER_NAME_CHARS));
    }
    validate::each(errors, path, driver, names::long_name_caseless(driver));
}

fn validate_image(source: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, source, &["reference"], path);
    validate::one_of(
        errors,
        &path.child("pullPolicy"),
        str_at(source, &["pullPolicy"]),
        &["Always", "IfNotPresent", "Never"],
        true,
    );
}

fn validate_empty_dir(source: &Value, path: &Path, errors: &mut ErrorList) {
    let limit = str_at(source, &["sizeLimit"]);
    if !limit.is_empty() && !Quantity::parse(limit).is_ok_and(|limit| !limit.is_negative()) {
        errors.push(Error::forbidden(
            &path.child("sizeLimit"),
            "SizeLimit field must be a valid resource quantity",
        ));
    }
}

pub(crate) fn validate_host_path(source: &Value, path: &Path, errors: &mut ErrorList) {
    let host_path = str_at(source, &["path"]);
    if host_path.is_empty() {
        errors.push(Error::required(&path.child("path"), ""));
        return;
    }
    validate_no_backsteps(host_path, &path.child("path"), errors);
    let kind = str_at(source, &["type"]);
    if !HOST_PATH_TYPES.contains(&kind) {
        errors.push(Error::not_supported(
            &path.child("type"),
            kind,
            HOST_PATH_TYPES,
        ));
    }
}

/// A ConfigMap or a Secret as files.
fn validate_files(source: &Value, name: &'static str, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, source, &[name], path);
    validate_mode(source, "defaultMode", path, errors);
    for (index, item) in list_at(source, &["items"]).iter().enumerate() {
        validate_key_to_path(item, &path.child("items").index(index), errors);
    }
}
