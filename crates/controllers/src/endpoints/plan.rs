//! A service's Endpoints object: pure functions.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    EndpointAddress, EndpointPort, EndpointSubset, Endpoints, ObjectReference, Pod, Service,
    ServicePort,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::pods;
use crate::services::{self, HEADLESS_LABEL, TRIGGER_TIME};

/// Addresses in one object at most; more are cut off.
pub(crate) const MAX_ADDRESSES: usize = 1000;
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// Says that the endpoints controller made the object (since upstream v1.33).
pub(crate) const MANAGED_BY_LABEL: &str = "endpoints.kubernetes.io/managed-by";
pub(crate) const MANAGED_BY: &str = "endpoint-controller";

/// The object to write; `None` when the existing one is right.
pub(crate) fn plan(
    service: &Service,
    pods: &[Arc<Pod>],
    existing: Option<&Endpoints>,
    trigger: Option<Timestamp>,
) -> Option<Endpoints> {
    let mut subsets = subsets(service, pods);
    let truncated = truncate(&mut subsets);
    let subsets = Some(subsets).filter(|subsets| !subsets.is_empty());
    let labels = labels(service);
    if let Some(existing) = existing {
        let annotated = existing
            .metadata
            .annotations
            .as_ref()
            .is_some_and(|a| a.contains_key(OVER_CAPACITY));
        let same_subsets =
            existing.subsets.clone().unwrap_or_default() == subsets.clone().unwrap_or_default();
        if same_subsets
            && existing.metadata.labels.as_ref() == Some(&labels)
            && annotated == truncated
        {
            return None;
        }
    }
    let mut endpoints = existing.cloned().unwrap_or_else(|| Endpoints {
        metadata: ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        subsets: None,
    });
    endpoints.subsets = subsets;
    endpoints.metadata.labels = Some(labels);
    let annotations = endpoints.metadata.annotations.get_or_insert_default();
    match trigger {
        Some(at) => annotations.insert(TRIGGER_TIME.to_owned(), at.to_string()),
        None => annotations.remove(TRIGGER_TIME),
    };
    if truncated {
        annotations.insert(OVER_CAPACITY.to_owned(), "truncated".to_owned());
    } else {
        annotations.remove(OVER_CAPACITY);
    }
    Some(endpoints)
}

fn labels(service: &Service) -> BTreeMap<String, String> {
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    if service.spec.as_ref().is_some_and(services::is_headless) {
        labels.insert(HEADLESS_LABEL.to_owned(), String::new());
    } else {
        labels.remove(HEADLESS_LABEL);
    }
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    labels
}

/// Port, name, protocol, application protocol: the order of a subset's ports.
type Port = (i32, Option<String>, Option<String>, Option<String>);
/// Address, pod uid: the order of a subset's addresses.
type Address = (String, Option<String>);

/// Groups addresses that offer the same ports, and ports that the same addresses offer (upstream `RepackSubsets`).
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let tolerant = services::publishes_not_ready(service);
    let spec = service.spec.clone().unwrap_or_default();
    let ports = spec.ports.as_deref().unwrap_or_default();
    let mut addresses: BTreeMap<Address, EndpointAddress> = BTreeMap::new();
    // By port (`None` for a headless service without ports), who offers it and is ready.
    let mut offers: BTreeMap<Option<Port>, BTreeMap<Address, bool>> = BTreeMap::new();
    for pod in pods {
        let included =
            !pods::is_terminal(pod) && (tolerant || pod.metadata.deletion_timestamp.is_none());
        let Some(address) = address(service, pod).filter(|_| included) else {
            continue;
        };
        let key = (address.ip.clone(), pod.metadata.uid.clone());
        let ready = tolerant || pods::is_ready(pod);
        let mut offer = |port: Option<Port>| {
            addresses.insert(key.clone(), address.clone());
            offers.entry(port).or_default().insert(key.clone(), ready);
        };
        if ports.is_empty() && services::is_headless(&spec) {
            offer(None);
        }
        for port in ports {
            if let Some(found) = port_of(port, pod) {
                offer(Some(found));
            }
        }
    }
    let mut by_addresses: BTreeMap<BTreeMap<Address, bool>, BTreeSet<Port>> = BTreeMap::new();
    for (port, offering) in offers {
        by_addresses.entry(offering).or_default().extend(port);
    }
    let pick = |offering: &BTreeMap<Address, bool>, ready: bool| {
        let chosen = offering.iter().filter(|(_, is)| **is == ready);
        let picked: Vec<_> = chosen
            .filter_map(|(key, _)| addresses.get(key).cloned())
            .collect();
        Some(picked).filter(|picked| !picked.is_empty())
    };
    let subsets = by_addresses
        .into_iter()
        .map(|(offering, ports)| EndpointSubset {
            addresses: pick(&offering, true),
            not_ready_addresses: pick(&offering, false),
            ports: Some(ports.into_iter().map(endpoint_port).collect())
                .filter(|ports: &Vec<_>| !ports.is_empty()),
        });
    subsets.collect()
}

