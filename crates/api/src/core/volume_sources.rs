//! Sources of volumes that pods and PersistentVolumes have in common: their defaults, and what they need.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{bool_at, i64_at, list_at, map_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use crate::{
    tree::{default_str, default_value, existing},
    validate,
};

/// Bytes of a volume's name and its portal together, where each volume has an initiator of its own.
const MAX_PORTAL_BYTES: usize = 64;
const MAX_TENANT_BYTES: usize = 64;

/// What a source belongs to. A PersistentVolume's secrets have a namespace, and some of its messages are shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Pod,
    PersistentVolume,
}

/// Fields that must be filled, of sources about which nothing else is asked.
const FILLED: &[(&str, &[&str])] = &[
    ("glusterfs", &["endpoints", "path"]),
    ("azureFile", &["secretName", "shareName"]),
    ("vsphereVolume", &["volumePath"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
];

/// Fills the defaults of the source that `owner`, a pod's volume or a PersistentVolume's spec, has.
pub(crate) fn default(owner: &mut Map<String, Value>) {
    if let Some(host_path) = existing(owner, "hostPath") {
        default_value(host_path, "type", "");
    }
    if let Some(iscsi) = existing(owner, "iscsi") {
        default_str(iscsi, "iscsiInterface", "default");
    }
    if let Some(rbd) = existing(owner, "rbd") {
        for (field, value) in [
            ("pool", "rbd"),
            ("user", "admin"),
            ("keyring", "/etc/ceph/keyring"),
        ] {
            default_str(rbd, field, value);
        }
    }
    if let Some(disk) = existing(owner, "azureDisk") {
        default_value(disk, "cachingMode", "ReadWrite");
        default_value(disk, "kind", "Shared");
        default_value(disk, "fsType", "ext4");
        default_value(disk, "readOnly", false);
    }
    if let Some(scale) = existing(owner, "scaleIO") {
        default_str(scale, "storageMode", "ThinProvisioned");
        default_str(scale, "fsType", "xfs");
    }
}

/// Validates a source by its kind, below `path`; kinds that only pods or only PersistentVolumes have are not known here.
pub(crate) fn validate(
    kind: &'static str,
    source: &Value,
    owner: Owner,
    path: &Path,
    errors: &mut ErrorList,
) {
    // Upstream has another name for this one.
    let path = &path.child(match kind {
        "gcePersistentDisk" => "persistentDisk",
        _ => kind,
    });
    if let Some((_, fields)) = FILLED.iter().find(|(name, _)| *name == kind) {
        validate::filled(errors, source, fields, path);
    }
    match kind {
        "gcePersistentDisk" => validate_disk(source, "pdName", path, errors),
        "awsElasticBlockStore" => validate_disk(source, "volumeID", path, errors),
        "nfs" => validate_nfs(source, path, errors),
        "iscsi" => validate_iscsi(source, owner, path, errors),
        "flocker" => validate_flocker(source, path, errors),
        "rbd" => {
            validate_monitors(source, path, errors);
            validate::filled(errors, source, &["image"], path);
        }
        "cephfs" => validate_monitors(source, path, errors),
        "cinder" => {
            validate::filled(errors, source, &["volumeID"], path);
            validate_secret(source, owner, path, errors);
        }
        "quobyte" => validate_quobyte(source, path, errors),
        "fc" => validate_fibre_channel(source, path, errors),
        "flexVolume" => validate_flex(source, path, errors),
        "azureDisk" => validate_azure_disk(source, path, errors),
        "storageos" => {
            validate::required(errors, source, "volumeName", path, names::dns1123_label);
            validate::optional(
                errors,
                source,
                "volumeNamespace",
                path,
                names::dns1123_label,
            );
            validate_secret(source, owner, path, errors);
        }
        "glusterfs" if owner == Owner::PersistentVolume => {
            validate_endpoints_namespace(source, path, errors);
        }
        "azureFile"
            if owner == Owner::PersistentVolume
                && source.get("secretNamespace").and_then(Value::as_str) == Some("") =>
        {
            errors.push(Error::required(&path.child("secretNamespace"), ""));
        }
        _ => {}
    }
}

/// What is wrong with `name`, a pod's volume, together with the portal of its source.
pub(crate) fn validate_portal(source: &Value, name: &str, path: &Path, errors: &mut ErrorList) {
    if portal_is_long(source, name) {
        errors.push(Error::invalid(&path.child("name"), name, LONG_PORTAL));
    }
}

const LONG_PORTAL: &str = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified.";

/// As [`validate_portal`], of a PersistentVolume.
pub(crate) fn validate_portal_of_volume(
    source: &Value,
    name: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    if portal_is_long(source, name) {
        let portal = str_at(source, &["targetPortal"]);
        errors.push(Error::invalid(
            &path.child("targetportal"),
            portal,
            LONG_PORTAL,
        ));
    }
}

fn portal_is_long(source: &Value, name: &str) -> bool {
    let portal = str_at(source, &["targetPortal"]);
    source.get("initiatorName").is_some_and(Value::is_string)
        && name.len() + 1 + portal.len() > MAX_PORTAL_BYTES
}

fn validate_disk(source: &Value, name: &'static str, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, source, &[name], path);
    let partition = i64_at(source, &["partition"]).unwrap_or_default();
    if !(0..=255).contains(&partition) {
        let why = "must be between 1 and 255, inclusive";
        errors.push(Error::invalid(&path.child("partition"), partition, why));
    }
}

fn validate_nfs(source: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, source, &["server", "path"], path);
    let export = str_at(source, &["path"]);
    if !export.starts_with('/') {
        let why = "must be an absolute path";
        errors.push(Error::invalid(&path.child("path"), export, why));
    }
}

fn validate_iscsi(source: &Value, owner: Owner, path: &Path, errors: &mut ErrorList) {
    const FORMAT: &str = "must be valid format";
    const START: &str = "must be valid format starting with iqn, eui, or naa";
    let other = match owner {
        Owner::Pod => START,
        Owner::PersistentVolume => FORMAT,
    };
    validate::filled(errors, source, &["targetPortal", "iqn"], path);
    let name_is = |name: &str| match is_iscsi_name(name) {
        Some(true) => None,
        Some(false) => Some(FORMAT),
        None => Some(other),
    };
    let iqn = str_at(source, &["iqn"]);
    if let Some(why) = name_is(iqn).filter(|_| !iqn.is_empty()) {
        errors.push(Error::invalid(&path.child("iqn"), iqn, why));
    }
    validate_lun(i64_at(source, &["lun"]).unwrap_or_default(), path, errors);
    let secret = struct_at(source, &["secretRef"]);
    let authenticates = ["chapAuthDiscovery", "chapAuthSession"];
    if authenticates.iter().any(|field| bool_at(source, &[field])) && secret.is_none() {
        errors.push(Error::required(&path.child("secretRef"), ""));
    }
    if owner == Owner::PersistentVolume
        && let Some(secret) = secret
    {
        validate::filled(errors, secret, &["name"], &path.child("secretRef"));
    }
    if let Some(initiator) = source.get("initiatorName").and_then(Value::as_str)
        && let Some(why) = name_is(initiator)
    {
        errors.push(Error::invalid(&path.child("initiatorname"), initiator, why));
    }
}

/// Whether a name is what its first letters say; `None` where they are none of iSCSI's.
fn is_iscsi_name(name: &str) -> Option<bool> {
    let hexadecimal = |name: &str, count: usize| {
        let mut rest = name.get(3..).unwrap_or_default().chars();
        let separated = rest.next().is_some_and(|c| c != '\n');
        let rest = rest.as_str();
        separated && rest.len() == count && rest.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    match name.get(..3)? {
        "iqn" => Some(
            name.match_indices("iqn.")
                .any(|(at, _)| is_iqn(&name[at..])),
        ),
        "eui" => Some(hexadecimal(name, 16)),
        "naa" => Some(hexadecimal(name, 32)),
        _ => None,
    }
}

/// `iqn.YYYY-MM.domain:name`.
fn is_iqn(name: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let Some(rest) = name.strip_prefix("iqn.") else {
        return false;
    };
    let Some((date, rest)) = rest.split_once('.') else {
        return false;
    };
    let is_date = date.len() == 7
        && date
            .split_once('-')
            .is_some_and(|(year, month)| year.len() == 4 && digits(year) && digits(month));
    let Some((domain, own)) = rest.split_once(':') else {
        return false;
    };
    let of_domain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.');
    let of_name =
        |c: char| !matches!(c, ',' | ';' | '*' | '&' | '$' | '|') && !c.is_ascii_whitespace();
    is_date
        && !domain.is_empty()
        && domain.bytes().all(of_domain)
        && !own.is_empty()
        && own.chars().all(of_name)
}

fn validate_lun(lun: i64, path: &Path, errors: &mut ErrorList) {
    if !(0..=255).contains(&lun) {
        let why = "must be between 0 and 255, inclusive";
        errors.push(Error::invalid(&path.child("lun"), lun, why));
    }
}

fn validate_flocker(source: &Value, path: &Path, errors: &mut ErrorList) {
    let name = str_at(source, &["datasetName"]);
    match (name, str_at(source, &["datasetUUID"])) {
        ("", "") => {
            let why = "one of datasetName and datasetUUID is required";
            errors.push(Error::required(path, why));
        }
        ("", _) | (_, "") => {}
        _ => {
            let why = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(Error::invalid(path, "resource", why));
        }
    }
    if name.contains('/') {
        let why = "must not contain '/'";
        errors.push(Error::invalid(&path.child("datasetName"), name, why));
    }
}

fn validate_monitors(source: &Value, path: &Path, errors: &mut ErrorList) {
    if list_at(source, &["monitors"]).is_empty() {
        errors.push(Error::required(&path.child("monitors"), ""));
    }
}

fn validate_secret(source: &Value, owner: Owner, path: &Path, errors: &mut ErrorList) {
    if let Some(secret) = struct_at(source, &["secretRef"]) {
        let fields: &[&'static str] = match owner {
            Owner::Pod => &["name"],
            Owner::PersistentVolume => &["name", "namespace"],
        };
        validate::filled(errors, secret, fields, &path.child("secretRef"));
    }
}

fn validate_quobyte(source: &Value, path: &Path, errors: &mut ErrorList) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = str_at(source, &["registry"]);
    let registry_path = path.child("registry");
    if registry.is_empty() {
        errors.push(Error::required(&registry_path, PAIRS));
    } else if str_at(source, &["tenant"]).len() > MAX_TENANT_BYTES {
        let why = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.child("tenant"), why));
    } else {
        let wrong = registry.split(',').filter(|pair| !is_host_port(pair));
        errors.extend(wrong.map(|_| Error::invalid(&registry_path, registry, PAIRS)));
    }
    validate::filled(errors, source, &["volume"], path);
}

