//! Which slices an Endpoints object is to have: pure functions from it and the slices there are.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects))]

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{self as core, EndpointAddress, EndpointSubset, Endpoints};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};

use crate::services::TRIGGER_TIME;
use crate::slices::packing::{Changes, Groups, Template};
use crate::slices::{MANAGED_BY_LABEL, SERVICE_NAME_LABEL};

/// Addresses of one subset that are mirrored at most (upstream `--mirroring-max-endpoints-per-subset`); as many fit into
/// one slice, so that a subset usually is one slice.
pub(crate) const MAX_ADDRESSES: usize = 1000;
pub(crate) const MANAGED_BY: &str = "endpointslicemirroring-controller.k8s.io";
/// Set by whoever mirrors the object itself, as the API server does with its own.
const SKIP_LABEL: &str = "endpointslice.kubernetes.io/skip-mirror";
/// On objects that are locks and hold no endpoints.
const LEADER_ANNOTATION: &str = "control-plane.alpha.kubernetes.io/leader";
/// What kubectl keeps for itself about an object it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub changes: Changes,
    /// Addresses left out because they are none.
    pub invalid: usize,
    /// Addresses left out because their subset has more than [`MAX_ADDRESSES`].
    pub over_limit: usize,
}

pub(crate) fn is_mirrored(endpoints: &Endpoints) -> bool {
    let (labels, annotations) = (&endpoints.metadata.labels, &endpoints.metadata.annotations);
    let skipped = labels.as_ref().and_then(|labels| labels.get(SKIP_LABEL));
    let is_lock = annotations
        .as_ref()
        .is_some_and(|annotations| annotations.contains_key(LEADER_ANNOTATION));
    skipped.is_none_or(|value| value != "true") && !is_lock
}

/// `existing` are the slices this controller made for the service's name (perhaps of an earlier Endpoints object).
pub(crate) fn plan(endpoints: &Endpoints, existing: &[Arc<EndpointSlice>]) -> Plan {
    let mut plan = Plan::default();
    let mut families: BTreeMap<&str, Groups> =
        FAMILIES.map(|family| (family, Groups::default())).into();
    for subset in endpoints.subsets.iter().flatten() {
        group(subset, &mut families, &mut plan);
    }
    let of_neither = |slice: &&Arc<EndpointSlice>| !FAMILIES.contains(&&*slice.address_type);
    let stray = existing.iter().filter(of_neither);
    plan.changes.delete.extend(stray.cloned());
    for (family, groups) in families {
        let of_family = existing
            .iter()
            .filter(|slice| slice.address_type == family)
            .cloned();
        let template = template(endpoints, family);
        let mut changes = groups.pack(&template, &of_family.collect::<Vec<_>>());
        changes.reuse(&template);
        if endpoints.metadata.deletion_timestamp.is_some() {
            changes.create.clear();
        }
        plan.changes.extend(changes);
    }
    plan
}

/// Adds a subset's addresses to the groups of their families.
fn group(subset: &EndpointSubset, families: &mut BTreeMap<&str, Groups>, plan: &mut Plan) {
    let ports: Vec<_> = subset.ports.iter().flatten().map(port).collect();
    let ready = subset.addresses.iter().flatten().map(|a| (a, true));
    let not_ready = subset.not_ready_addresses.iter().flatten();
    let mut taken: usize = 0;
    for (address, ready) in ready.chain(not_ready.map(|a| (a, false))) {
        if taken == MAX_ADDRESSES {
            plan.over_limit = plan.over_limit.saturating_add(1);
            continue;
        }
        let groups = match address.ip.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => families.get_mut("IPv4"),
            Ok(IpAddr::V6(_)) => families.get_mut("IPv6"),
            Err(_) => None,
        };
        match groups {
            Some(groups) => {
                groups.insert(ports.clone(), endpoint(address, ready));
                taken = taken.saturating_add(1);
            }
            None => plan.invalid = plan.invalid.saturating_add(1),
        }
    }
}

fn port(port: &core::EndpointPort) -> EndpointPort {
    EndpointPort {
        name: Some(port.name.clone().unwrap_or_default()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
        app_protocol: port.app_protocol.clone(),
    }
}

fn endpoint(address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![address.ip.clone()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

/// Labels and annotations are the object's, but for those that are about the object itself.
fn template(endpoints: &Endpoints, family: &'static str) -> Template {
    let name = endpoints.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME_LABEL.to_owned(), name);
    labels.insert(MANAGED_BY_LABEL.to_owned(), MANAGED_BY.to_owned());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.remove(TRIGGER_TIME);
    annotations.remove(LAST_APPLIED);
    Template {
        annotations: Some(annotations),
        ..Template::new(endpoints, labels, family, MAX_ADDRESSES)
    }
}

#[cfg(test)]
mod tests;
