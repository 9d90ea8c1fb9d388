//! Validation of security contexts.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, bool_at, i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{MAX_I32, files, windows};
use crate::validate;

const MAX_SYSCTL_LENGTH: usize = 253;
const MAX_PROFILE_PATH_BYTES: usize = 4095;

fn validate_id(owner: &Value, field: &'static str, path: &Path, errors: &mut ErrorList) {
    if let Some(id) = i64_at(owner, &[field]) {
        for message in names::in_range(id, 0, MAX_I32) {
            errors.push(Error::invalid(&path.child(field), id, message));
        }
    }
}

/// Why a pod with users of its own does not have something.
const HOST_USERS: &str = "when `hostUsers` is false";

/// Whether the pod's users are the node's. Only an explicit false gives it users of its own.
pub(super) fn host_users(spec: &Value) -> bool {
    at(spec, &["hostUsers"]) != Some(&Value::Bool(false))
}

/// A pod with users of its own has its own namespaces, and no volumes as devices: those cannot be given other owners.
pub(super) fn validate_host_users(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if host_users(spec) {
        return;
    }
    // Upstream's spelling of the paths.
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if bool_at(spec, &[field]) {
            errors.push(Error::forbidden(&path.child(shown), HOST_USERS));
        }
    }
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list_at(spec, &[list]).iter().enumerate() {
            if !list_at(container, &["volumeDevices"]).is_empty() {
                let path = path.child(list).index(index).child("volumeDevices");
                errors.push(Error::forbidden(&path, HOST_USERS));
            }
        }
    }
}

/// The pod's security context and the namespaces it shares with the host.
pub(super) fn validate_pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("securityContext");
    let none = Value::Null;
    let context = struct_at(spec, &["securityContext"]).unwrap_or(&none);
    for field in ["fsGroup", "runAsUser", "runAsGroup"] {
        validate_id(context, field, &path, errors);
    }
    for (index, group) in list_at(context, &["supplementalGroups"])
        .iter()
        .filter_map(Value::as_i64)
        .enumerate()
    {
        for message in names::in_range(group, 0, MAX_I32) {
            let path = path.child("supplementalGroups").index(index);
            errors.push(Error::invalid(&path, group, message));
        }
    }
    validate_sysctls(spec, context, &path.child("sysctls"), errors);
    let one_of = |field: &'static str, supported: &[&str], errors: &mut ErrorList| {
        let value = str_at(context, &[field]);
        validate::one_of(errors, &path.child(field), value, supported, false);
    };
    one_of("fsGroupChangePolicy", &["Always", "OnRootMismatch"], errors);
    validate_seccomp(context, &path, errors);
    windows::validate_options(context, &path, errors);
    validate_app_armor(context, &path, errors);
    one_of("supplementalGroupsPolicy", &["Merge", "Strict"], errors);
    one_of("seLinuxChangePolicy", &["MountOption", "Recursive"], errors);
}

/// Processes are shared either with the node or among the containers.
pub(super) fn validate_shared_processes(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if bool_at(spec, &["shareProcessNamespace"]) && bool_at(spec, &["hostPID"]) {
        errors.push(Error::invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
}

fn validate_sysctls(spec: &Value, context: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, sysctl) in list_at(context, &["sysctls"]).iter().enumerate() {
        let path = path.index(index).child("name");
        let name = str_at(sysctl, &["name"]);
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
        } else if !is_sysctl(name) {
            errors.push(Error::invalid(
                &path,
                name,
                format!(
                    "must have at most {MAX_SYSCTL_LENGTH} characters and match regex ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
                ),
            ));
        } else if !seen.insert(name) {
            errors.push(Error::duplicate(&path, name));
        }
        let shared = match sysctl_namespace(name) {
            Some("net") => "hostNetwork",
            Some("ipc") => "hostIPC",
            _ => continue,
        };
        if bool_at(spec, &[shared]) {
            errors.push(Error::invalid(
                &path,
                name,
                format!("may not be specified when '{shared}' is true"),
            ));
        }
    }
}