/// As Go's `net.SplitHostPort` has it.
fn is_host_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else {
        return false;
    };
    let none = |text: &str| !text.contains(['[', ']']);
    match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').is_some_and(none) && none(port),
        None => !host.contains(':') && none(host) && none(port),
    }
}

fn validate_fibre_channel(source: &Value, path: &Path, errors: &mut ErrorList) {
    let names = list_at(source, &["targetWWNs"]);
    let ids = list_at(source, &["wwids"]);
    let names_path = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        let why = "must specify either targetWWNs or wwids, but not both";
        errors.push(Error::required(&names_path, why));
    }
    if names.is_empty() {
        return;
    }
    if !ids.is_empty() {
        let why = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&names_path, Value::from(names), why));
    }
    match i64_at(source, &["lun"]) {
        None => {
            let why = "lun is required if targetWWNs is specified";
            errors.push(Error::required(&path.child("lun"), why));
        }
        Some(lun) => validate_lun(lun, path, errors),
    }
}

fn validate_flex(source: &Value, path: &Path, errors: &mut ErrorList) {
    validate::filled(errors, source, &["driver"], path);
    for key in map_at(source, &["options"]).into_iter().flat_map(Map::keys) {
        let namespace = key.split_once('/').map_or(key.as_str(), |(space, _)| space);
        let normalized = format!(".{}", namespace.to_lowercase());
        if normalized.ends_with(".kubernetes.io") || normalized.ends_with(".k8s.io") {
            let why = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(
                &path.child("options").key(key),
                key.as_str(),
                why,
            ));
        }
    }
}

