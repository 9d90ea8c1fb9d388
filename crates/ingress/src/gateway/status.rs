//! Statuses as they are written: others' parts stay, and times change only with what they are about.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use serde_json::{Value, json};

use super::{
    said::{ListenerSaid, Said, Status},
    types::{
        Address, GROUP, GatewayStatus, KindRef, ListenerStatus, ParentRef, ParentStatus,
        RouteStatus,
    },
    world::CONTROLLER,
};

/// Features of the API that are there, by upstream's names, in their order.
const FEATURES: [&str; 33] = [
    "GRPCRoute",
    "GRPCRouteNamedRouteRule",
    "GRPCRouteRequestHeaderModifier",
    "Gateway",
    "GatewayAddressEmpty",
    "GatewayHTTPListenerIsolation",
    "GatewayHTTPSListenerDetectMisdirectedRequests",
    "GatewayPort8080",
    "GatewayRouteHostnameIntersectionPrecedence",
    "GatewayStaticAddresses",
    "HTTPRoute",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "HTTPRouteBackendProtocolH2C",
    "HTTPRouteBackendProtocolWebSocket",
    "HTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendTimeout",
    "HTTPRouteBackendURLRewrite",
    "HTTPRouteCORS",
    "HTTPRouteDestinationPortMatching",
    "HTTPRouteHostRewrite",
    "HTTPRouteMethodMatching",
    "HTTPRouteNamedRouteRule",
    "HTTPRouteParentRefPort",
    "HTTPRoutePathRedirect",
    "HTTPRoutePathRewrite",
    "HTTPRoutePortRedirect",
    "HTTPRouteQueryParamMatching",
    "HTTPRouteRequestMirror",
    "HTTPRouteRequestMultipleMirrors",
    "HTTPRouteRequestPercentageMirror",
    "HTTPRouteRequestTimeout",
];
const MORE_FEATURES: [&str; 3] = [
    "HTTPRouteResponseHeaderModification",
    "HTTPRouteSchemeRedirect",
    "ReferenceGrant",
];
/// Types of conditions that are ours to say, or to leave out.
const OURS: [&str; 6] = [
    "Accepted",
    "Conflicted",
    "OverlappingTLSConfig",
    "Programmed",
    "ResolvedRefs",
    "SupportedVersion",
];

/// When a status is written, and of which generation it is.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    pub generation: i64,
    pub now: Timestamp,
}

fn conditions(old: &[Condition], said: &[Said], stamp: Stamp) -> Vec<Condition> {
    let own = said.iter().map(|said| {
        let before = old.iter().find(|one| one.type_ == said.type_);
        let same = before.filter(|one| one.status == said.status.name());
        Condition {
            type_: said.type_.to_owned(),
            status: said.status.name().to_owned(),
            reason: said.reason.to_owned(),
            message: said.message.clone(),
            observed_generation: Some(stamp.generation),
            last_transition_time: same
                .map_or(Time(stamp.now), |one| one.last_transition_time.clone()),
        }
    });
    let others = old.iter().filter(|one| !OURS.contains(&&*one.type_));
    own.chain(others.cloned()).collect()
}

/// Whether two lists say the same, in whatever order.
fn same(one: &[Condition], other: &[Condition]) -> bool {
    one.len() == other.len() && one.iter().all(|condition| other.contains(condition))
}

/// The status of a class, if it is to be another one.
pub fn class(old: &GatewayStatus, said: &[Said], stamp: Stamp) -> Option<Value> {
    let wanted = conditions(&old.conditions, said, stamp);
    let features = FEATURES.iter().chain(&MORE_FEATURES);
    let features: Vec<Value> = features.map(|name| json!({"name": name})).collect();
    let unchanged = same(&old.conditions, &wanted) && old.supported_features == features;
    (!unchanged).then(|| json!({"conditions": wanted, "supportedFeatures": features}))
}

/// The status of a Gateway, if it is to be another one. `None` of another kind's, too.
pub fn gateway(old: &GatewayStatus, status: &Status, stamp: Stamp) -> Option<Value> {
    let Status::Gateway {
        conditions: said,
        addresses,
        listeners,
    } = status
    else {
        return None;
    };
    let wanted = conditions(&old.conditions, said, stamp);
    let addresses: Vec<Address> = (addresses.iter())
        .map(|address| Address {
            type_: Some("IPAddress".to_owned()),
            value: address.to_string(),
        })
        .collect();
    let listeners: Vec<ListenerStatus> = (listeners.iter())
        .map(|said| listener(&old.listeners, said, stamp))
        .collect();
    let unchanged = same(&old.conditions, &wanted)
        && old.addresses == addresses
        && old.listeners.len() == listeners.len()
        && (old.listeners.iter().zip(&listeners)).all(|(old, new)| is_same_listener(old, new));
    (!unchanged)
        .then(|| json!({"conditions": wanted, "addresses": addresses, "listeners": listeners}))
}

fn listener(old: &[ListenerStatus], said: &ListenerSaid, stamp: Stamp) -> ListenerStatus {
    let before = old.iter().find(|one| one.name == said.name);
    let before = before.map(|one| one.conditions.as_slice());
    ListenerStatus {
        name: said.name.clone(),
        supported_kinds: (said.kinds.iter())
            .map(|kind| KindRef {
                group: Some(GROUP.to_owned()),
                kind: (*kind).to_owned(),
            })
            .collect(),
        attached_routes: said.attached,
        conditions: conditions(before.unwrap_or_default(), &said.conditions, stamp),
    }
}

fn is_same_listener(old: &ListenerStatus, new: &ListenerStatus) -> bool {
    old.name == new.name
        && old.supported_kinds == new.supported_kinds
        && old.attached_routes == new.attached_routes
        && same(&old.conditions, &new.conditions)
}

/// The status of a route, if it is to be another one. What other controllers say of it stays.
pub fn route(old: &RouteStatus, parents: &[(ParentRef, Vec<Said>)], stamp: Stamp) -> Option<Value> {
    let (ours, others): (Vec<_>, Vec<_>) =
        (old.parents.iter()).partition(|parent| parent.controller_name == CONTROLLER);
    let wanted: Vec<ParentStatus> = (parents.iter())
        .map(|(parent, said)| {
            let before = ours.iter().find(|one| one.parent_ref == *parent);
            let before = before.map(|one| one.conditions.as_slice());
            ParentStatus {
                parent_ref: parent.clone(),
                controller_name: CONTROLLER.to_owned(),
                conditions: conditions(before.unwrap_or_default(), said, stamp),
            }
        })
        .collect();
    let unchanged = ours.len() == wanted.len()
        && (ours.iter().zip(&wanted)).all(|(old, new)| {
            old.parent_ref == new.parent_ref && same(&old.conditions, &new.conditions)
        });
    let all: Vec<&ParentStatus> = others.into_iter().chain(&wanted).collect();
    (!unchanged).then(|| json!({"parents": all}))
}

#[cfg(test)]
mod tests;
