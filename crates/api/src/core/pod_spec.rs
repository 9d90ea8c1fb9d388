//! What pods and pod templates share: defaults and validation of a PodSpec.

mod claims;
mod containers;
mod defaults;
mod devices;
mod dns;
mod env;
mod files;
mod image;
pub mod kept;
mod mounts;
mod probes;
mod projections;
pub(crate) mod resources;
mod scheduling;
mod security;
mod spread;
mod volumes;
pub(crate) mod warnings;
mod windows;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, bool_at, i64_at, list_at, map_at, str_at, struct_at},
    object_meta,
};
use serde_json::Value;

pub(crate) use defaults::{canonicalize_resources, default_pod, default_pod_spec};
pub(crate) use files::{validate_descending, validate_no_backsteps};
pub(crate) use resources::is_whole_resource;
pub(crate) use scheduling::{validate_node_selector, validate_taints, validate_tolerations};
pub(crate) use security::validate_app_armor;
pub(crate) use volumes::{
    validate_created_claims, validate_csi_driver_name, validate_declared_driver_name,
    validate_host_path,
};
pub(crate) use warnings::apparmor_profile;

use crate::validate;

/// Largest number that fits the API's 32-bit integers.
const MAX_I32: i64 = i32::MAX as i64;

/// What a spec belongs to: some rules are for pods only, since templates were written before there were such rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Within {
    Pod,
    /// A pod that is there: its volumes are what they were when it was made, by whatever rules there were.
    StoredPod,
    Template,
}

/// Validates a spec of a pod or of a template, after defaulting, in upstream's order.
pub(crate) fn validate_pod_spec(spec: &Value, within: Within, path: &Path, errors: &mut ErrorList) {
    let volumes = volumes::validate_volumes(spec, within, path, errors);
    claims::validate(spec, path, errors);
    containers::validate_all(spec, &volumes, path, errors);
    claims::validate_used(spec, path, errors);
    resources::validate_of_pod(spec, path, errors);
    if host_network(spec) {
        containers::validate_host_network(spec, within, &path.child("containers"), errors);
    }
    validate_policy(spec, RESTART_POLICY, path, errors);
    validate_policy(spec, DNS_POLICY, path, errors);
    if let Some(labels) = map_at(spec, &["nodeSelector"]) {
        object_meta::validate_labels(labels, &path.child("nodeSelector"), errors);
    }
    security::validate_pod(spec, path, errors);
    security::validate_shared_processes(spec, path, errors);
    scheduling::validate_affinity(spec, &path.child("affinity"), errors);
    dns::validate_config(spec, &path.child("dnsConfig"), errors);
    scheduling::validate_gates(spec, path, errors);
    spread::validate(spec, &path.child("topologySpreadConstraints"), errors);
    windows::validate_host_processes(spec, path, errors);
    security::validate_host_users(spec, path, errors);
    for field in ["serviceAccountName", "nodeName"] {
        validate::optional(errors, spec, field, path, names::dns1123_subdomain);
    }
    if let Some(seconds) = i64_at(spec, &["activeDeadlineSeconds"]) {
        for message in names::in_range(seconds, 1, MAX_I32) {
            errors.push(Error::invalid(
                &path.child("activeDeadlineSeconds"),
                seconds,
                message,
            ));
        }
    }
    for field in ["hostname", "subdomain"] {
        validate::optional(errors, spec, field, path, names::dns1123_label);
    }
    dns::validate_hostname_override(spec, path, errors);
    let tolerations = list_at(spec, &["tolerations"]);
    validate_tolerations(tolerations, &path.child("tolerations"), errors);
    dns::validate_host_aliases(spec, &path.child("hostAliases"), errors);
    for field in ["priorityClassName", "runtimeClassName"] {
        validate::optional(errors, spec, field, path, names::dns1123_subdomain);
    }
    validate_policy(spec, PREEMPTION_POLICY, path, errors);
    if let Some(overhead) = struct_at(spec, &["overhead"]) {
        resources::validate_overhead(overhead, &path.child("overhead"), errors);
    }
    validate_os(spec, path, errors);
    env::validate_file_volumes(spec, path, errors);
    if within != Within::Template {
        validate_only_for_pod(spec, path, errors);
    }
}

