//! Validation of where a container mounts volumes.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    object::{bool_at, list_at, str_at},
};
use serde_json::Value;

use super::{files::validate_descending, volumes::Volumes};
/// The mounts and devices of a container.
pub(super) fn validate_mounts(
    container: &Value,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let devices = list_at(container, &["volumeDevices"]);
    let of_devices = |field| -> HashSet<&str> {
        let values = devices.iter().map(|device| str_at(device, &[field]));
        values.collect()
    };
    let (device_names, device_paths) = (of_devices("name"), of_devices("devicePath"));
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
        if device_names.contains(name) {
            errors.push(Error::invalid(
                &path.child("name"),
                name,
                "must not already exist in volumeDevices",
            ));
        }
        if device_paths.contains(mount_path) {
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
    let Some(propagation) = mount.get("mountPropagation").and_then(Value::as_str) else {
        return;
    };
    let path = list.child("mountPropagation");
    let supported = &["Bidirectional", "HostToContainer", "None"];
    if !supported.contains(&propagation) {
        errors.push(Error::not_supported(&path, propagation, supported));
    }
    if propagation == "Bidirectional" && !bool_at(container, &["securityContext", "privileged"]) {
        errors.push(Error::forbidden(
            &path,
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
}

/// A mount that is read-only with all below it.
fn validate_recursive(mount: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(mode) = mount.get("recursiveReadOnly").and_then(Value::as_str) else {
        return;
    };
    match mode {
        "Disabled" => {}
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
