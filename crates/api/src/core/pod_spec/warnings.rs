//! What pods and templates are warned of: upstream's `pkg/api/pod/warnings.go`.

mod ports;
mod volumes;

pub(crate) use volumes::claim_spec;

use std::collections::HashSet;

use knarr_meta::{
    field::{Path, quote},
    object::{i64_at, list_at, map_at, str_at, struct_at},
};
use serde_json::{Value, json};

use crate::warnings::{self, Warnings, node_label};

/// Annotations of pods that have lost their meaning.
const DEPRECATED_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];
const POD_SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
const CONTAINER_SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";
const CONTAINER_APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SECCOMP_TEXT: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APPARMOR_TEXT: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
const NULL_SELECTOR: &str = "a null labelSelector results in matching no pod";
/// Resources that are counted in bytes.
const BYTES: [&str; 2] = ["memory", "ephemeral-storage"];

/// Warnings of a new pod. What changes a pod is not looked at, as upstream: it is done often, and by programs.
pub(crate) fn of_pod(pod: &Value, out: &mut Warnings) {
    of(pod, &Path::root(), false, out);
}

/// Warnings of the template at `path`.
pub(crate) fn of_template(template: &Value, path: &Path, out: &mut Warnings) {
    of(template, path, true, out);
}

/// Warnings of the template of a workload, where the object is new or its generation has changed: what changes the status alone
/// says nothing of the template.
pub(crate) fn of_workload(object: &Value, old: Option<&Value>, out: &mut Warnings) {
    let generation = |object| i64_at(object, &["metadata", "generation"]);
    if old.is_none_or(|old| generation(old) != generation(object))
        && let Some(template) = struct_at(object, &["spec", "template"])
    {
        of_template(template, &Path::new("spec").child("template"), out);
    }
}

fn of(pod: &Value, path: &Path, is_template: bool, out: &mut Warnings) {
    let empty = Value::Null;
    let spec = pod.get("spec").unwrap_or(&empty);
    let metadata = pod.get("metadata").unwrap_or(&empty);
    let (spec_path, metadata_path) = (path.child("spec"), path.child("metadata"));
    nodes(spec, &spec_path, out);
    warnings::annotations(metadata, DEPRECATED_ANNOTATIONS, &metadata_path, out);
    volumes::check(spec, &spec_path, out);
    duplicates(spec, "hostAliases", "ip", &spec_path, out);
    duplicates(spec, "imagePullSecrets", "name", &spec_path, out);
    for (index, secret) in list_at(spec, &["imagePullSecrets"]).iter().enumerate() {
        if str_at(secret, &["name"]).is_empty() {
            let path = spec_path.child("imagePullSecrets").index(index);
            out.at(&path.child("name"), "invalid empty name \"\"");
        }
    }
    if let Some(overhead) = spec.get("overhead") {
        for name in BYTES {
            warnings::fractional(overhead, name, &spec_path.child("overhead"), out);
        }
    }
    profiles(spec, metadata, path, is_template, out);
    for (container, path) in containers(spec, &spec_path) {
        for list in ["limits", "requests"] {
            if let Some(amounts) = struct_at(container, &["resources", list]) {
                let path = path.child("resources").child(list);
                for name in BYTES {
                    warnings::fractional(amounts, name, &path, out);
                }
            }
        }
        hidden(container, &path, out);
    }
    ports::check(spec, &spec_path, out);
    if i64_at(spec, &["terminationGracePeriodSeconds"]).is_some_and(|seconds| seconds < 0) {
        out.at(
            &spec_path.child("terminationGracePeriodSeconds"),
            "must be >= 0; negative values are invalid and will be treated as 1",
        );
    }
    affinity(spec, &spec_path, out);
    let servers = list_at(spec, &["dnsConfig", "nameservers"]);
    for (index, server) in servers.iter().enumerate() {
        let path = spec_path.child("dnsConfig").child("nameservers");
        warnings::ip(&path.index(index), server.as_str().unwrap_or_default(), out);
    }
    for (index, alias) in list_at(spec, &["hostAliases"]).iter().enumerate() {
        let path = spec_path.child("hostAliases").index(index).child("ip");
        warnings::ip(&path, str_at(alias, &["ip"]), out);
    }
}

/// The containers of all kinds, in upstream's order, with their paths.
fn containers<'v>(spec: &'v Value, path: &Path) -> Vec<(&'v Value, Path)> {
    let mut found = Vec::new();
    for field in ["initContainers", "containers", "ephemeralContainers"] {
        for (index, container) in list_at(spec, &[field]).iter().enumerate() {
            found.push((container, path.child(field).index(index)));
        }
    }
    found
}

