//! Validation of environment variables and of the field references they share with volumes.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::validate;

/// Fields of the pod that a variable can show.
const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

/// Fields of the pod that a file of a volume can show.
pub(super) const VOLUME_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
];

const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const ONE_SOURCE: &str = "may not have more than one field specified at a time";

pub(super) fn validate(container: &Value, path: &Path, errors: &mut ErrorList) {
    for (index, variable) in list_at(container, &["env"]).iter().enumerate() {
        let path = path.child("env").index(index);
        validate::required(errors, variable, "name", &path, names::env_var_name);
        if let Some(source) = struct_at(variable, &["valueFrom"]) {
            let has_value = !str_at(variable, &["value"]).is_empty();
            validate_value_from(source, has_value, &path.child("valueFrom"), errors);
        }
    }
    for (index, source) in list_at(container, &["envFrom"]).iter().enumerate() {
        validate_env_from(source, &path.child("envFrom"), index, errors);
    }
}

fn validate_value_from(source: &Value, has_value: bool, path: &Path, errors: &mut ErrorList) {
    let mut count = 0;
    for field in [
        "fieldRef",
        "resourceFieldRef",
        "configMapKeyRef",
        "secretKeyRef",
        "fileKeyRef",
    ] {
        let Some(reference) = struct_at(source, &[field]) else {
            continue;
        };
        count += 1;
        let path = path.child(field);
        match field {
            "fieldRef" => validate_field_ref(reference, ENV_FIELDS, &path, errors),
            "resourceFieldRef" => validate_resource_ref(reference, false, &path, errors),
            "fileKeyRef" => validate_file_ref(reference, &path, errors),
            _ => validate_key_ref(reference, &path, errors),
        }
    }
    if count == 0 {
        errors.push(Error::invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ));
    } else if has_value {
        errors.push(Error::invalid(
            path,
            "",
            "may not be specified when `value` is not empty",
        ));
    } else if count > 1 {
        errors.push(Error::invalid(path, "", ONE_SOURCE));
    }
}

fn validate_key_ref(reference: &Value, path: &Path, errors: &mut ErrorList) {
    let name = str_at(reference, &["name"]);
    validate::each(
        errors,
        &path.child("name"),
        name,
        names::dns1123_subdomain(name),
    );
    validate::required(errors, reference, "key", path, names::config_map_key);
}

fn validate_file_ref(reference: &Value, path: &Path, errors: &mut ErrorList) {
    validate::required(errors, reference, "key", path, names::env_var_name);
    validate::required(errors, reference, "volumeName", path, names::dns1123_label);
    match str_at(reference, &["path"]) {
        "" => errors.push(Error::required(&path.child("path"), "")),
        inside if inside.split('/').any(|part| part == "..") => {
            let path = path.child("path");
            errors.push(Error::invalid(&path, inside, "must not contain '..'"));
        }
        _ => {}
    }
}

/// That files of variables are in volumes that the pod's containers fill.
pub(super) fn validate_file_volumes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list_at(spec, &[list]).iter().enumerate() {
            let path = path.child(list).index(index).child("env");
            for (index, variable) in list_at(container, &["env"]).iter().enumerate() {
                let Some(file) = struct_at(variable, &["valueFrom", "fileKeyRef"]) else {
                    continue;
                };
                let path = path.index(index).child("valueFrom").child("fileKeyRef");
                let path = path.child("volumeName");
                let name = str_at(file, &["volumeName"]);
                let mut volumes = list_at(spec, &["volumes"]).iter();
                match volumes.find(|volume| str_at(volume, &["name"]) == name) {
                    None => errors.push(Error::not_found(&path, name)),
                    Some(volume) if struct_at(volume, &["emptyDir"]).is_none() => {
                        let why = "referenced volume must be of type emptyDir";
                        errors.push(Error::invalid(&path, name, why));
                    }
                    Some(_) => {}
                }
            }
        }
    }
}

