//! Validation of services.

use std::{collections::HashSet, net::IpAddr};

use knarr_meta::{
    field::{Error, ErrorList, Path},
    names,
    object::{annotation, at, i64_at, list_at, map_at, str_at, struct_at},
    object_meta::validate_labels,
};
use serde_json::{Value, json};

use super::{is_externally_accessible, is_headless, kind_of, needs_health_check};
use crate::validate;

const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";

/// `old` is what an update replaces: what it has may stay as it is.
pub(super) fn validate(service: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    validate_topology_annotations(service, errors);
    let path = Path::new("spec");
    let kind = kind_of(service);
    let ports = list_at(service, &["spec", "ports"]);
    if ports.is_empty() && !is_headless(service) && kind != "ExternalName" {
        errors.push(Error::required(&path.child("ports"), ""));
    }
    validate_for_type(service, kind, &path, errors);
    validate_ports(service, &path.child("ports"), errors);
    if let Some(selector) = map_at(service, &["spec", "selector"]) {
        validate_labels(selector, &path.child("selector"), errors);
    }
    validate_affinity(service, &path, errors);
    if kind != "ExternalName" {
        validate_addresses(service, &path, errors);
    }
    for (index, ip) in list_at(service, &["spec", "externalIPs"])
        .iter()
        .filter_map(Value::as_str)
        .enumerate()
    {
        let path = path.child("externalIPs").index(index);
        let messages = names::ip(ip);
        if messages.is_empty() {
            validate::non_special_ip(errors, &path, ip);
        } else {
            validate::each(errors, &path, ip, messages);
        }
    }
    validate::one_of(
        errors,
        &path.child("type"),
        kind,
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        true,
    );
    if kind == "ClusterIP" {
        for (index, port) in ports.iter().enumerate() {
            if i64_at(port, &["nodePort"]).unwrap_or_default() != 0 {
                errors.push(Error::forbidden(
                    &path.child("ports").index(index).child("nodePort"),
                    "may not be used when `type` is 'ClusterIP'",
                ));
            }
        }
    }
    validate_duplicate_ports(ports, &path.child("ports"), errors);
    validate_load_balancer(service, old, kind, &path, errors);
    validate_policies(service, kind, &path, errors);
}

/// The old and the new name of one annotation agree where both are there.
fn validate_topology_annotations(service: &Value, errors: &mut ErrorList) {
    const MODE: &str = "service.kubernetes.io/topology-mode";
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    if let (Some(mode), Some(hints)) = (annotation(service, MODE), annotation(service, HINTS))
        && mode != hints
    {
        errors.push(Error::invalid(
            &Path::new("metadata").child("annotations").key(MODE),
            mode,
            format!("must match annotations[{HINTS}] when both are specified"),
        ));
    }
}

fn validate_for_type(service: &Value, kind: &str, path: &Path, errors: &mut ErrorList) {
    let addresses = path.child("clusterIPs");
    match kind {
        "LoadBalancer" | "NodePort" if is_headless(service) => errors.push(Error::invalid(
            &addresses.index(0),
            "None",
            format!("may not be set to 'None' for {kind} services"),
        )),
        "ExternalName" => {
            const MESSAGE: &str = "may not be set for ExternalName services";
            if !list_at(service, &["spec", "clusterIPs"]).is_empty() {
                errors.push(Error::forbidden(&addresses, MESSAGE));
            }
            if !list_at(service, &["spec", "ipFamilies"]).is_empty() {
                errors.push(Error::forbidden(&path.child("ipFamilies"), MESSAGE));
            }
            if !str_at(service, &["spec", "ipFamilyPolicy"]).is_empty() {
                errors.push(Error::forbidden(&path.child("ipFamilyPolicy"), MESSAGE));
            }
            let name = str_at(service, &["spec", "externalName"]);
            let name = name.strip_suffix('.').unwrap_or(name);
            let path = path.child("externalName");
            if name.is_empty() {
                errors.push(Error::required(&path, ""));
            } else {
                validate::each(errors, &path, name, names::dns1123_subdomain(name));
            }
        }
        _ => {}
    }
}

