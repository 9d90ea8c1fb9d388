//! Validation of containers, init containers and ephemeral containers.

use std::collections::HashSet;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{i64_at, list_at, str_at, struct_at},
};
use serde_json::Value;

use super::{
    Within, devices, env, is_sidecar, kept, mounts, probes, resources, security, volumes::Volumes,
};
use crate::validate;

const MAX_RESTART_RULES: usize = 20;
const MAX_EXIT_CODES: usize = 255;

/// Fields that an ephemeral container may have.
const EPHEMERAL_FIELDS: &[&str] = &[
    "args",
    "command",
    "env",
    "envFrom",
    "image",
    "imagePullPolicy",
    "name",
    "resources",
    "securityContext",
    "stdin",
    "stdinOnce",
    "targetContainerName",
    "terminationMessagePath",
    "terminationMessagePolicy",
    "tty",
    "volumeDevices",
    "volumeMounts",
    "workingDir",
];

pub(super) fn validate_all(
    spec: &Value,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate_containers(spec, volumes, &path.child("containers"), errors);
    validate_init(spec, volumes, &path.child("initContainers"), errors);
    validate_ephemeral(spec, volumes, &path.child("ephemeralContainers"), errors);
}

fn validate_containers(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let containers = list_at(spec, &["containers"]);
    if containers.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = HashSet::new();
    let mut host_ports = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = path.index(index);
        validate_common(spec, container, volumes, &path, errors);
        let name = str_at(container, &["name"]);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        validate_restart_policy(container, &path, errors);
        validate_restart_rules(container, &path, errors);
        probes::validate_lifecycle(container, grace(spec), &path, errors);
        probes::validate_probes(container, &path, errors);
    }
    for (index, container) in containers.iter().enumerate() {
        check_host_ports(container, &mut host_ports, &path.index(index), errors);
    }
}

fn validate_init(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let mut seen: HashSet<&str> = names_of(spec, "containers").collect();
    for (index, container) in list_at(spec, &["initContainers"]).iter().enumerate() {
        let path = path.index(index);
        validate_common(spec, container, volumes, &path, errors);
        let name = str_at(container, &["name"]);
        if !seen.insert(name) && !name.is_empty() {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        // Init containers run one by one: no conflict between two of them.
        check_host_ports(container, &mut HashSet::new(), &path, errors);
        validate_restart_policy(container, &path, errors);
        // Upstream looks at the rules of one that has a policy of its own.
        if container.get("restartPolicy").is_some_and(Value::is_string) {
            validate_restart_rules(container, &path, errors);
        }
        if is_sidecar(container) {
            probes::validate_lifecycle(container, grace(spec), &path, errors);
            probes::validate_probes(container, &path, errors);
            continue;
        }
        for field in [
            "lifecycle",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
        ] {
            if struct_at(container, &[field]).is_some() {
                errors.push(Error::forbidden(
                    &path.child(field),
                    "may not be set for init containers without restartPolicy=Always",
                ));
            }
        }
        kept::validate_resize(container, &path.child("resizePolicy"), errors);
    }
}

/// What a rule may have done: the container or all of its pod started anew.
const RESTART_ACTIONS: &[&str] = &["Restart", "RestartAllContainers"];

/// A policy of the container's own, which rules ask for.
fn validate_restart_policy(container: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = list_at(container, &["restartPolicyRules"]);
    let at = path.child("restartPolicy");
    let policies = &["Always", "Never", "OnFailure"];
    match container.get("restartPolicy").and_then(Value::as_str) {
        // A pointer in Go: "" is a policy, too, and none of these.
        Some(policy) if !policies.contains(&policy) => {
            errors.push(Error::not_supported(&at, policy, policies));
        }
        None if !rules.is_empty() => {
            let why = "must specify restartPolicy when restart rules are used";
            errors.push(Error::required(&at, why));
        }
        _ => {}
    }
}

/// Rules that go before the container's own policy.
fn validate_restart_rules(container: &Value, path: &Path, errors: &mut ErrorList) {
    let rules = list_at(container, &["restartPolicyRules"]);
    let path = path.child("restartPolicyRules");
    if rules.len() > MAX_RESTART_RULES {
        errors.push(Error::too_many(&path, rules.len(), MAX_RESTART_RULES));
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let action = str_at(rule, &["action"]);
        if !RESTART_ACTIONS.contains(&action) {
            let path = path.child("action");
            errors.push(Error::not_supported(&path, action, RESTART_ACTIONS));
        }
        let path = path.child("exitCodes");
        let Some(codes) = struct_at(rule, &["exitCodes"]) else {
            errors.push(Error::required(&path, "must be specified"));
            continue;
        };
        let operator = str_at(codes, &["operator"]);
        let operators = &["In", "NotIn"];
        if !operators.contains(&operator) {
            let path = path.child("operator");
            errors.push(Error::not_supported(&path, operator, operators));
        }
        let values = list_at(codes, &["values"]).len();
        if values > MAX_EXIT_CODES {
            errors.push(Error::too_many(
                &path.child("values"),
                values,
                MAX_EXIT_CODES,
            ));
        }
    }
}

fn validate_ephemeral(spec: &Value, volumes: &Volumes<'_>, path: &Path, errors: &mut ErrorList) {
    let others: HashSet<&str> = names_of(spec, "containers")
        .chain(names_of(spec, "initContainers"))
        .collect();
    let mut seen = others.clone();
    for (index, container) in list_at(spec, &["ephemeralContainers"]).iter().enumerate() {
        let path = path.index(index);
        validate_common(spec, container, volumes, &path, errors);
        let name = str_at(container, &["name"]);
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let target = str_at(container, &["targetContainerName"]);
        if !target.is_empty() && !others.contains(target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        for (field, value) in container.as_object().into_iter().flatten() {
            let empty_resources =
                field == "resources" && value.as_object().is_some_and(|map| map.is_empty());
            let refused = !EPHEMERAL_FIELDS.contains(&field.as_str()) || field == "resources";
            if refused && !value.is_null() && !empty_resources {
                errors.push(Error::forbidden(
                    &path.child(field.clone()),
                    "cannot be set for an Ephemeral Container",
                ));
            }
        }
        for (index, mount) in list_at(container, &["volumeMounts"]).iter().enumerate() {
            for field in ["subPath", "subPathExpr"] {
                if !str_at(mount, &[field]).is_empty() {
                    errors.push(Error::forbidden(
                        &path.child("volumeMounts").index(index).child(field),
                        "cannot be set for an Ephemeral Container",
                    ));
                }
            }
        }
    }
}

fn names_of<'a>(spec: &'a Value, list: &str) -> impl Iterator<Item = &'a str> {
    list_at(spec, &[list])
        .iter()
        .map(|container| str_at(container, &["name"]))
}