fn validate_azure_disk(source: &Value, path: &Path, errors: &mut ErrorList) {
    const MANAGED: &str = "Managed";
    validate::filled(errors, source, &["diskName", "diskURI"], path);
    let uri = str_at(source, &["diskURI"]);
    for (field, supported) in [
        ("cachingMode", &["None", "ReadOnly", "ReadWrite"]),
        ("kind", &["Dedicated", MANAGED, "Shared"]),
    ] {
        if let Some(value) = source.get(field).and_then(Value::as_str)
            && !supported.contains(&value)
        {
            errors.push(Error::not_supported(&path.child(field), value, supported));
        }
    }
    let (prefix, form) = match source.get("kind").and_then(Value::as_str) {
        None => return,
        Some(MANAGED) => (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        ),
        Some(_) => (
            "https://",
            "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd",
        ),
    };
    if !uri.starts_with(prefix) {
        errors.push(Error::not_supported(&path.child("diskURI"), uri, &[form]));
    }
}

fn validate_endpoints_namespace(source: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("endpointsNamespace");
    match source.get("endpointsNamespace").and_then(Value::as_str) {
        None => {}
        Some("") => {
            let why = "if the endpointnamespace is set, it must be a valid namespace name";
            errors.push(Error::invalid(&path, "", why));
        }
        Some(name) => validate::label(errors, &path, name),
    }
}

#[cfg(test)]
mod tests;