fn validate_ports(service: &Value, path: &Path, errors: &mut ErrorList) {
    let ports = list_at(service, &["spec", "ports"]);
    let mut seen = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let path = path.index(index);
        if ports.len() > 1 {
            validate::filled(errors, port, &["name"], &path);
        }
        validate::optional(errors, port, "name", &path, names::dns1123_label);
        let name = str_at(port, &["name"]);
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        validate::port(errors, &path.child("port"), i64_at(port, &["port"]));
        validate::protocol(errors, port, &path);
        let target = port.get("targetPort").unwrap_or(&Value::Null);
        validate::port_or_name(errors, &path.child("targetPort"), target);
        validate::optional(errors, port, "appProtocol", &path, names::qualified_name);
    }
}

fn validate_duplicate_ports(ports: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut node_ports = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let number = i64_at(port, &["nodePort"]).unwrap_or_default();
        if number != 0 && !node_ports.insert((str_at(port, &["protocol"]), number)) {
            errors.push(Error::duplicate(
                &path.index(index).child("nodePort"),
                number,
            ));
        }
    }
    let mut numbers = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        let number = i64_at(port, &["port"]).unwrap_or_default();
        let protocol = str_at(port, &["protocol"]);
        if !numbers.insert((protocol, number)) {
            errors.push(Error::duplicate(
                &path.index(index),
                json!({"port": number, "protocol": protocol}),
            ));
        }
    }
}

fn validate_affinity(service: &Value, path: &Path, errors: &mut ErrorList) {
    const MAX_AFFINITY_SECONDS: i64 = 86_400;
    let affinity = str_at(service, &["spec", "sessionAffinity"]);
    validate::one_of(
        errors,
        &path.child("sessionAffinity"),
        affinity,
        &["ClientIP", "None"],
        true,
    );
    let path = path.child("sessionAffinityConfig");
    let config = struct_at(service, &["spec", "sessionAffinityConfig"]);
    match affinity {
        "None" if config.is_some() => errors.push(Error::forbidden(
            &path,
            "must not be set when session affinity is None",
        )),
        "ClientIP" => {
            let seconds = config.and_then(|config| i64_at(config, &["clientIP", "timeoutSeconds"]));
            let path = path.child("clientIP").child("timeoutSeconds");
            match seconds {
                None => errors.push(Error::required(
                    &path,
                    "when session affinity type is ClientIP",
                )),
                Some(seconds) if !(1..=MAX_AFFINITY_SECONDS).contains(&seconds) => {
                    errors.push(Error::invalid(
                        &path,
                        seconds,
                        format!("must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"),
                    ));
                }
                Some(_) => {}
            }
        }
        _ => {}
    }
}

/// What is wrong of `clusterIP`, `clusterIPs` and the families, for whoever completes them.
pub fn address_errors(service: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if super::kind_of(service) != "ExternalName" {
        validate_addresses(service, &Path::new("spec"), &mut errors);
    }
    errors
}

/// `clusterIP`, `clusterIPs` and the families, each alone and against each other.
fn validate_addresses(service: &Value, path: &Path, errors: &mut ErrorList) {
    let first = str_at(service, &["spec", "clusterIP"]);
    let ips = list_at(service, &["spec", "clusterIPs"]);
    let ips_path = path.child("clusterIPs");
    let first_of_list = ips.first().and_then(Value::as_str);
    match (first, first_of_list) {
        ("", Some(_)) => errors.push(Error::invalid(
            &ips_path,
            ips.to_vec(),
            "must be empty when `clusterIP` is not specified",
        )),
        ("", None) => {}
        (_, None) => errors.push(Error::required(&ips_path, "")),
        (first, Some(listed)) if first != listed => errors.push(Error::invalid(
            &ips_path,
            ips.to_vec(),
            "first value must match `clusterIP`",
        )),
        _ => {}
    }
    let families = list_at(service, &["spec", "ipFamilies"]);
    let mut seen = HashSet::new();
    for (index, family) in families.iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("ipFamilies").index(index);
        if !matches!(family, "IPv4" | "IPv6") {
            errors.push(Error::not_supported(&path, family, &["IPv4", "IPv6"]));
        }
        if !seen.insert(family) {
            errors.push(Error::duplicate(&path, family));
        }
    }
    validate::one_of(
        errors,
        &path.child("ipFamilyPolicy"),
        str_at(service, &["spec", "ipFamilyPolicy"]),
        &["PreferDualStack", "RequireDualStack", "SingleStack"],
        false,
    );
    validate_ip_list(ips, families, &ips_path, errors);
}

