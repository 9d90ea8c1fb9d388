//! Hosts of Gateways on the addresses that Ingresses are served at, so that no Ingress of another namespace takes a part of them.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{
    addresses,
    listeners::lower,
    types::{GROUP, ParentRef},
    world::{Places, World},
};
use crate::build::{Claim, Key};

/// A listener's host is its Gateway's namespace's; where a listener is for all hosts, those of its routes are the routes'.
pub fn claims(world: &World, places: &Places) -> Vec<Claim> {
    let gateways = world.our_gateways();
    let given = addresses::give(&gateways, places);
    let mut claims = Vec::new();
    let mut open = BTreeSet::new();
    for gateway in &gateways {
        let key = Key::of(&**gateway);
        let alone = given.get(&key).is_some_and(|given| !given.own.is_empty());
        if alone {
            continue;
        }
        for listener in &gateway.spec.listeners {
            match listener.hostname.as_deref() {
                Some(host) => claims.push(claim(&gateway.metadata, host)),
                None => {
                    open.insert(key.clone());
                }
            }
        }
    }
    let http = world.http_routes.iter();
    let http = http.map(|route| {
        (
            &route.metadata,
            &route.spec.parent_refs,
            &route.spec.hostnames,
        )
    });
    let grpc = world.grpc_routes.iter();
    let grpc = grpc.map(|route| {
        (
            &route.metadata,
            &route.spec.parent_refs,
            &route.spec.hostnames,
        )
    });
    for (metadata, parents, hosts) in http.chain(grpc) {
        claims.extend(of_route(metadata, parents, hosts, &open));
    }
    claims
}

fn of_route(
    meta: &ObjectMeta,
    parents: &[ParentRef],
    hosts: &[String],
    open: &BTreeSet<Key>,
) -> Vec<Claim> {
    let own = meta.namespace.as_deref().unwrap_or_default();
    let joins = parents.iter().any(|parent| {
        let key = Key {
            namespace: parent.namespace.as_deref().unwrap_or(own).to_owned(),
            name: parent.name.clone(),
        };
        let is_gateway = parent.group.as_deref().is_none_or(|group| group == GROUP)
            && parent.kind.as_deref().is_none_or(|kind| kind == "Gateway");
        is_gateway && open.contains(&key)
    });
    match joins {
        true => hosts.iter().map(|host| claim(meta, host)).collect(),
        false => Vec::new(),
    }
}

fn claim(meta: &ObjectMeta, host: &str) -> Claim {
    Claim {
        created: meta.creation_timestamp.as_ref().map(|time| time.0),
        namespace: meta.namespace.clone().unwrap_or_default(),
        host: lower(Some(host)),
    }
}
