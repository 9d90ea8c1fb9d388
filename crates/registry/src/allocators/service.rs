//! The addresses and ports that a Service holds. What its types have, and what an update keeps, are rules of the kind.

use std::net::IpAddr;

use knarr_api::core::service::{cluster_ip, cluster_ips};

pub(super) use knarr_api::core::service::{
    has_selector, is_external_name, is_headless, keep_allocated, kind_of as kind,
    needs_health_check, normalize_create, normalize_update, spec_mut as spec, wants_node_ports,
};
use knarr_meta::object;
use serde_json::Value;

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
