//! What updates of a pod's status may say.

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use crate::validate;

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
    if !restarts_all(old) {
        let main = Some("containers");
        validate_transitions(new, old, "containerStatuses", main, &mut errors);
        let init = Some("initContainers");
        validate_transitions(new, old, "initContainerStatuses", init, &mut errors);
    }
    validate_transitions(new, old, "ephemeralContainerStatuses", None, &mut errors);
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
    let unreadable = ips.iter().position(|ip| names::lenient_ip(ip).is_none());
    if let Some(index) = unreadable.filter(|_| ips.len() > 1) {
        let why = format!(
            "failed to check for dual stack with error:invalid IP[{index}]: {}",
            ips[index]
        );
        errors.push(Error::internal(&path, why));
    }
    let six = |ip: &&str| ip.contains(':');
    let is_pair = unreadable.is_none() && ips.len() == 2 && six(&ips[0]) != six(&ips[1]);
    if ips.len() > 1 && !is_pair {
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

/// Whether a rule of any container may start all of them anew, whatever their own policies.
fn restarts_all(pod: &Value) -> bool {
    let lists = ["containers", "initContainers"].into_iter();
    let containers = lists.flat_map(|list| list_at(pod, &["spec", list]));
    let mut rules = containers.flat_map(|container| list_at(container, &["restartPolicyRules"]));
    rules.any(|rule| str_at(rule, &["action"]) == "RestartAllContainers")
}

/// A container that has ended for good stays so. `specs`: where those are that may start again.
fn validate_transitions(
    new: &Value,
    old: &Value,
    list: &'static str,
    specs: Option<&'static str>,
    errors: &mut ErrorList,
) {
    let now = list_at(new, &["status", list]);
    for (index, before) in list_at(old, &["status", list]).iter().enumerate() {
        let Some(terminated) = struct_at(before, &["state", "terminated"]) else {
            continue;
        };
        let name = str_at(before, &["name"]);
        let code = i64_at(terminated, &["exitCode"]).unwrap_or_default();
        let specs = specs.map(|specs| list_at(old, &["spec", specs]));
        let mut specs = specs.into_iter().flatten();
        let spec = specs.find(|container| str_at(container, &["name"]) == name);
        if spec.is_some_and(|container| may_restart(old, container, code)) {
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

/// Whether a container may run again that ended with this code: by its rules, by its own policy, or by that of its pod.
fn may_restart(pod: &Value, container: &Value, code: i64) -> bool {
    let own = str_at(container, &["restartPolicy"]);
    let rules = list_at(container, &["restartPolicyRules"]);
    let rule = rules.iter().find(|rule| {
        let values = list_at(rule, &["exitCodes", "values"]);
        let named = values.iter().any(|value| value.as_i64() == Some(code));
        match str_at(rule, &["exitCodes", "operator"]) {
            "In" => named,
            "NotIn" => !named,
            _ => false,
        }
    });
    if !own.is_empty() && rule.is_some_and(|rule| str_at(rule, &["action"]) == "Restart") {
        return true;
    }
    let policy = match own {
        "" => str_at(pod, &["spec", "restartPolicy"]),
        own => own,
    };
    match policy {
        "Never" => false,
        "OnFailure" => code != 0,
        _ => true,
    }
}