fn validate_ip_list(ips: &[Value], families: &[Value], path: &Path, errors: &mut ErrorList) {
    let mut valid = true;
    for (index, ip) in ips.iter().filter_map(Value::as_str).enumerate() {
        if index == 0 && ip == "None" {
            if ips.len() > 1 {
                valid = false;
                errors.push(Error::invalid(
                    path,
                    ips.to_vec(),
                    "'None' must be the first and only value",
                ));
            }
            continue;
        }
        let messages = names::ip(ip);
        valid &= messages.is_empty();
        validate::each(errors, &path.index(index), ip, messages);
    }
    if ips.len() > 2 {
        errors.push(Error::invalid(
            path,
            ips.to_vec(),
            "may only hold up to 2 values",
        ));
    }
    if !valid {
        return;
    }
    let parsed: Vec<IpAddr> = ips
        .iter()
        .filter_map(|ip| ip.as_str()?.parse().ok())
        .collect();
    if ips.len() > 1 {
        let sixes = parsed.iter().filter(|ip| ip.is_ipv6()).count();
        if sixes == 0 || sixes == parsed.len() {
            errors.push(Error::invalid(
                path,
                ips.to_vec(),
                "may specify no more than one IP for each IP family",
            ));
        }
    }
    for (index, (ip, family)) in parsed.iter().zip(families).enumerate() {
        let wanted = family.as_str().unwrap_or_default();
        if matches!(
            (wanted, ip),
            ("IPv4", IpAddr::V6(_)) | ("IPv6", IpAddr::V4(_))
        ) {
            errors.push(Error::invalid(
                &path.index(index),
                ip.to_string(),
                format!("expected an {wanted} value as indicated by `ipFamilies[{index}]`"),
            ));
        }
    }
}

fn validate_load_balancer(
    service: &Value,
    old: Option<&Value>,
    kind: &str,
    path: &Path,
    errors: &mut ErrorList,
) {
    let balanced = kind == "LoadBalancer";
    if !balanced && let Some(path) = source_ranges_path(service, path) {
        errors.push(Error::forbidden(&path, ONLY_BALANCED));
    }
    validate_source_ranges(service, old, path, errors);
    let allocate = at(service, &["spec", "allocateLoadBalancerNodePorts"]);
    let allocate_set = allocate.is_some_and(|value| !value.is_null());
    if allocate_set && !balanced {
        errors.push(Error::forbidden(
            &path.child("allocateLoadBalancerNodePorts"),
            ONLY_BALANCED,
        ));
    }
    if balanced && !allocate_set {
        errors.push(Error::required(
            &Path::new("allocateLoadBalancerNodePorts"),
            "",
        ));
    }
    let class = at(service, &["spec", "loadBalancerClass"]).and_then(Value::as_str);
    // "" is one, too.
    if let Some(class) = class {
        let path = path.child("loadBalancerClass");
        if balanced {
            validate::each(errors, &path, class, names::qualified_name(class));
        } else {
            errors.push(Error::forbidden(&path, ONLY_BALANCED));
        }
    }
}

/// Ranges are in a field or, of old, in an annotation.
fn source_ranges_path(service: &Value, path: &Path) -> Option<Path> {
    if !list_at(service, &["spec", "loadBalancerSourceRanges"]).is_empty() {
        return Some(path.child("LoadBalancerSourceRanges"));
    }
    annotation(service, SOURCE_RANGES)?;
    let annotations = Path::new("metadata").child("annotations");
    Some(annotations.key(SOURCE_RANGES))
}