/// The namespace that a sysctl belongs to. Names may have slashes for dots.
fn sysctl_namespace(name: &str) -> Option<&'static str> {
    let name = name.replace('/', ".");
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    if name == "kernel.sem" || ipc.iter().any(|prefix| name.starts_with(prefix)) {
        Some("ipc")
    } else if name.starts_with("net.") {
        Some("net")
    } else {
        None
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    name.len() <= MAX_SYSCTL_LENGTH
        && name.split(['.', '/']).all(|part| {
            edge(part.bytes().next())
                && edge(part.bytes().next_back())
                && part
                    .bytes()
                    .all(|b| edge(Some(b)) || matches!(b, b'-' | b'_'))
        })
}

fn validate_seccomp(context: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(profile) = struct_at(context, &["seccompProfile"]) else {
        return;
    };
    let path = path.child("seccompProfile");
    let kind = str_at(profile, &["type"]);
    validate_profile_type(kind, "seccompProfile", &path, errors);
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    let path = path.child("localhostProfile");
    match (kind, local) {
        ("Localhost", None) => errors.push(Error::required(
            &path,
            "must be set when seccomp type is Localhost",
        )),
        ("Localhost", Some(local)) => files::validate_descending(local, &path, errors),
        (_, Some(_)) => errors.push(Error::invalid(
            &path,
            profile.clone(),
            "can only be set when seccomp type is Localhost",
        )),
        (_, None) => {}
    }
}

fn validate_profile_type(kind: &str, field: &str, path: &Path, errors: &mut ErrorList) {
    let path = path.child("type");
    if kind.is_empty() {
        let message = format!("type is required when {field} is set");
        errors.push(Error::required(&path, message));
    } else {
        let supported = &["Localhost", "RuntimeDefault", "Unconfined"];
        validate::one_of(errors, &path, kind, supported, true);
    }
}

pub(crate) fn validate_app_armor(context: &Value, path: &Path, errors: &mut ErrorList) {
    const MISSING: &str = "must be set when AppArmor type is Localhost";
    let Some(profile) = struct_at(context, &["appArmorProfile"]) else {
        return;
    };
    let path = path.child("appArmorProfile");
    let kind = str_at(profile, &["type"]);
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    let local_path = path.child("localhostProfile");
    match (kind, local) {
        ("Localhost", None | Some("")) => errors.push(Error::required(&local_path, MISSING)),
        ("Localhost", Some(local)) => {
            if local.trim() != local {
                errors.push(Error::invalid(
                    &local_path,
                    local,
                    "must not be padded with whitespace",
                ));
            }
            if local.len() > MAX_PROFILE_PATH_BYTES {
                errors.push(Error::too_long(&local_path, MAX_PROFILE_PATH_BYTES));
            }
        }
        ("RuntimeDefault" | "Unconfined", Some(local)) => errors.push(Error::invalid(
            &local_path,
            local,
            "can only be set when AppArmor type is Localhost",
        )),
        _ => validate_profile_type(kind, "appArmorProfile", &path, errors),
    }
}

/// A container's security context. `host_users`: whether the pod's users are the node's.
pub(super) fn validate_container(
    container: &Value,
    host_users: bool,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(context) = struct_at(container, &["securityContext"]) else {
        return;
    };
    for field in ["runAsUser", "runAsGroup"] {
        validate_id(context, field, path, errors);
    }
    validate::one_of(
        errors,
        &path.child("procMount"),
        str_at(context, &["procMount"]),
        &["Default", "Unmasked"],
        false,
    );
    if host_users && str_at(context, &["procMount"]) == "Unmasked" {
        errors.push(Error::invalid(
            &path.child("procMount"),
            "Unmasked",
            "`hostUsers` must be false to use `Unmasked`",
        ));
    }
    validate_seccomp(context, path, errors);
    validate_escalation(context, path, errors);
    windows::validate_options(context, path, errors);
    validate_app_armor(context, path, errors);
}

fn validate_escalation(context: &Value, path: &Path, errors: &mut ErrorList) {
    let no_escalation = at(context, &["allowPrivilegeEscalation"]) == Some(&Value::Bool(false));
    if !no_escalation {
        return;
    }
    if bool_at(context, &["privileged"]) {
        errors.push(Error::invalid(
            path,
            context.clone(),
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ));
    }
    if list_at(context, &["capabilities", "add"])
        .iter()
        .any(|capability| capability.as_str() == Some("CAP_SYS_ADMIN"))
    {
        errors.push(Error::invalid(
            path,
            context.clone(),
            "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN",
        ));
    }
}