/// A field, its values, and whether there has to be one.
type Policy = (&'static str, &'static [&'static str], bool);

const RESTART_POLICY: Policy = ("restartPolicy", &["Always", "OnFailure", "Never"], true);
const DNS_POLICY: Policy = (
    "dnsPolicy",
    &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    true,
);
const PREEMPTION_POLICY: Policy = (
    "preemptionPolicy",
    &["PreemptLowerPriority", "Never"],
    false,
);

fn validate_policy(
    spec: &Value,
    (field, values, required): Policy,
    path: &Path,
    errors: &mut ErrorList,
) {
    let value = str_at(spec, &[field]);
    validate::one_of(errors, &path.child(field), value, values, required);
}

fn validate_os(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let Some(os) = struct_at(spec, &["os"]) else {
        return;
    };
    let os_path = path.child("os");
    match str_at(os, &["name"]) {
        "" => errors.push(Error::required(&os_path.child("name"), "")),
        "linux" => windows::refuse_options(spec, path, errors),
        "windows" => windows::validate(spec, path, errors),
        other => errors.push(Error::not_supported(&os_path, other, &["linux", "windows"])),
    }
}

/// Validates a template of pods. `path` is the template's.
pub(crate) fn validate_template(template: &Value, path: &Path, errors: &mut ErrorList) {
    if let Some(labels) = map_at(template, &["metadata", "labels"]) {
        object_meta::validate_labels(labels, &path.child("labels"), errors);
    }
    if let Some(annotations) = map_at(template, &["metadata", "annotations"]) {
        object_meta::validate_annotations(annotations, &path.child("annotations"), errors);
    }
    let spec = template.get("spec").unwrap_or(&Value::Null);
    validate_pod_spec(spec, Within::Template, &path.child("spec"), errors);
    if !list_at(spec, &["ephemeralContainers"]).is_empty() {
        errors.push(Error::forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

fn validate_only_for_pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
    if str_at(spec, &["serviceAccountName"]).is_empty() {
        for (index, volume) in list_at(spec, &["volumes"]).iter().enumerate() {
            let path = path.child("volumes").index(index).child("projected");
            let sources = list_at(volume, &["projected", "sources"]);
            for (index, source) in sources.iter().enumerate() {
                if struct_at(source, &["serviceAccountToken"]).is_some() {
                    errors.push(Error::forbidden(
                        &path
                            .child("sources")
                            .index(index)
                            .child("serviceAccountToken"),
                        "must not be specified when serviceAccountName is not set",
                    ));
                }
            }
        }
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in list_at(spec, &[list]).iter().enumerate() {
            let image = str_at(container, &["image"]);
            if image.trim() != image {
                errors.push(Error::invalid(
                    &path.child(list).index(index).child("image"),
                    image,
                    "must not have leading or trailing whitespace",
                ));
            }
        }
    }
}

/// The containers' names and images, comma separated, as tables show them.
pub(crate) fn names_and_images(template: &Value) -> (String, String) {
    let containers = list_at(template, &["spec", "containers"]);
    let column = |field: &str| {
        let values: Vec<&str> = containers.iter().map(|c| str_at(c, &[field])).collect();
        values.join(",")
    };
    (column("name"), column("image"))
}

/// True for an init container that runs beside the others.
pub(crate) fn is_sidecar(container: &Value) -> bool {
    object::str_at(container, &["restartPolicy"]) == "Always"
}

/// Whether the pod shares the node's network.
pub(crate) fn host_network(spec: &Value) -> bool {
    bool_at(spec, &["hostNetwork"])
}

#[cfg(test)]
mod tests;
