//! The way to a service: one of its ready endpoints, as upstream's `ResolveEndpoint`.
//!
//! Not the cluster address: this process may run where no proxy programs it.

use std::net::{IpAddr, SocketAddr};

use knarr_auth::objects::Objects;
use knarr_meta::object::{self, list_at, str_at};
use serde_json::Value;

/// Labels an EndpointSlice with its service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// An endpoint of a service's port, chosen at random.
///
/// # Errors
/// Why there is none, in upstream's words.
pub fn resolve(
    objects: &dyn Objects,
    namespace: &str,
    name: &str,
    port: u16,
) -> Result<SocketAddr, String> {
    let service = objects
        .get("", "services", namespace, name)
        .and_then(|found| serde_json::from_slice::<Value>(&found.json).ok())
        .ok_or_else(|| format!("service {name:?} not found"))?;
    let kind = str_at(&service, &["spec", "type"]);
    if !matches!(kind, "ClusterIP" | "LoadBalancer" | "NodePort") {
        return Err(format!("unsupported service type {kind:?}"));
    }
    let ports = list_at(&service, &["spec", "ports"]).iter();
    let port = ports
        .filter(|one| one["port"].as_u64() == Some(u64::from(port)))
        .map(|one| str_at(one, &["name"]))
        .next()
        .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
    let slices = objects.list("discovery.k8s.io", "endpointslices", namespace);
    let found: Vec<SocketAddr> = slices
        .iter()
        .filter_map(|slice| serde_json::from_slice::<Value>(&slice.json).ok())
        .filter(|slice| object::label(slice, SERVICE_NAME) == Some(name))
        .flat_map(|slice| ready(&slice, port))
        .collect();
    match found.len() {
        0 => Err(format!("no endpoints available for service {name:?}")),
        count => Ok(found[fastrand::usize(..count)]),
    }
}

/// The ready endpoints of a slice that has the port.
fn ready(slice: &Value, port: &str) -> Vec<SocketAddr> {
    let mut ports = list_at(slice, &["ports"]).iter();
    let number = ports
        .find(|one| str_at(one, &["name"]) == port)
        .and_then(|one| u16::try_from(one["port"].as_u64()?).ok());
    let Some(number) = number else {
        return Vec::new();
    };
    let endpoints = list_at(slice, &["endpoints"]).iter();
    endpoints
        .filter(|endpoint| endpoint["conditions"]["ready"] != Value::Bool(false))
        .filter_map(|endpoint| endpoint["addresses"][0].as_str()?.parse().ok())
        .filter(may_be_called)
        .map(|ip| SocketAddr::new(ip, number))
        .collect()
}

/// Who may write endpoints must not make this process call itself or its neighbours by link.
fn may_be_called(ip: &IpAddr) -> bool {
    // One in IPv6's clothes is the same address.
    let ip = ip.to_canonical();
    let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !special && !local
}
