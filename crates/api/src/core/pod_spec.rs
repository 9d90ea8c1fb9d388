//! What pods and pod templates share: defaults and validation of a PodSpec.

mod containers;
mod defaults;
mod env;
mod probes;
mod resources;
mod scheduling;
mod security;
mod volumes;

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{self, bool_at, i64_at, list_at, map_at, str_at, struct_at},
    object_meta,
};
use serde_json::Value;

pub(crate) use defaults::{canonicalize_resources, default_pod_spec, requests_from_limits};
pub(crate) use scheduling::{validate_taints, validate_tolerations};

use crate::validate;

/// Largest number that fits the API's 32-bit integers.
const MAX_I32: i64 = i32::MAX as i64;
const MAX_DNS_NAMESERVERS: usize = 3;
const MAX_DNS_SEARCH_PATHS: usize = 32;
const MAX_DNS_SEARCH_LIST_CHARS: usize = 2048;

/// Validates a spec of a pod or of a template, after defaulting.
pub(crate) fn validate_pod_spec(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let volumes = volumes::validate_volumes(spec, path, errors);
    containers::validate_all(spec, &volumes, path, errors);
    validate::one_of(
        errors,
        &path.child("restartPolicy"),
        str_at(spec, &["restartPolicy"]),
        &["Always", "OnFailure", "Never"],
        true,
    );
    validate_dns(spec, path, errors);
    if let Some(labels) = map_at(spec, &["nodeSelector"]) {
        object_meta::validate_labels(labels, &path.child("nodeSelector"), errors);
    }
    security::validate_pod(spec, path, errors);
    for (index, secret) in list_at(spec, &["imagePullSecrets"]).iter().enumerate() {
        if str_at(secret, &["name"]).is_empty() {
            let path = path.child("imagePullSecrets").index(index).child("name");
            errors.push(Error::required(&path, ""));
        }
    }
    scheduling::validate(spec, path, errors);
    validate_names(spec, path, errors);
    if let Some(seconds) = i64_at(spec, &["activeDeadlineSeconds"])
        && !(1..=MAX_I32).contains(&seconds)
    {
        errors.push(Error::invalid(
            &path.child("activeDeadlineSeconds"),
            seconds,
            names::range_message(1, MAX_I32),
        ));
    }
    validate_host_aliases(spec, path, errors);
    validate::one_of(
        errors,
        &path.child("preemptionPolicy"),
        str_at(spec, &["preemptionPolicy"]),
        &["PreemptLowerPriority", "Never"],
        false,
    );
    if struct_at(spec, &["overhead"]).is_some() {
        resources::validate_list(spec, "overhead", path, errors);
    }
    let os = str_at(spec, &["os", "name"]);
    if struct_at(spec, &["os"]).is_some() {
        let path = path.child("os").child("name");
        validate::one_of(errors, &path, os, &["linux", "windows"], true);
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
    validate_pod_spec(spec, &path.child("spec"), errors);
    if !list_at(spec, &["ephemeralContainers"]).is_empty() {
        errors.push(Error::forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

/// Checks that only pods, not templates, go through, as upstream for compatibility.
pub(crate) fn validate_only_for_pod(spec: &Value, path: &Path, errors: &mut ErrorList) {
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

fn validate_names(spec: &Value, path: &Path, errors: &mut ErrorList) {
    for field in [
        "serviceAccountName",
        "nodeName",
        "priorityClassName",
        "runtimeClassName",
    ] {
        validate::optional(errors, spec, field, path, names::dns1123_subdomain);
    }
    for field in ["hostname", "subdomain"] {
        validate::optional(errors, spec, field, path, names::dns1123_label);
    }
}

fn validate_dns(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let policy = str_at(spec, &["dnsPolicy"]);
    validate::one_of(
        errors,
        &path.child("dnsPolicy"),
        policy,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        true,
    );
    let path = path.child("dnsConfig");
    let config = struct_at(spec, &["dnsConfig"]);
    let nameservers = list_at(spec, &["dnsConfig", "nameservers"]);
    if policy == "None" {
        if config.is_none() {
            errors.push(Error::required(
                &path,
                "must provide `dnsConfig` when `dnsPolicy` is None",
            ));
            return;
        }
        if nameservers.is_empty() {
            errors.push(Error::required(
                &path.child("nameservers"),
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            ));
            return;
        }
    }
    let Some(config) = config else { return };
    if nameservers.len() > MAX_DNS_NAMESERVERS {
        errors.push(Error::invalid(
            &path.child("nameservers"),
            nameservers.to_vec(),
            format!("must not have more than {MAX_DNS_NAMESERVERS} nameservers"),
        ));
    }
    for (index, server) in nameservers.iter().filter_map(Value::as_str).enumerate() {
        if !names::ip(server).is_empty() {
            errors.push(Error::invalid(
                &path.child("nameservers").index(index),
                server,
                "must be valid IP address",
            ));
        }
    }
    validate_searches(list_at(config, &["searches"]), &path, errors);
    for (index, option) in list_at(config, &["options"]).iter().enumerate() {
        if str_at(option, &["name"]).is_empty() {
            errors.push(Error::required(
                &path.child("options").index(index),
                "must not be empty",
            ));
        }
    }
}

fn validate_searches(searches: &[Value], path: &Path, errors: &mut ErrorList) {
    let path = path.child("searches");
    if searches.len() > MAX_DNS_SEARCH_PATHS {
        errors.push(Error::invalid(
            &path,
            searches.to_vec(),
            format!("must not have more than {MAX_DNS_SEARCH_PATHS} search paths"),
        ));
    }
    let mut length = searches.len().saturating_sub(1);
    for (index, search) in searches.iter().filter_map(Value::as_str).enumerate() {
        length += search.len();
        let name = search.strip_suffix('.').unwrap_or(search);
        let messages = names::dns1123_subdomain(name);
        validate::each(errors, &path.index(index), name, messages);
    }
    if length > MAX_DNS_SEARCH_LIST_CHARS {
        errors.push(Error::invalid(
            &path,
            searches.to_vec(),
            format!(
                "must not have more than {MAX_DNS_SEARCH_LIST_CHARS} characters (including spaces) in the search list"
            ),
        ));
    }
}

fn validate_host_aliases(spec: &Value, path: &Path, errors: &mut ErrorList) {
    let path = path.child("hostAliases");
    for (index, alias) in list_at(spec, &["hostAliases"]).iter().enumerate() {
        let path = path.index(index);
        let ip = str_at(alias, &["ip"]);
        if !names::ip(ip).is_empty() {
            errors.push(Error::invalid(
                &path.child("ip"),
                ip,
                "must be valid IP address",
            ));
        }
        for name in list_at(alias, &["hostnames"])
            .iter()
            .filter_map(Value::as_str)
        {
            validate::each(
                errors,
                &path.child("hostnames"),
                name,
                names::dns1123_subdomain(name),
            );
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