fn port_of(port: &ServicePort, pod: &Pod) -> Option<Port> {
    let protocol = port.protocol.as_deref().unwrap_or("TCP");
    let number = pods::target_port(pod, port.target_port.as_ref(), port.port, protocol)?;
    let name = port.name.clone().filter(|name| !name.is_empty());
    Some((
        number,
        name,
        Some(protocol.to_owned()),
        port.app_protocol.clone(),
    ))
}

fn endpoint_port((port, name, protocol, app_protocol): Port) -> EndpointPort {
    EndpointPort {
        port,
        name,
        protocol,
        app_protocol,
    }
}

/// The pod's address of the service's (first) family.
fn address(service: &Service, pod: &Pod) -> Option<EndpointAddress> {
    let spec = service.spec.as_ref()?;
    let first_family = spec
        .ip_families
        .as_ref()
        .and_then(|families| families.first());
    let wants_v6 = match (first_family, spec.cluster_ip.as_deref()) {
        (Some(family), _) => Some(family == "IPv6"),
        (None, Some(ip)) if !ip.is_empty() && ip != "None" => Some(ip.contains(':')),
        _ => None,
    };
    let addresses = pods::addresses(pod);
    let ip = addresses
        .into_iter()
        .find(|ip| wants_v6.is_none_or(|v6| ip.contains(':') == v6))?;
    Some(EndpointAddress {
        ip: ip.to_owned(),
        hostname: services::endpoint_hostname(pod, service),
        node_name: Some(pods::node_name(pod).to_owned()).filter(|node| !node.is_empty()),
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
    })
}

/// Cuts to [`MAX_ADDRESSES`], each subset by its share; addresses that are not ready go first. Whether it cut.
fn truncate(subsets: &mut Vec<EndpointSubset>) -> bool {
    let count = |addresses: &Option<Vec<EndpointAddress>>| addresses.as_ref().map_or(0, Vec::len);
    let ready: usize = subsets.iter().map(|s| count(&s.addresses)).sum();
    let not_ready: usize = subsets.iter().map(|s| count(&s.not_ready_addresses)).sum();
    if ready.saturating_add(not_ready) <= MAX_ADDRESSES {
        return false;
    }
    let cut_ready = ready > MAX_ADDRESSES;
    let (room, total) = if cut_ready {
        (MAX_ADDRESSES, ready)
    } else {
        (MAX_ADDRESSES.saturating_sub(ready), not_ready)
    };
    let mut left = room;
    for subset in subsets.iter_mut() {
        let cut = if cut_ready {
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        let share = count(cut).saturating_mul(room).div_ceil(total).min(left);
        left = left.saturating_sub(share);
        if let Some(addresses) = cut {
            addresses.truncate(share);
        }
        if cut_ready {
            subset.not_ready_addresses = None;
        }
        let empty = |addresses: &mut Option<Vec<EndpointAddress>>| {
            if addresses.as_ref().is_some_and(Vec::is_empty) {
                *addresses = None;
            }
        };
        empty(&mut subset.addresses);
        empty(&mut subset.not_ready_addresses);
    }
    subsets.retain(|s| s.addresses.is_some() || s.not_ready_addresses.is_some());
    true
}

#[cfg(test)]
mod tests;
