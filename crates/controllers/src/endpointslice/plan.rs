//! Which slices a service is to have: pure functions from the service, its pods and the slices there are.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};

use crate::pods;
use crate::services::{self, HEADLESS_LABEL};
use crate::slices::packing::{Changes, Groups, Template};
use crate::slices::{MANAGED_BY_LABEL, SERVICE_NAME_LABEL};

/// Endpoints in one slice at most (upstream `--max-endpoints-per-slice`).
pub(crate) const MAX_ENDPOINTS: usize = 100;
pub(crate) const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

/// Services that ask for another way of spreading by these annotations, which is not offered, get no hints (upstream's topology
/// aware routing, and the older name of it).
const TOPOLOGY_ANNOTATIONS: [&str; 2] = [
    "service.kubernetes.io/topology-mode",
    "service.kubernetes.io/topology-aware-hints",
];

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub changes: Changes,
    /// Pods left out because their node is not known (yet).
    pub without_node: Vec<String>,
}

/// What is known about nodes: their zone (empty without one) by name.
pub(crate) type Zones = BTreeMap<String, String>;

/// `existing` are the slices this controller made for the service's name (perhaps for an earlier service).
pub(crate) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    zones: &Zones,
) -> Plan {
    let mut plan = Plan::default();
    let families = address_types(service);
    for slice in existing {
        if !families.contains(slice.address_type.as_str()) {
            plan.changes.delete.push(slice.clone());
        }
    }
    for family in families {
        let existing: Vec<_> = existing
            .iter()
            .filter(|slice| slice.address_type == family)
            .cloned()
            .collect();
        plan_family(service, pods, &existing, zones, family, &mut plan);
    }
    plan
}

fn plan_family(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: &[Arc<EndpointSlice>],
    zones: &Zones,
    family: &'static str,
    plan: &mut Plan,
) {
    let mut groups = Groups::default();
    for pod in pods.iter().filter(|pod| !pods::is_terminal(pod)) {
        let addresses = addresses(pod, family);
        if pods::addresses(pod).is_empty() {
            continue;
        }
        let zone = zones.get(pods::node_name(pod));
        if zone.is_none() && !services::publishes_not_ready(service) {
            plan.without_node
                .push(pod.metadata.name.clone().unwrap_or_default());
            continue;
        }
        let ports = ports_of(service, pod);
        if addresses.is_empty() {
            groups.want(ports);
        } else {
            groups.insert(ports, endpoint(pod, service, addresses, zone));
        }
    }
    let template = Template::new(service, labels(service), family, MAX_ENDPOINTS);
    let mut changes = groups.pack(&template, existing);
    let (create, update) = (&mut changes.create, &changes.update);
    if changes.delete.len() == existing.len() && create.is_empty() && update.is_empty() {
        // Readers tell "no endpoints" from "not computed yet" by an empty slice.
        let placeholder = template.slice(Vec::new());
        match changes.delete.as_slice() {
            [only] if is_same_placeholder(only, &placeholder) => changes.delete.clear(),
            _ => create.push(placeholder),
        }
    }
    changes.reuse(&template);
    if service.metadata.deletion_timestamp.is_some() {
        changes.create.clear();
    }
    plan.changes.extend(changes);
}

fn is_same_placeholder(slice: &EndpointSlice, placeholder: &EndpointSlice) -> bool {
    slice.endpoints.is_empty()
        && slice.ports.as_ref().is_none_or(Vec::is_empty)
        && slice.metadata.labels == placeholder.metadata.labels
        && slice.metadata.owner_references == placeholder.metadata.owner_references
}

fn address_types(service: &Service) -> BTreeSet<&'static str> {
    let spec = service.spec.clone().unwrap_or_default();
    let name = |family: &String| if family == "IPv6" { "IPv6" } else { "IPv4" };
    let families: BTreeSet<_> = spec.ip_families.iter().flatten().map(name).collect();
    if !families.is_empty() {
        return families;
    }
    match spec.cluster_ip.as_deref() {
        Some(ip) if ip.contains(':') => BTreeSet::from(["IPv6"]),
        Some(ip) if !ip.is_empty() && ip != "None" => BTreeSet::from(["IPv4"]),
        _ => BTreeSet::from(["IPv4", "IPv6"]),
    }
}

fn addresses(pod: &Pod, family: &str) -> Vec<String> {
    let of_family = |ip: &&str| ip.contains(':') == (family == "IPv6");
    pods::addresses(pod)
        .into_iter()
        .filter(of_family)
        .map(str::to_owned)
        .collect()
}

fn ports_of(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service
        .spec
        .as_ref()
        .and_then(|s| s.ports.as_deref())
        .unwrap_or_default();
    let mut found = Vec::with_capacity(ports.len());
    for port in ports {
        let protocol = port.protocol.as_deref().unwrap_or("TCP");
        if let Some(number) = pods::target_port(pod, port.target_port.as_ref(), port.port, protocol)
        {
            found.push(EndpointPort {
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(number),
                protocol: Some(protocol.to_owned()),
                app_protocol: port.app_protocol.clone(),
            });
        }
    }
    found
}

fn endpoint(
    pod: &Pod,
    service: &Service,
    addresses: Vec<String>,
    zone: Option<&String>,
) -> Endpoint {
    let serving = pods::is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = services::publishes_not_ready(service) || (serving && !terminating);
    let node_name = Some(pods::node_name(pod).to_owned()).filter(|node| !node.is_empty());
    let zone = zone.filter(|zone| !zone.is_empty()).cloned();
    Endpoint {
        addresses,
        hints: ready
            .then(|| hints(service, node_name.as_ref(), zone.as_ref()))
            .flatten(),
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        node_name,
        zone,
        hostname: services::endpoint_hostname(pod, service),
        ..Endpoint::default()
    }
}

/// Whose clients a ready endpoint is for, by the service's `trafficDistribution`: those of its zone, and of its node.
fn hints(service: &Service, node: Option<&String>, zone: Option<&String>) -> Option<EndpointHints> {
    let spec = service.spec.as_ref()?;
    let annotations = service.metadata.annotations.as_ref();
    let is_auto = |name: &str| {
        let value = annotations.and_then(|annotations| annotations.get(name));
        value.is_some_and(|value| value == "Auto" || value == "auto")
    };
    if TOPOLOGY_ANNOTATIONS.iter().any(|name| is_auto(name)) {
        return None;
    }
    let by_node = match spec.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => false,
        "PreferSameNode" => true,
        _ => return None,
    };
    let for_zones = zone.map(|name| vec![ForZone { name: name.clone() }]);
    let for_nodes = node
        .filter(|_| by_node)
        .map(|name| vec![ForNode { name: name.clone() }]);
    (for_zones.is_some() || for_nodes.is_some()).then_some(EndpointHints {
        for_nodes,
        for_zones,
    })
}

/// The service's labels and the three of the controller.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if service.spec.as_ref().is_some_and(services::is_headless) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS_LABEL);
    }
    labels.insert(
        SERVICE_NAME_LABEL.to_owned(),
        service.metadata.name.clone().unwrap_or_default(),
    );
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    labels
}

#[cfg(test)]
mod tests;
