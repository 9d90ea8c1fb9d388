//! Which slices a service is to have: pure functions from the service, its pods and the slices there are.
//!
//! Pods are grouped by the ports they offer (a named target port may differ between pods), each group is spread over
//! slices of up to 100 endpoints. Slices are changed as little as possible: an endpoint stays where it is, new ones fill
//! slices that change anyway, then one slice with just enough room, then new slices.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use knarr_meta::names;

use crate::runner::uid;
use crate::services::{self, HEADLESS_LABEL};
use crate::{owners, pods};

/// Endpoints in one slice at most (upstream `--max-endpoints-per-slice`).
pub(crate) const MAX_ENDPOINTS: usize = 100;
pub(crate) const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";
pub(crate) const MANAGED_BY_LABEL: &str = "endpointslice.kubernetes.io/managed-by";
pub(crate) const MANAGED_BY: &str = "endpointslice-controller.k8s.io";

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub create: Vec<EndpointSlice>,
    /// Complete objects that carry the resourceVersion they were planned on.
    pub update: Vec<EndpointSlice>,
    pub delete: Vec<Arc<EndpointSlice>>,
    /// Pods left out because their node is not known (yet).
    pub without_node: Vec<String>,
}

/// What is known about nodes: their zone (empty without one) by name.
pub(crate) type Zones = BTreeMap<String, String>;

type Ports = Vec<(Option<String>, Option<String>, Option<i32>, Option<String>)>;
/// What identifies an endpoint; everything else about it changes in place.
type Identity = (Vec<String>, Option<String>);

#[derive(Default)]
struct Group {
    ports: Vec<EndpointPort>,
    desired: BTreeMap<Identity, Endpoint>,
    existing: Vec<Arc<EndpointSlice>>,
}

fn ports_key(ports: &[EndpointPort]) -> Ports {
    let key = |p: &EndpointPort| {
        (
            p.name.clone(),
            p.protocol.clone(),
            p.port,
            p.app_protocol.clone(),
        )
    };
    let mut keys: Ports = ports.iter().map(key).collect();
    keys.sort();
    keys
}

fn identity(endpoint: &Endpoint) -> Identity {
    let mut addresses = endpoint.addresses.clone();
    addresses.sort();
    (addresses, endpoint.hostname.clone())
}

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
            plan.delete.push(slice.clone());
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
    family: &str,
    plan: &mut Plan,
) {
    let mut delete = Vec::new();
    let mut create = Vec::new();
    let mut update = Vec::new();
    let mut groups: BTreeMap<Ports, Group> = BTreeMap::new();
    for slice in existing {
        if is_owned(slice, service) {
            let key = ports_key(slice.ports.as_deref().unwrap_or_default());
            groups.entry(key).or_default().existing.push(slice.clone());
        } else {
            delete.push(slice.clone());
        }
    }
    let mut wanted = BTreeSet::new();
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
        let key = ports_key(&ports);
        let group = groups.entry(key.clone()).or_default();
        wanted.insert(key);
        group.ports = ports;
        if !addresses.is_empty() {
            let endpoint = endpoint(pod, service, addresses, zone);
            group.desired.insert(identity(&endpoint), endpoint);
        }
    }
    for (key, group) in groups {
        if wanted.contains(&key) {
            fill(
                service,
                family,
                group,
                &mut create,
                &mut update,
                &mut delete,
            );
        } else {
            delete.extend(group.existing);
        }
    }
    if delete.len() == existing.len() && create.is_empty() && update.is_empty() {
        // Readers tell "no endpoints" from "not computed yet" by an empty slice.
        let placeholder = new_slice(service, family, Vec::new());
        match delete.as_slice() {
            [only] if is_same_placeholder(only, &placeholder) => delete.clear(),
            _ => create.push(placeholder),
        }
    }
    reuse(service, &mut create, &mut update, &mut delete);
    if service.metadata.deletion_timestamp.is_none() {
        plan.create.extend(create);
    }
    plan.update.extend(update);
    plan.delete.extend(delete);
}

/// Turns pairs of a creation and a deletion into updates.
fn reuse(
    service: &Service,
    create: &mut Vec<EndpointSlice>,
    update: &mut Vec<EndpointSlice>,
    delete: &mut Vec<Arc<EndpointSlice>>,
) {
    delete.retain(|old| {
        if !is_owned(old, service) {
            return true;
        }
        let Some(mut slice) = create.pop() else {
            return true;
        };
        slice.metadata.generate_name = None;
        slice.metadata.name = old.metadata.name.clone();
        slice.metadata.resource_version = old.metadata.resource_version.clone();
        update.push(slice);
        false
    });
}

