//! Validation of volumes and their mounts.

use std::collections::{BTreeMap, HashSet};

use knarr_meta::{
    Quantity,
    field::{Error, ErrorList, Path},
    names,
    object::{bool_at, i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{Within, env};
use crate::validate;

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

const MODE_MESSAGE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const MIN_TOKEN_SECONDS: i64 = 600;
const MAX_TOKEN_SECONDS: i64 = 1 << 32;

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

fn validate_source(volume: &Value, within: Within, path: &Path, errors: &mut ErrorList) {
    validate::one_field(
        errors,
        volume,
        SOURCES,
        "volume type",
        path,
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
            "projected" => validate_projected(source, path, errors),
            "persistentVolumeClaim" => validate::filled(errors, source, &["claimName"], path),
            "image" => validate_image(source, within, path, errors),
            "nfs" => validate::filled(errors, source, &["server", "path"], path),
            "csi" => validate::filled(errors, source, &["driver"], path),
            "ephemeral" if struct_at(source, &["volumeClaimTemplate"]).is_none() => {
                errors.push(Error::required(&path.child("volumeClaimTemplate"), ""));
            }
            _ => {}
        },
    );
}

fn validate_image(source: &Value, within: Within, path: &Path, errors: &mut ErrorList) {
    if within == Within::Pod {
        validate::filled(errors, source, &["reference"], path);
    }
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

fn validate_host_path(source: &Value, path: &Path, errors: &mut ErrorList) {
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

fn validate_mode(owner: &Value, field: &'static str, path: &Path, errors: &mut ErrorList) {
    if let Some(mode) = i64_at(owner, &[field])
        && !(0..=0o777).contains(&mode)
    {
        errors.push(Error::invalid(&path.child(field), mode, MODE_MESSAGE));
    }
}

fn validate_key_to_path(item: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, item, &["key", "path"], path);
    validate_not_reserved(str_at(item, &["path"]), &path.child("path"), errors);
    validate_mode(item, "mode", path, errors);
}

fn validate_downward_file(item: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, item, &["path"], path);
    validate_not_reserved(str_at(item, &["path"]), &path.child("path"), errors);
    let field = struct_at(item, &["fieldRef"]);
    let resource = struct_at(item, &["resourceFieldRef"]);
    match (field, resource) {
        (Some(field), resource) => {
            let field_path = path.child("fieldRef");
            env::validate_field_ref(field, env::VOLUME_FIELDS, &field_path, errors);
            if resource.is_some() {
                errors.push(Error::invalid(
                    path,
                    "resource",
                    "fieldRef and resourceFieldRef can not be specified simultaneously",
                ));
            }
        }
        (None, Some(resource)) => {
            env::validate_resource_ref(resource, true, &path.child("resourceFieldRef"), errors);
        }
        (None, None) => errors.push(Error::required(
            path,
            "one of fieldRef and resourceFieldRef is required",
        )),
    }
    validate_mode(item, "mode", path, errors);
}

fn validate_projected(source: &Value, path: &Path, errors: &mut ErrorList) {
    validate_mode(source, "defaultMode", path, errors);
    let mut taken = HashSet::new();
    for (index, projection) in list_at(source, &["sources"]).iter().enumerate() {
        let source_path = path.child("sources").index(index);
        let mut count = 0;
        for kind in [
            "secret",
            "configMap",
            "downwardAPI",
            "serviceAccountToken",
            "clusterTrustBundle",
            "podCertificate",
        ] {
            let Some(part) = struct_at(projection, &[kind]) else {
                continue;
            };
            count += 1;
            validate_projection(part, kind, &source_path.child(kind), path, errors);
            for item in list_at(part, &["items"]) {
                let file = str_at(item, &["path"]);
                if !file.is_empty() && !taken.insert(file) {
                    let value = match str_at(part, &["name"]) {
                        "" => file,
                        name => name,
                    };
                    errors.push(Error::invalid(path, value, "conflicting duplicate paths"));
                }
            }
        }
        if count > 1 {
            errors.push(Error::forbidden(
                &source_path,
                "may not specify more than 1 volume type",
            ));
        }
    }
}

fn validate_projection(
    part: &Value,
    kind: &str,
    path: &Path,
    volume: &Path,
    errors: &mut ErrorList,
) {
    match kind {
        "secret" | "configMap" => {
            validate::filled(errors, part, &["name"], path);
            for (index, item) in list_at(part, &["items"]).iter().enumerate() {
                validate_key_to_path(item, &path.child("items").index(index), errors);
            }
        }
        "downwardAPI" => {
            for item in list_at(part, &["items"]) {
                validate_downward_file(item, path, errors);
            }
        }
        "serviceAccountToken" => {
            let seconds = i64_at(part, &["expirationSeconds"]).unwrap_or_default();
            let seconds_path = path.child("expirationSeconds");
            if seconds < MIN_TOKEN_SECONDS {
                errors.push(Error::invalid(
                    &seconds_path,
                    seconds,
                    "may not specify a duration less than 10 minutes",
                ));
            } else if seconds > MAX_TOKEN_SECONDS {
                errors.push(Error::invalid(
                    &seconds_path,
                    seconds,
                    "may not specify a duration larger than 2^32 seconds",
                ));
            }
            // Upstream names the volume's path here, not the projection's.
            validate::filled(errors, part, &["path"], volume);
        }
        _ => {}
    }
}

fn validate_no_backsteps(target: &str, path: &Path, errors: &mut ErrorList) {
    if target.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, target, "must not contain '..'"));
    }
}

