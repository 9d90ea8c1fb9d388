//! Validation of security contexts.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, bool_at, i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{MAX_I32, volumes};
use crate::validate;

const MAX_SYSCTL_LENGTH: usize = 253;

fn validate_id(owner: &Value, field: &'static str, path: &Path, errors: &mut ErrorList) {
    if let Some(id) = i64_at(owner, &[field]) {
        for message in names::in_range(id, 0, MAX_I32) {
            errors.push(Error::invalid(&path.child(field), id, message));
        }
    }
}

/// The pod's security context and the namespaces it shares with the host.
pub(super) fn validate_pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("securityContext");
    if bool_at(spec, &["shareProcessNamespace"]) && bool_at(spec, &["hostPID"]) {
        errors.push(Error::invalid(
            &path.child("shareProcessNamespace"),
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        ));
    }
    let Some(context) = struct_at(spec, &["securityContext"]) else {
        return;
    };
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
    validate_sysctls(context, &path.child("sysctls"), errors);
    validate::one_of(
        errors,
        &path.child("fsGroupChangePolicy"),
        str_at(context, &["fsGroupChangePolicy"]),
        &["Always", "OnRootMismatch"],
        false,
    );
    validate_seccomp(context, &path, errors);
}

fn validate_sysctls(context: &Value, path: &Path, errors: &mut ErrorList) {
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
    if !matches!(kind, "Localhost" | "RuntimeDefault" | "Unconfined") {
        errors.push(Error::not_supported(
            &path.child("type"),
            kind,
            &["Localhost", "RuntimeDefault", "Unconfined"],
        ));
    }
    let local = profile.get("localhostProfile").and_then(Value::as_str);
    let path = path.child("localhostProfile");
    match (kind, local) {
        ("Localhost", None) => errors.push(Error::required(
            &path,
            "must be set when seccomp type is Localhost",
        )),
        ("Localhost", Some(local)) => volumes::validate_descending(local, &path, errors),
        (_, Some(_)) => errors.push(Error::invalid(
            &path,
            profile.clone(),
            "can only be set when seccomp type is Localhost",
        )),
        (_, None) => {}
    }
}

/// A container's security context.
pub(super) fn validate_container(container: &Value, path: &Path, errors: &mut ErrorList) {
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
    validate_seccomp(context, path, errors);
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
