//! What updates of a pod's status may say.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::{core::pod_spec, validate};

/// An update of the status.
pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    validate_conditions(new, &mut errors);
    let nominated = str_at(new, &["status", "nominatedNodeName"]);
    if !nominated.is_empty() && nominated != str_at(old, &["status", "nominatedNodeName"]) {
        let messages = names::dns1123_subdomain(nominated);
        let path = path.child("nominatedNodeName");
        validate::each(&mut errors, &path, nominated, messages);
    }
    validate::immutable(
        &mut errors,
        &path.child("qosClass"),
        at(new, &["status", "qosClass"]),
        at(old, &["status", "qosClass"]),
    );
    let policy = str_at(old, &["spec", "restartPolicy"]);
    validate_transitions(new, old, "containerStatuses", policy, &mut errors);
    validate_transitions(new, old, "initContainerStatuses", policy, &mut errors);
    validate_transitions(new, old, "ephemeralContainerStatuses", "Never", &mut errors);
    validate_ips(new, "podIPs", &mut errors);
    validate_ips(new, "hostIPs", &mut errors);
    errors
}

/// Conditions of others than Kubernetes have qualified names. Upstream reports them under metadata.
fn validate_conditions(pod: &Value, errors: &mut ErrorList) {
    let path = Path::new("metadata").child("conditions");
    let conditions = list_at(pod, &["status", "conditions"]);
    for (index, condition) in conditions.iter().enumerate() {
        let kind = str_at(condition, &["type"]);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let path = path.index(index).child("Type");
            validate::each(errors, &path, kind, names::qualified_name(kind));
        }
    }
}

/// Addresses of the pod or of its host: one of each family, and for the host the first as in `hostIP`.
fn validate_ips(pod: &Value, list: &'static str, errors: &mut ErrorList) {
    let path = Path::new("status").child(list);
    let all = list_at(pod, &["status", list]);
    let ips: Vec<&str> = all.iter().map(|ip| str_at(ip, &["ip"])).collect();
    let Some(first) = ips.first() else { return };
    if list == "hostIPs" && *first != str_at(pod, &["status", "hostIP"]) {
        errors.push(Error::invalid(
            &path.index(0).child("ip"),
            *first,
            "must be equal to `hostIP`",
        ));
    }
    for (index, ip) in ips.iter().enumerate() {
        validate::each(errors, &path.index(index), ip, names::ip(ip));
    }
    let six = |ip: &&str| ip.contains(':');
    if ips.len() > 2 || (ips.len() == 2 && six(&ips[0]) == six(&ips[1])) {
        errors.push(Error::invalid(
            &path,
            all.to_vec(),
            "may specify no more than one IP for each IP family",
        ));
    }
    for (index, ip) in ips.iter().enumerate() {
        if ips[..index].contains(ip) {
            errors.push(Error::duplicate(&path.index(index), all[index].clone()));
        }
    }
}

/// A container that has ended for good stays so.
fn validate_transitions(
    new: &Value,
    old: &Value,
    list: &'static str,
    policy: &str,
    errors: &mut ErrorList,
) {
    if policy == "Always" {
        return;
    }
    let now = list_at(new, &["status", list]);
    for (index, before) in list_at(old, &["status", list]).iter().enumerate() {
        let Some(terminated) = struct_at(before, &["state", "terminated"]) else {
            continue;
        };
        let name = str_at(before, &["name"]);
        let failed = i64_at(terminated, &["exitCode"]).unwrap_or_default() != 0;
        if failed && policy == "OnFailure" || is_sidecar(old, name) {
            continue;
        }
        let revived = now.iter().any(|status| {
            str_at(status, &["name"]) == name
                && struct_at(status, &["state", "terminated"]).is_none()
        });
        if revived {
            errors.push(Error::forbidden(
                &Path::new("status").child(list).index(index).child("state"),
                "may not be transitioned to non-terminated state",
            ));
        }
    }
}

fn is_sidecar(pod: &Value, name: &str) -> bool {
    list_at(pod, &["spec", "initContainers"])
        .iter()
        .any(|container| str_at(container, &["name"]) == name && pod_spec::is_sidecar(container))
}