/// Labels of nodes that selectors, affinity and spread constraints name.
fn nodes(spec: &Value, path: &Path, out: &mut Warnings) {
    for key in map_at(spec, &["nodeSelector"])
        .into_iter()
        .flat_map(|map| map.keys())
    {
        if let Some(text) = node_label(key) {
            out.at(&path.child("nodeSelector").key(key.as_str()), text);
        }
    }
    let affinity = ["affinity", "nodeAffinity"];
    let affinity_path = path.child("affinity").child("nodeAffinity");
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let node_affinity = struct_at(spec, &affinity).unwrap_or(&Value::Null);
    let terms = list_at(node_affinity, &[REQUIRED, "nodeSelectorTerms"]);
    for (index, term) in terms.iter().enumerate() {
        let path = affinity_path.child(REQUIRED).child("nodeSelectorTerms");
        warnings::node_selector_term(term, false, &path.index(index), out);
    }
    for (index, term) in list_at(node_affinity, &[PREFERRED]).iter().enumerate() {
        let path = affinity_path
            .child(PREFERRED)
            .index(index)
            .child("preference");
        let preference = term.get("preference").unwrap_or(&Value::Null);
        warnings::node_selector_term(preference, true, &path, out);
    }
    let constraints = list_at(spec, &["topologySpreadConstraints"]);
    for (index, constraint) in constraints.iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(index);
        let key = str_at(constraint, &["topologyKey"]);
        if let Some(text) = node_label(key) {
            out.at(&path.child("topologyKey"), format_args!("{key} is {text}"));
        }
        if struct_at(constraint, &["labelSelector"]).is_none() {
            out.at(&path.child("labelSelector"), NULL_SELECTOR);
        }
    }
}

/// Elements of a list that name the same.
fn duplicates(
    spec: &Value,
    list: &'static str,
    key: &'static str,
    path: &Path,
    out: &mut Warnings,
) {
    let mut seen = HashSet::new();
    for (index, element) in list_at(spec, &[list]).iter().enumerate() {
        let value = str_at(element, &[key]);
        if !seen.insert(value) {
            let path = path.child(list).index(index).child(key);
            out.at(&path, format_args!("duplicate {key} {}", quote(value)));
        }
    }
}

/// Annotations of security profiles, where there is no field that says the same.
fn profiles(spec: &Value, metadata: &Value, path: &Path, is_template: bool, out: &mut Warnings) {
    let annotations = map_at(metadata, &["annotations"]);
    let Some(annotations) = annotations.filter(|annotations| !annotations.is_empty()) else {
        return;
    };
    let path_of = |key: &str| path.child("metadata").child("annotations").key(key);
    let profile = |of, field| struct_at(of, &["securityContext", field]);
    if profile(spec, "seccompProfile").is_none() && annotations.contains_key(POD_SECCOMP) {
        out.at(&path_of(POD_SECCOMP), SECCOMP_TEXT);
    }
    for (container, _) in containers(spec, path) {
        let name = str_at(container, &["name"]);
        let key = format!("{CONTAINER_SECCOMP}{name}");
        if profile(container, "seccompProfile").is_none() && annotations.contains_key(&key) {
            out.at(&path_of(&key), SECCOMP_TEXT);
        }
        let key = format!("{CONTAINER_APPARMOR}{name}");
        if is_template
            && profile(container, "appArmorProfile").is_none()
            && let Some(annotation) = annotations.get(&key).and_then(Value::as_str)
            && profile(spec, "appArmorProfile") != apparmor_profile(annotation).as_ref()
        {
            out.at(&path_of(&key), APPARMOR_TEXT);
        }
    }
}

/// The field that says what an annotation of a container's AppArmor profile says. None for what says nothing.
pub(crate) fn apparmor_profile(annotation: &str) -> Option<Value> {
    match annotation {
        "unconfined" => Some(json!({"type": "Unconfined"})),
        "runtime/default" => Some(json!({"type": "RuntimeDefault"})),
        other => {
            let profile = other
                .strip_prefix("localhost/")
                .filter(|name| !name.is_empty())?;
            Some(json!({"type": "Localhost", "localhostProfile": profile}))
        }
    }
}

/// Variables that hide earlier ones of their name without using them.
fn hidden(container: &Value, path: &Path, out: &mut Warnings) {
    let mut seen = HashSet::new();
    for (index, variable) in list_at(container, &["env"]).iter().enumerate() {
        let name = str_at(variable, &["name"]);
        if seen.insert(name) {
            continue;
        }
        let (value, reference) = (str_at(variable, &["value"]), format!("$({name})"));
        let uses = value != reference && value.contains(&reference);
        if !uses || struct_at(variable, &["valueFrom"]).is_some() {
            out.at(
                &path.child("env").index(index),
                format_args!(
                    "hides previous definition of {}, which may be dropped when using apply",
                    quote(name)
                ),
            );
        }
    }
}

/// Terms of affinity between pods that select none.
fn affinity(spec: &Value, path: &Path, out: &mut Warnings) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (list, inner) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", None),
            (
                "preferredDuringSchedulingIgnoredDuringExecution",
                Some("podAffinityTerm"),
            ),
        ] {
            let terms = list_at(spec, &["affinity", kind, list]);
            for (index, term) in terms.iter().enumerate() {
                let mut path = path.child("affinity").child(kind).child(list).index(index);
                let mut term = Some(term);
                if let Some(inner) = inner {
                    path = path.child(inner);
                    term = term.and_then(|term| struct_at(term, &[inner]));
                }
                let selector = term.and_then(|term| struct_at(term, &["labelSelector"]));
                if selector.is_none() {
                    out.at(&path.child("labelSelector"), NULL_SELECTOR);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
