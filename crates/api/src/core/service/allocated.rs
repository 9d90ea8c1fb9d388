//! What a service has been given, and what an update that says less keeps of it. The API server's allocators read services
//! through these functions too, so that they and the validation agree on what a type has.

use knarr_meta::object::{self, at, i64_at, list_at, map_at, str_at};
use serde_json::{Map, Value, json};

use crate::tree;

/// `spec.clusterIP` of a headless service.
const HEADLESS: &str = "None";

/// `spec.type`, defaulted.
pub fn kind_of(service: &Value) -> &str {
    str_at(service, &["spec", "type"])
}

/// The spec to write into.
pub fn spec_mut(service: &mut Value) -> Option<&mut Map<String, Value>> {
    object::child_mut(service, "spec")
}

pub fn cluster_ip(service: &Value) -> &str {
    str_at(service, &["spec", "clusterIP"])
}

pub fn cluster_ips(service: &Value) -> &[Value] {
    list_at(service, &["spec", "clusterIPs"])
}

/// The one type that has no address and no families.
pub fn is_external_name(service: &Value) -> bool {
    kind_of(service) == "ExternalName"
}

/// A service without an address.
pub fn is_headless(service: &Value) -> bool {
    cluster_ips(service)
        .first()
        .and_then(Value::as_str)
        .unwrap_or_else(|| cluster_ip(service))
        == HEADLESS
}

pub fn has_selector(service: &Value) -> bool {
    map_at(service, &["spec", "selector"]).is_some_and(|selector| !selector.is_empty())
}

/// True where every port gets a port on the nodes.
pub fn wants_node_ports(service: &Value) -> bool {
    matches!(kind_of(service), "NodePort" | "LoadBalancer")
}

/// True where node ports are found for a service that names none: a load balancer may do without.
fn is_given_node_ports(service: &Value) -> bool {
    let allocates = at(service, &["spec", "allocateLoadBalancerNodePorts"]);
    let does_without = allocates.and_then(Value::as_bool) == Some(false);
    wants_node_ports(service) && !(kind_of(service) == "LoadBalancer" && does_without)
}

/// True where clients outside the cluster have a way in: their policy counts.
pub fn is_externally_accessible(service: &Value) -> bool {
    wants_node_ports(service)
        || (kind_of(service) == "ClusterIP"
            && !list_at(service, &["spec", "externalIPs"]).is_empty())
}

/// True where the nodes answer a load balancer's health checks on a port of their own.
pub fn needs_health_check(service: &Value) -> bool {
    kind_of(service) == "LoadBalancer"
        && str_at(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// A client that knows only `clusterIP` says it for `clusterIPs` too.
pub fn normalize_create(service: &mut Value) {
    let ip = cluster_ip(service).to_owned();
    if !ip.is_empty()
        && cluster_ips(service).is_empty()
        && let Some(spec) = spec_mut(service)
    {
        spec.insert("clusterIPs".to_owned(), json!([ip]));
    }
}

/// The same for an update: a change of one field by a client that does not know the other.
pub fn normalize_update(new: &mut Value, old: &Value) {
    let changed = cluster_ip(new) != cluster_ip(old);
    if !changed && cluster_ips(new).is_empty() && !cluster_ips(old).is_empty() {
        copy_where_empty(new, old, "clusterIPs");
    }
    if !changed || cluster_ips(new) != cluster_ips(old) {
        return;
    }
    let ip = cluster_ip(new).to_owned();
    if let Some(spec) = spec_mut(new) {
        if ip.is_empty() {
            spec.remove("clusterIPs");
        } else {
            spec.insert("clusterIPs".to_owned(), json!([ip]));
        }
    }
}

/// Lets clients leave out on update what was allocated for them, so that the manifest that made a service can be sent again:
/// the address, node ports by the name of their port, the health check port. To be called before anything is allocated for
/// `new`.
pub fn keep_allocated(new: &mut Value, old: &Value) {
    if !is_external_name(old) && !is_external_name(new) {
        copy_where_empty(new, old, "clusterIP");
        copy_where_empty(new, old, "clusterIPs");
    }
    if is_given_node_ports(old) && is_given_node_ports(new) {
        keep_node_ports(new, old);
    }
    if needs_health_check(old) && needs_health_check(new) {
        copy_where_empty(new, old, "healthCheckNodePort");
    }
}

fn copy_where_empty(new: &mut Value, old: &Value, field: &str) {
    let empty = match at(new, &["spec", field]) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Number(number)) => number.as_i64() == Some(0),
        Some(_) => false,
    };
    if empty
        && let Some(value) = at(old, &["spec", field])
        && let Some(spec) = spec_mut(new)
    {
        spec.insert(field.to_owned(), value.clone());
    }
}

/// By port name, unless the number is in use elsewhere in the new object.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let node_port = |port: &Value| i64_at(port, &["nodePort"]).unwrap_or_default();
    let old_ports = list_at(old, &["spec", "ports"]);
    let used: Vec<i64> = list_at(new, &["spec", "ports"])
        .iter()
        .map(node_port)
        .filter(|port| *port != 0 && old_ports.iter().any(|old| node_port(old) == *port))
        .collect();
    let Some(spec) = spec_mut(new) else { return };
    for port in tree::items(spec, "ports") {
        let given = port.get("nodePort").and_then(Value::as_i64);
        if given.unwrap_or_default() != 0 {
            continue;
        }
        let name = tree::text(port, "name");
        // The last of that name, as upstream's map has it.
        let before = old_ports
            .iter()
            .rfind(|old| str_at(old, &["name"]) == name)
            .map(node_port)
            .unwrap_or_default();
        if before != 0 && !used.contains(&before) {
            port.insert("nodePort".to_owned(), before.into());
        }
    }
}
