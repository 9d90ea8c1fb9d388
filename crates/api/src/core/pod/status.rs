//! What updates of a pod's status may say.

use std::collections::{HashMap, HashSet, VecDeque};

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{at, child_mut, i64_at, list_at, str_at, struct_at},
};
use serde_json::{Map, Value};

use crate::{tree, validate};

/// What a status has of the one before where it does not say it: old kubelets leave it out.
pub(super) fn keep(new: &mut Value, old: &Value) {
    const CLAIMS: [&str; 3] = [
        "extendedResourceClaimStatus",
        "nodeAllocatableResourceClaimStatuses",
        "resourceClaimStatuses",
    ];
    let (Some(status), Some(before)) = (child_mut(new, "status"), old.get("status")) else {
        return;
    };
    let qos = str_at(before, &["qosClass"]);
    if !qos.is_empty() {
        tree::default_str(status, "qosClass", qos);
    }
    for field in CLAIMS {
        if let Some(claims) = before.get(field).filter(|claims| !claims.is_null()) {
            tree::default_value(status, field, claims.clone());
        }
    }
    keep_generations(status, before);
}

/// The generations that a status and its conditions were made of; of several conditions of a type, one after another.
fn keep_generations(status: &mut Map<String, Value>, before: &Value) {
    const GENERATION: &str = "observedGeneration";
    let of = |owner: &Value| i64_at(owner, &[GENERATION]).unwrap_or_default();
    if of(before) != 0 {
        tree::default_number(status, GENERATION, of(before));
    }
    let mut known: HashMap<&str, VecDeque<i64>> = HashMap::new();
    for condition in list_at(before, &["conditions"]) {
        let kind = str_at(condition, &["type"]);
        known.entry(kind).or_default().push_back(of(condition));
    }
    for condition in tree::items(status, "conditions") {
        let kind = tree::text(condition, "type");
        let generation = known.get_mut(kind).and_then(VecDeque::pop_front);
        if let Some(generation) = generation.filter(|generation| *generation != 0) {
            tree::default_number(condition, GENERATION, generation);
        }
    }
}

/// An update of the status.
pub(super) fn validate(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = Path::new("status");
    validate_conditions(new, &mut errors);
    validate_nomination(new, old, &path.child("nominatedNodeName"), &mut errors);
    let status = new.get("status").unwrap_or(&Value::Null);
    validate_generation(status, &path, &mut errors);
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
    validate_claims(new, &path.child("resourceClaimStatuses"), &mut errors);
    validate_ips(new, old, "podIPs", &mut errors);
    validate_first(new, "podIP", "podIPs", &mut errors);
    validate_ips(new, old, "hostIPs", &mut errors);
    validate_first(new, "hostIP", "hostIPs", &mut errors);
    errors
}

/// The node that the scheduler makes room on.
fn validate_nomination(new: &Value, old: &Value, path: &Path, errors: &mut ErrorList) {
    let of = |pod| str_at(pod, &["status", "nominatedNodeName"]);
    let nominated = of(new);
    if nominated.is_empty() || nominated == of(old) {
        return;
    }
    validate::each(errors, path, nominated, names::dns1123_subdomain(nominated));
    if !str_at(old, &["spec", "nodeName"]).is_empty() {
        let why = "may not be set on pods that are already bound to a node";
        errors.push(Error::forbidden(path, why));
    }
}

fn validate_generation(owner: &Value, path: &Path, errors: &mut ErrorList) {
    let generation = i64_at(owner, &["observedGeneration"]).unwrap_or_default();
    if generation < 0 {
        let why = "must be a non-negative integer";
        errors.push(Error::invalid(
            &path.child("observedGeneration"),
            generation,
            why,
        ));
    }
}

/// Claims that were made for those that the spec names.
fn validate_claims(pod: &Value, path: &Path, errors: &mut ErrorList) {
    let claims = list_at(pod, &["spec", "resourceClaims"]).iter();
    let known: HashSet<&str> = claims.map(|claim| str_at(claim, &["name"])).collect();
    let mut seen = HashSet::new();
    let statuses = list_at(pod, &["status", "resourceClaimStatuses"]);
    for (index, status) in statuses.iter().enumerate() {
        let path = path.index(index);
        let (name, name_path) = (str_at(status, &["name"]), path.child("name"));
        if !known.contains(name) {
            let why = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&name_path, name, why));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&name_path, name));
        }
        let rule = names::dns1123_subdomain;
        validate::optional_pointer(errors, status, "resourceClaimName", &path, rule);
    }
}

/// Conditions of others than Kubernetes have qualified names.
fn validate_conditions(pod: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("conditions");
    let conditions = list_at(pod, &["status", "conditions"]);
    for (index, condition) in conditions.iter().enumerate() {
        validate_generation(condition, &path.index(index), errors);
        let kind = str_at(condition, &["type"]);
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            let path = path.index(index).child("Type");
            validate::each(errors, &path, kind, names::qualified_name(kind));
        }
    }
}

/// Addresses of the pod or of its host: one of each family. Those that are stored may have been made under other rules.
fn validate_ips(new: &Value, old: &Value, list: &'static str, errors: &mut ErrorList) {
    let path = Path::new("status").child(list);
    let of = |pod| -> Vec<&str> {
        let ips = list_at(pod, &["status", list]).iter();
        ips.map(|ip| str_at(ip, &["ip"])).collect()
    };
    let (ips, stored) = (of(new), of(old));
    for (index, ip) in ips.iter().enumerate() {
        if !stored.contains(ip) {
            validate::each(errors, &path.index(index), ip, names::ip(ip));
        }
    }
    if ips.len() < 2 {
        return;
    }
    let unreadable = ips.iter().position(|ip| names::lenient_ip(ip).is_none());
    if let Some(index) = unreadable {
        let why = format!(
            "failed to check for dual stack with error:invalid IP[{index}]: {}",
            ips[index]
        );
        errors.push(Error::internal(&path, why));
    }
    let six = |ip: &&str| ip.contains(':');
    let is_pair = unreadable.is_none() && ips.len() == 2 && six(&ips[0]) != six(&ips[1]);
    if !is_pair {
        errors.push(Error::invalid(
            &path,
            list_at(new, &["status", list]).to_vec(),
            "may specify no more than one IP for each IP family",
        ));
    }
}

/// The address of old clients is the first of those of newer ones. That of a pod is there when they are.
fn validate_first(pod: &Value, one: &'static str, list: &'static str, errors: &mut ErrorList) {
    let path = Path::new("status").child(list);
    let all = list_at(pod, &["status", list]);
    let ip = str_at(pod, &["status", one]);
    let first = all.first().map(|first| str_at(first, &["ip"]));
    if one == "podIP" && ip.is_empty() != first.is_none() {
        let why = "podIP and podIPs must either both be set or both be unset";
        errors.push(Error::invalid(&path, all.to_vec(), why));
    } else if let Some(first) = first.filter(|first| *first != ip) {
        let why = format!("must be equal to `{one}`");
        errors.push(Error::invalid(&path.index(0).child("ip"), first, why));
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