/// Distributes one group's endpoints over its slices.
fn fill(
    service: &Service,
    family: &str,
    group: Group,
    create: &mut Vec<EndpointSlice>,
    update: &mut Vec<EndpointSlice>,
    delete: &mut Vec<Arc<EndpointSlice>>,
) {
    let mut desired = group.desired;
    let mut changed: Vec<EndpointSlice> = Vec::new();
    let mut unchanged: Vec<Arc<EndpointSlice>> = Vec::new();
    for slice in group.existing {
        let mut differs = false;
        let mut kept = Vec::with_capacity(slice.endpoints.len());
        for endpoint in &slice.endpoints {
            match desired.remove(&identity(endpoint)) {
                Some(wanted) => {
                    differs |= !is_same_state(endpoint, &wanted);
                    kept.push(wanted);
                }
                None => differs = true,
            }
        }
        let labels = labels(service);
        if kept.is_empty() && differs {
            delete.push(slice);
        } else if differs || slice.metadata.labels.as_ref() != Some(&labels) {
            let mut slice = EndpointSlice::clone(&slice);
            slice.endpoints = kept;
            slice.metadata.labels = Some(labels);
            changed.push(slice);
        } else {
            unchanged.push(slice);
        }
    }
    let mut left: Vec<Endpoint> = desired.into_values().collect();
    changed.sort_by_key(|slice| std::cmp::Reverse(slice.endpoints.len()));
    for slice in &mut changed {
        top_up(slice, &mut left);
    }
    while !left.is_empty() {
        let fullest_with_room = (unchanged.iter().enumerate())
            .filter(|(_, slice)| slice.endpoints.len() + left.len() <= MAX_ENDPOINTS)
            .max_by_key(|(_, slice)| slice.endpoints.len())
            .map(|(index, _)| index);
        match fullest_with_room {
            Some(index) => {
                let mut slice = EndpointSlice::clone(&unchanged.remove(index));
                top_up(&mut slice, &mut left);
                changed.push(slice);
            }
            None => {
                let mut slice = new_slice(service, family, group.ports.clone());
                top_up(&mut slice, &mut left);
                create.push(slice);
            }
        }
    }
    update.extend(changed);
}

fn top_up(slice: &mut EndpointSlice, left: &mut Vec<Endpoint>) {
    let room = MAX_ENDPOINTS
        .saturating_sub(slice.endpoints.len())
        .min(left.len());
    slice.endpoints.extend(left.drain(..room));
}

/// Equal but for the pod's resourceVersion, which nobody needs here.
fn is_same_state(a: &Endpoint, b: &Endpoint) -> bool {
    let target = |e: &Endpoint| {
        e.target_ref.as_ref().map(|t| {
            (
                t.kind.clone(),
                t.namespace.clone(),
                t.name.clone(),
                t.uid.clone(),
            )
        })
    };
    a.node_name == b.node_name
        && a.zone == b.zone
        && a.conditions == b.conditions
        && target(a) == target(b)
}

fn is_owned(slice: &EndpointSlice, service: &Service) -> bool {
    let owners = slice.metadata.owner_references.iter().flatten();
    owners
        .into_iter()
        .any(|o| o.uid == uid(service) && o.kind == "Service" && o.api_version == "v1")
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
    Endpoint {
        addresses,
        conditions: Some(EndpointConditions {
            ready: Some(services::publishes_not_ready(service) || (serving && !terminating)),
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
        node_name: Some(pods::node_name(pod).to_owned()).filter(|node| !node.is_empty()),
        zone: zone.filter(|zone| !zone.is_empty()).cloned(),
        hostname: services::endpoint_hostname(pod, service),
        ..Endpoint::default()
    }
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

fn new_slice(service: &Service, family: &str, ports: Vec<EndpointPort>) -> EndpointSlice {
    let name = service.metadata.name.as_deref().unwrap_or_default();
    let prefix = format!("{name}-");
    let valid =
        names::dns1123_subdomain(prefix.trim_end_matches('-')).is_empty() && prefix.len() <= 253;
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(if valid { prefix } else { name.to_owned() }),
            namespace: service.metadata.namespace.clone(),
            labels: Some(labels(service)),
            owner_references: Some(vec![owners::controller_reference(service)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports: Some(ports),
        endpoints: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