fn validate_env_from(source: &Value, list: &Path, index: usize, errors: &mut ErrorList) {
    let path = list.index(index);
    validate::optional(errors, source, "prefix", &path, names::env_var_name);
    let mut count = 0;
    for field in ["configMapRef", "secretRef"] {
        let Some(reference) = struct_at(source, &[field]) else {
            continue;
        };
        count += 1;
        validate::required(errors, reference, "name", &path.child(field), |name| {
            names::name_or_prefix(name, true, names::dns1123_subdomain)
        });
    }
    if count == 0 {
        errors.push(Error::invalid(
            list,
            "",
            "must specify one of: `configMapRef` or `secretRef`",
        ));
    } else if count > 1 {
        errors.push(Error::invalid(list, "", ONE_SOURCE));
    }
}

/// A field of the pod, with an optional subscript: `metadata.labels['app']`.
pub(super) fn validate_field_ref(
    reference: &Value,
    supported: &[&str],
    path: &Path,
    errors: &mut ErrorList,
) {
    if str_at(reference, &["apiVersion"]).is_empty() {
        errors.push(Error::required(&path.child("apiVersion"), ""));
        return;
    }
    let field = str_at(reference, &["fieldPath"]);
    if field.is_empty() {
        errors.push(Error::required(&path.child("fieldPath"), ""));
        return;
    }
    let version = str_at(reference, &["apiVersion"]);
    if version != "v1" {
        errors.push(Error::invalid(
            &path.child("fieldPath"),
            field,
            format!("error converting fieldPath: unsupported pod version: {version}"),
        ));
        return;
    }
    if let Some((map, key)) = field
        .strip_suffix("']")
        .and_then(|rest| rest.split_once("['"))
    {
        match map {
            "metadata.annotations" => {
                let lower = key.to_lowercase();
                validate::each(errors, path, &lower, names::qualified_name(&lower));
            }
            "metadata.labels" => {
                validate::each(errors, path, key, names::qualified_name(key));
            }
            _ => errors.push(Error::invalid(path, map, "does not support subscript")),
        }
        return;
    }
    let known = ENV_FIELDS.contains(&field) || VOLUME_FIELDS.contains(&field);
    if !known {
        errors.push(Error::invalid(
            &path.child("fieldPath"),
            field,
            format!("error converting fieldPath: field label not supported: {field}"),
        ));
    } else if !supported.contains(&field) {
        errors.push(Error::not_supported(
            &path.child("fieldPath"),
            field,
            supported,
        ));
    }
}

/// A limit or request of a container. Files of volumes must name the container.
pub(super) fn validate_resource_ref(
    reference: &Value,
    volume: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let resource = str_at(reference, &["resource"]);
    if volume && str_at(reference, &["containerName"]).is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource)
        && !resource.starts_with("limits.hugepages-")
        && !resource.starts_with("requests.hugepages-")
    {
        errors.push(Error::not_supported(
            &path.child("resource"),
            resource,
            RESOURCES,
        ));
    }
    validate_divisor(resource, str_at(reference, &["divisor"]), path, errors);
}

fn validate_divisor(resource: &str, divisor: &str, path: &Path, errors: &mut ErrorList) {
    const SIZES: &[&str] = &[
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    if matches!(divisor, "" | "0") {
        return;
    }
    let (supported, what) = match resource.split_once('.') {
        Some(("limits" | "requests", name)) => match name {
            "cpu" => (&["1m", "1"][..], "the cpu resource"),
            "memory" => (SIZES, "the memory resource"),
            "ephemeral-storage" => (SIZES, "the local ephemeral storage resource"),
            name if name.starts_with("hugepages-") => (SIZES, "the hugepages resource"),
            _ => return,
        },
        _ => return,
    };
    if supported.contains(&divisor) {
        return;
    }
    let list = if supported.len() == 2 {
        "1m and 1".to_owned()
    } else {
        supported.join(", ")
    };
    errors.push(Error::invalid(
        &path.child("divisor"),
        resource,
        format!("only divisor's values {list} are supported with {what}"),
    ));
}