/// A path below a directory: relative, and never up.
pub(super) fn validate_descending(target: &str, path: &Path, errors: &mut ErrorList) {
    if target.starts_with('/') {
        errors.push(Error::invalid(path, target, "must be a relative path"));
    }
    validate_no_backsteps(target, path, errors);
}

/// As above, and no name that begins with `..`: those are the volume writer's.
fn validate_not_reserved(target: &str, path: &Path, errors: &mut ErrorList) {
    validate_descending(target, path, errors);
    if target.starts_with("..") && target != ".." && !target.starts_with("../") {
        errors.push(Error::invalid(path, target, "must not start with '..'"));
    }
}

/// The mounts and devices of a container.
pub(super) fn validate_mounts(
    container: &Value,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let devices = list_at(container, &["volumeDevices"]);
    let list_path = path.child("volumeMounts");
    let mut seen = HashSet::new();
    for (index, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
        let path = list_path.index(index);
        let name = str_at(mount, &["name"]);
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        let mount_path = str_at(mount, &["mountPath"]);
        let mount_path_path = path.child("mountPath");
        if mount_path.is_empty() {
            errors.push(Error::required(&mount_path_path, ""));
        }
        if !seen.insert(mount_path) {
            errors.push(Error::invalid(
                &mount_path_path,
                mount_path,
                "must be unique",
            ));
        }
        if devices.iter().any(|d| str_at(d, &["name"]) == name) {
            errors.push(Error::invalid(
                &path.child("name"),
                name,
                "must not already exist in volumeDevices",
            ));
        }
        if devices
            .iter()
            .any(|d| str_at(d, &["devicePath"]) == mount_path)
        {
            errors.push(Error::invalid(
                &mount_path_path,
                mount_path,
                "must not already exist as a path in volumeDevices",
            ));
        }
        validate_sub_path(mount, &path, &list_path, errors);
        validate_propagation(container, mount, &list_path, errors);
        validate_recursive(mount, &list_path.child("recursiveReadOnly"), errors);
    }
}

fn validate_sub_path(mount: &Value, path: &Path, list: &Path, errors: &mut ErrorList) {
    let plain = str_at(mount, &["subPath"]);
    if !plain.is_empty() {
        validate_descending(plain, &list.child("subPath"), errors);
    }
    let expression = str_at(mount, &["subPathExpr"]);
    if expression.is_empty() {
        return;
    }
    if !plain.is_empty() {
        errors.push(Error::invalid(
            &path.child("subPathExpr"),
            expression,
            "subPathExpr and subPath are mutually exclusive",
        ));
    }
    validate_descending(expression, &list.child("subPathExpr"), errors);
}

fn validate_propagation(container: &Value, mount: &Value, list: &Path, errors: &mut ErrorList) {
    let propagation = str_at(mount, &["mountPropagation"]);
    let path = list.child("mountPropagation");
    validate::one_of(
        errors,
        &path,
        propagation,
        &["Bidirectional", "HostToContainer", "None"],
        false,
    );
    if propagation == "Bidirectional" && !bool_at(container, &["securityContext", "privileged"]) {
        errors.push(Error::forbidden(
            &path,
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
}

/// A mount that is read-only with all below it.
fn validate_recursive(mount: &Value, path: &Path, errors: &mut ErrorList) {
    match str_at(mount, &["recursiveReadOnly"]) {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !bool_at(mount, &["readOnly"]) {
                errors.push(Error::forbidden(
                    path,
                    "may only be specified when readOnly is true",
                ));
            }
            if !matches!(str_at(mount, &["mountPropagation"]), "" | "None") {
                errors.push(Error::forbidden(
                    path,
                    "may only be specified when mountPropagation is None or not specified",
                ));
            }
        }
        other => errors.push(Error::not_supported(
            path,
            other,
            &["Disabled", "Enabled", "IfPossible"],
        )),
    }
}