/// The seconds a pod may take to end.
fn grace(spec: &Value) -> Option<i64> {
    i64_at(spec, &["terminationGracePeriodSeconds"])
}

fn validate_common(
    spec: &Value,
    container: &Value,
    volumes: &Volumes<'_>,
    path: &Path,
    errors: &mut ErrorList,
) {
    validate::required(errors, container, "name", path, names::dns1123_label);
    validate::filled(errors, container, &["image"], path);
    validate::one_of(
        errors,
        &path.child("terminationMessagePolicy"),
        str_at(container, &["terminationMessagePolicy"]),
        &["File", "FallbackToLogsOnError"],
        true,
    );
    validate_ports(container, &path.child("ports"), errors);
    env::validate(container, path, errors);
    mounts::validate_mounts(container, volumes, path, errors);
    devices::validate(container, volumes, path, errors);
    validate::one_of(
        errors,
        &path.child("imagePullPolicy"),
        str_at(container, &["imagePullPolicy"]),
        &["Always", "IfNotPresent", "Never"],
        true,
    );
    resources::validate_requirements(container, &path.child("resources"), errors);
    let policy = str_at(spec, &["restartPolicy"]);
    resources::validate_resize(container, policy, &path.child("resizePolicy"), errors);
    let host_users = security::host_users(spec);
    security::validate_container(
        container,
        host_users,
        &path.child("securityContext"),
        errors,
    );
}

fn validate_ports(container: &Value, path: &Path, errors: &mut ErrorList) {
    let mut seen = HashSet::new();
    for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
        let path = path.index(index);
        let name = str_at(port, &["name"]);
        if !name.is_empty() {
            let messages = names::port_name(name);
            if !messages.is_empty() {
                validate::each(errors, &path.child("name"), name, messages);
            } else if !seen.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        match i64_at(port, &["containerPort"]).unwrap_or_default() {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number => validate::port(errors, &path.child("containerPort"), Some(number)),
        }
        let host_port = i64_at(port, &["hostPort"]).unwrap_or_default();
        if host_port != 0 {
            validate::port(errors, &path.child("hostPort"), Some(host_port));
        }
        validate::protocol(errors, port, &path);
    }
}

fn check_host_ports(
    container: &Value,
    taken: &mut HashSet<String>,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
        let number = i64_at(port, &["hostPort"]).unwrap_or_default();
        if number == 0 {
            continue;
        }
        let key = format!(
            "{}/{}/{number}",
            str_at(port, &["protocol"]),
            str_at(port, &["hostIP"])
        );
        let path = path.child("ports").index(index).child("hostPort");
        if taken.contains(&key) {
            errors.push(Error::duplicate(&path, key));
        } else {
            taken.insert(key);
        }
    }
}

/// On the node's network a container's port is the node's. A template may leave the latter out: its pods get it.
pub(super) fn validate_host_network(
    spec: &Value,
    within: Within,
    path: &Path,
    errors: &mut ErrorList,
) {
    for (index, container) in list_at(spec, &["containers"]).iter().enumerate() {
        let path = path.index(index).child("ports");
        for (index, port) in list_at(container, &["ports"]).iter().enumerate() {
            let number = |field: &str| i64_at(port, &[field]).unwrap_or_default();
            let host = number("hostPort");
            if (within != Within::Template || host != 0) && host != number("containerPort") {
                errors.push(Error::invalid(
                    &path.index(index).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
}
