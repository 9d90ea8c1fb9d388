//! Which pod, and how: from a name as a client gives it, `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

use knarr_meta::{GroupResource, object, status::Status};
use serde_json::Value;

/// Where a request is passed on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    pub address: SocketAddr,
    pub tls: bool,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The parts of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a> {
    pub tls: bool,
    pub name: &'a str,
    /// Empty where none was given.
    pub port: &'a str,
}

impl<'a> Id<'a> {
    pub fn parse(id: &'a str) -> Option<Self> {
        let mut parts = id.split(':');
        let (scheme, name, port) = match (parts.next()?, parts.next(), parts.next(), parts.next()) {
            (name, None, ..) => ("", name, ""),
            (name, Some(port), None, _) => ("", name, port),
            (scheme, Some(name), Some(port), None) => (scheme, name, port),
            _ => return None,
        };
        let known = matches!(scheme, "" | "http" | "https");
        (known && !name.is_empty()).then_some(Id {
            tls: scheme == "https",
            name,
            port,
        })
    }

    fn default_port(&self) -> u16 {
        if self.tls { 443 } else { 80 }
    }
}

/// The pod of a name. `find` gives the pod of a bare name.
///
/// Errors: 400 for what is no name or a pod without an address that may be proxied to, 404 for a pod that is not there.
pub fn of_pod(id: &str, find: impl FnOnce(&str) -> Option<Value>) -> Result<Target, Status> {
    let invalid = || Status::bad_request(format!("invalid pod request {id:?}"));
    let parsed = Id::parse(id).ok_or_else(invalid)?;
    let pod = find(parsed.name)
        .ok_or_else(|| Status::not_found(GroupResource::new("", "pods"), parsed.name))?;
    let port = match parsed.port {
        "" => first_port(&pod).unwrap_or_else(|| parsed.default_port()),
        port => port.parse().map_err(|_| invalid())?,
    };
    let ip = object::str_at(&pod, &["status", "podIP"]).parse().ok();
    let ip = ip
        .filter(may_be_proxied)
        .ok_or_else(|| Status::bad_request("address not allowed"))?;
    Ok(Target {
        address: SocketAddr::new(ip, port),
        tls: parsed.tls,
    })
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = object::list_at(pod, &["spec", "containers"]);
    let port = containers
        .iter()
        .find_map(|container| object::list_at(container, &["ports"]).first())?;
    u16::try_from(port["containerPort"].as_i64()?).ok()
}

/// Addresses of pods and nodes, and no others: not this machine's own, nor its neighbours by link.
pub fn may_be_proxied(ip: &IpAddr) -> bool {
    let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast();
    let local = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    !special && !local
}

/// What a service's proxy looks at.
pub struct Lookup<'a> {
    /// A service of the namespace.
    pub service: &'a dyn Fn(&str) -> Option<Value>,
    /// The EndpointSlices of a service of the namespace.
    pub slices: &'a dyn Fn(&str) -> Vec<Value>,
    /// A pod of the namespace.
    pub pod: &'a dyn Fn(&str) -> Option<Value>,
}

/// A ready pod of a service's name, chosen by `seed`.
///
/// Errors: 400 for what is no name, 404 for a service that is not there where its port is looked up, 503 where it has no such
/// port or no ready pod. Only endpoints that are pods are proxied to, as upstream: others are addresses that anybody may write.
pub fn of_service(
    id: &str,
    namespace: &str,
    lookup: &Lookup<'_>,
    seed: usize,
) -> Result<Target, Status> {
    let invalid = || Status::bad_request(format!("invalid service request {id:?}"));
    let parsed = Id::parse(id).ok_or_else(invalid)?;
    let port = port_name(&parsed, lookup)?;
    let endpoints = endpoints(&(lookup.slices)(parsed.name), &port);
    let start = seed.checked_rem(endpoints.len()).unwrap_or(0);
    let turned = endpoints[start..].iter().chain(&endpoints[..start]);
    let address = turned
        .filter(|endpoint| is_pod(endpoint, namespace, lookup))
        .map(|endpoint| endpoint.address)
        .next();
    address
        .map(|address| Target {
            address,
            tls: parsed.tls,
        })
        .ok_or_else(|| {
            let name = parsed.name;
            Status::service_unavailable(format!("no endpoints available for service {name:?}"))
        })
}

/// A port is meant by its number or by its name; slices know names.
fn port_name(id: &Id<'_>, lookup: &Lookup<'_>) -> Result<String, Status> {
    let Ok(number) = id.port.parse::<i64>() else {
        return Ok(id.port.to_owned());
    };
    let service = (lookup.service)(id.name)
        .ok_or_else(|| Status::not_found(GroupResource::new("", "services"), id.name))?;
    let ports = object::list_at(&service, &["spec", "ports"]);
    let port = ports
        .iter()
        .find(|port| port["port"].as_i64() == Some(number));
    let port = port.ok_or_else(|| {
        let name = id.name;
        Status::service_unavailable(format!(
            "no service port {number} found for service {name:?}"
        ))
    })?;
    Ok(object::str_at(port, &["name"]).to_owned())
}

struct Endpoint {
    address: SocketAddr,
    pod: String,
    pod_namespace: String,
}

/// The ready endpoints of slices that have the port.
fn endpoints(slices: &[Value], port: &str) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for slice in slices {
        let ports = object::list_at(slice, &["ports"]);
        let number = ports
            .iter()
            .find(|candidate| candidate["name"].as_str().unwrap_or_default() == port)
            .and_then(|candidate| u16::try_from(candidate["port"].as_i64()?).ok());
        let Some(number) = number else { continue };
        for endpoint in object::list_at(slice, &["endpoints"]) {
            let ready = endpoint["conditions"]["ready"] != Value::Bool(false);
            let ip = endpoint["addresses"][0]
                .as_str()
                .and_then(|ip| ip.parse().ok());
            if let (true, Some(ip)) = (ready, ip) {
                found.push(Endpoint {
                    address: SocketAddr::new(ip, number),
                    pod: object::str_at(endpoint, &["targetRef", "name"]).to_owned(),
                    pod_namespace: object::str_at(endpoint, &["targetRef", "namespace"]).to_owned(),
                });
            }
        }
    }
    found
}

fn is_pod(endpoint: &Endpoint, namespace: &str, lookup: &Lookup<'_>) -> bool {
    let ip = endpoint.address.ip();
    if endpoint.pod.is_empty() || endpoint.pod_namespace != namespace || !may_be_proxied(&ip) {
        return false;
    }
    let text = ip.to_string();
    let pod = (lookup.pod)(&endpoint.pod);
    pod.is_some_and(|pod| {
        let ips = object::list_at(&pod, &["status", "podIPs"]);
        ips.iter().any(|ip| ip["ip"] == text)
    })
}

#[cfg(test)]
mod tests;