/// Both forms may have spaces around each range.
fn validate_source_ranges(
    service: &Value,
    old: Option<&Value>,
    path: &Path,
    errors: &mut ErrorList,
) {
    let Some(path) = source_ranges_path(service, path) else {
        return;
    };
    let ranges = trimmed_ranges(service);
    if !ranges.is_empty() {
        let kept = old.map(trimmed_ranges).unwrap_or_default();
        for (index, range) in ranges.into_iter().enumerate() {
            if !kept.contains(&range) {
                validate::each(errors, &path.index(index), range, names::cidr(range));
            }
        }
        return;
    }
    let annotated = annotation(service, SOURCE_RANGES).unwrap_or_default();
    let is_kept = old.is_some_and(|old| annotation(old, SOURCE_RANGES) == Some(annotated));
    let annotated = annotated.trim();
    if annotated.is_empty() || is_kept {
        return;
    }
    for range in annotated.split(',').map(str::trim) {
        validate::each(errors, &path, range, names::cidr(range));
    }
}

fn trimmed_ranges(service: &Value) -> Vec<&str> {
    let ranges = list_at(service, &["spec", "loadBalancerSourceRanges"]);
    ranges
        .iter()
        .filter_map(Value::as_str)
        .map(str::trim)
        .collect()
}

fn validate_policies(service: &Value, kind: &str, path: &Path, errors: &mut ErrorList) {
    let policies = &["Cluster", "Local"];
    let external = str_at(service, &["spec", "externalTrafficPolicy"]);
    let external_path = path.child("externalTrafficPolicy");
    if is_externally_accessible(service) {
        validate::one_of(errors, &external_path, external, policies, true);
    } else if !external.is_empty() {
        errors.push(Error::invalid(
            &external_path,
            external,
            "may only be set for externally-accessible services",
        ));
    }
    let health = i64_at(service, &["spec", "healthCheckNodePort"]).unwrap_or_default();
    let health_path = path.child("healthCheckNodePort");
    match (needs_health_check(service), health) {
        (true, 0) => errors.push(Error::required(&health_path, "")),
        (true, port) => validate::port(errors, &health_path, Some(port)),
        (false, 0) => {}
        (false, port) => errors.push(Error::invalid(
            &health_path,
            port,
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'",
        )),
    }
    validate::one_of(
        errors,
        &path.child("internalTrafficPolicy"),
        str_at(service, &["spec", "internalTrafficPolicy"]),
        policies,
        matches!(kind, "NodePort" | "LoadBalancer" | "ClusterIP"),
    );
    validate::one_of(
        errors,
        &path.child("trafficDistribution"),
        str_at(service, &["spec", "trafficDistribution"]),
        &["PreferClose", "PreferSameZone", "PreferSameNode"],
        false,
    );
}

pub(super) fn validate_status(service: &Value, errors: &mut ErrorList) {
    let path = Path::new("status").child("loadBalancer").child("ingress");
    let ingress = list_at(service, &["status", "loadBalancer", "ingress"]);
    if kind_of(service) != "LoadBalancer" && !ingress.is_empty() {
        errors.push(Error::forbidden(
            &path,
            "may only be used when `spec.type` is 'LoadBalancer'",
        ));
        return;
    }
    for (index, point) in ingress.iter().enumerate() {
        let path = path.index(index);
        validate::optional(errors, point, "ip", &path, names::ip);
        validate_ip_mode(point, &path.child("ipMode"), errors);
        let host = str_at(point, &["hostname"]);
        validate::optional(errors, point, "hostname", &path, names::dns1123_subdomain);
        if names::lenient_ip(host).is_some() {
            errors.push(Error::invalid(
                &path.child("hostname"),
                host,
                "must be a DNS name, not an IP address",
            ));
        }
    }
}

fn validate_ip_mode(point: &Value, path: &Path, errors: &mut ErrorList) {
    let has_ip = !str_at(point, &["ip"]).is_empty();
    match (str_at(point, &["ipMode"]), has_ip) {
        ("", true) => errors.push(Error::required(path, "must be specified when `ip` is set")),
        ("", false) => {}
        (_, false) => errors.push(Error::forbidden(
            path,
            "may not be specified when `ip` is not set",
        )),
        (mode, true) => validate::one_of(errors, path, mode, &["Proxy", "VIP"], true),
    }
}
