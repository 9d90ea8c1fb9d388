//! What a Service holds, and what an update that says less keeps: pure functions on the object.

use std::net::IpAddr;

use knarr_meta::object;
use serde_json::{Map, Value, json};

/// `spec.clusterIP` of a headless Service.
pub(super) const HEADLESS: &str = "None";

pub(super) fn kind(service: &Value) -> &str {
    match object::str_at(service, &["spec", "type"]) {
        "" => "ClusterIP",
        kind => kind,
    }
}

pub(super) fn spec(service: &mut Value) -> Option<&mut Map<String, Value>> {
    object::child_mut(service, "spec")
}

pub(super) fn cluster_ip(service: &Value) -> &str {
    object::str_at(service, &["spec", "clusterIP"])
}

pub(super) fn cluster_ips(service: &Value) -> &[Value] {
    object::list_at(service, &["spec", "clusterIPs"])
}

pub(super) fn is_external_name(service: &Value) -> bool {
    kind(service) == "ExternalName"
}

pub(super) fn is_headless(service: &Value) -> bool {
    cluster_ips(service)
        .first()
        .map_or(cluster_ip(service), |ip| ip.as_str().unwrap_or_default())
        == HEADLESS
}

pub(super) fn has_selector(service: &Value) -> bool {
    object::map_at(service, &["spec", "selector"]).is_some_and(|selector| !selector.is_empty())
}

/// Types whose ports are opened on nodes.
pub(super) fn wants_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

/// True where a load balancer asks each node whether it has endpoints.
pub(super) fn needs_health_check(service: &Value) -> bool {
    kind(service) == "LoadBalancer"
        && object::str_at(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// The addresses that a Service holds.
pub(super) fn ips(service: &Value) -> Vec<IpAddr> {
    if is_external_name(service) {
        return Vec::new();
    }
    let all: Vec<&str> = match cluster_ips(service) {
        [] => vec![cluster_ip(service)],
        ips => ips.iter().filter_map(Value::as_str).collect(),
    };
    all.into_iter().filter_map(|ip| ip.parse().ok()).collect()
}

/// The node ports that a Service holds, the one for health checks too; each once.
pub(super) fn node_ports(service: &Value) -> Vec<u64> {
    let ports = object::list_at(service, &["spec", "ports"])
        .iter()
        .filter_map(|port| object::i64_at(port, &["nodePort"]));
    let mut all: Vec<u64> = ports
        .chain(object::i64_at(service, &["spec", "healthCheckNodePort"]))
        .filter_map(|port| u64::try_from(port).ok())
        .filter(|port| *port != 0)
        .collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A client that knows only `clusterIP` says it for `clusterIPs` too.
pub(super) fn normalize_create(service: &mut Value) {
    let ip = cluster_ip(service).to_owned();
    if !ip.is_empty()
        && cluster_ips(service).is_empty()
        && let Some(spec) = spec(service)
    {
        spec.insert("clusterIPs".into(), json!([ip]));
    }
}

/// The same for an update: a change of one field by a client that does not know the other.
pub(super) fn normalize_update(new: &mut Value, old: &Value) {
    let (before, after) = (cluster_ip(old).to_owned(), cluster_ip(new).to_owned());
    if !cluster_ips(old).is_empty() && cluster_ips(new).is_empty() && before == after {
        let kept = cluster_ips(old).to_vec();
        if let Some(spec) = spec(new) {
            spec.insert("clusterIPs".into(), kept.into());
        }
    }
    if before != after && cluster_ips(old) == cluster_ips(new) {
        let Some(spec) = spec(new) else { return };
        if !before.is_empty() && after.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".into(), json!([after]));
        }
    }
}

/// An update that leaves out what was allocated keeps it, so that the manifest that made a Service can be sent again.
pub(super) fn keep_allocated(new: &mut Value, old: &Value) {
    if !is_external_name(old) && !is_external_name(new) {
        let (ip, ips) = (cluster_ip(old).to_owned(), cluster_ips(old).to_vec());
        let (no_ip, no_ips) = (cluster_ip(new).is_empty(), cluster_ips(new).is_empty());
        let Some(spec) = spec(new) else { return };
        if no_ip && !ip.is_empty() {
            spec.insert("clusterIP".into(), ip.into());
        }
        if no_ips && !ips.is_empty() {
            spec.insert("clusterIPs".into(), ips.into());
        }
    }
    if wants_node_ports(old) && wants_node_ports(new) {
        keep_node_ports(new, old);
    }
    if needs_health_check(old)
        && needs_health_check(new)
        && object::i64_at(new, &["spec", "healthCheckNodePort"]).unwrap_or_default() == 0
        && let Some(port) = object::at(old, &["spec", "healthCheckNodePort"]).cloned()
        && let Some(spec) = spec(new)
    {
        spec.insert("healthCheckNodePort".into(), port);
    }
}

/// By port name, unless the number is in use elsewhere in the new object.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let number = |port: &Value| object::i64_at(port, &["nodePort"]).unwrap_or_default();
    let ports = |service: &Value| object::list_at(service, &["spec", "ports"]).to_vec();
    let (before, after) = (ports(old), ports(new));
    let used = |wanted: i64| {
        before.iter().any(|port| number(port) == wanted)
            && after.iter().any(|port| number(port) == wanted)
    };
    let Some(list) = spec(new)
        .and_then(|spec| spec.get_mut("ports"))
        .and_then(Value::as_array_mut)
    else {
        return;
    };
    for port in list.iter_mut().filter(|port| number(port) == 0) {
        let name = object::str_at(port, &["name"]).to_owned();
        let was = before
            .iter()
            .rfind(|old| object::str_at(old, &["name"]) == name)
            .map(number)
            .unwrap_or_default();
        if was != 0
            && !used(was)
            && let Some(port) = port.as_object_mut()
        {
            port.insert("nodePort".into(), was.into());
        }
    }
}
