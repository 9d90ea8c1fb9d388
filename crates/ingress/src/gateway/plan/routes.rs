//! Puts routes where they are attached.

use std::collections::BTreeSet;

use super::{Plan, attach::Facts};
use crate::{
    build::Key,
    gateway::{
        compiled::{self, Compiled},
        listeners::{self, ServedGateway},
        said::{Said, Status, Subject, Why, whether},
        types::ParentRef,
        world::{Lookups, Owners, Places, World, age},
    },
    regexes::Taking,
    tables::Place,
};

/// What is of Ingresses.
#[derive(Clone, Copy)]
pub struct Theirs<'p> {
    pub places: &'p Places,
    pub owners: &'p Owners,
}

impl Theirs<'_> {
    /// A host of a route that is an Ingress' where a listener for all hosts is.
    fn host<'f>(
        self,
        served_gateway: &ServedGateway,
        at: usize,
        facts: &Facts<'f>,
    ) -> Option<&'f String> {
        let (http, https) = self.places.ingresses?;
        let listener = served_gateway.listeners.get(at)?;
        let beside = [http, https].contains(&listener.port)
            && listeners::addresses(&served_gateway.given).any(|address| address.is_none());
        let namespace = facts.meta.namespace.as_ref();
        facts.hosts_of(listener).find(|host| {
            let owner = self.owners.get(*host);
            beside && owner.is_some() && owner != namespace
        })
    }
}

/// Adds all routes. The oldest come first: of two rules that ask for the same, theirs decides.
pub fn add(
    plan: &mut Plan,
    served_gateways: &mut [ServedGateway],
    (world, theirs): (&World, Theirs<'_>),
    lookups: &impl Lookups,
    regexes: &mut Taking<'_>,
) {
    let mut http = world.http_routes.clone();
    http.sort_by_cached_key(|route| age(&route.metadata));
    for route in &http {
        let hosts = hosts(&route.spec.hostnames);
        let facts = Facts {
            kind: "HTTPRoute",
            meta: &route.metadata,
            parents: &route.spec.parent_refs,
            hosts: &hosts,
        };
        let subject = Subject::HttpRoute(Key::of(&**route));
        let compile = || compiled::http(route, &hosts, world, lookups, regexes);
        attach(
            plan,
            served_gateways,
            (lookups, theirs),
            (facts, subject),
            compile,
        );
    }
    let mut grpc = world.grpc_routes.clone();
    grpc.sort_by_cached_key(|route| age(&route.metadata));
    for route in &grpc {
        let hosts = hosts(&route.spec.hostnames);
        let facts = Facts {
            kind: "GRPCRoute",
            meta: &route.metadata,
            parents: &route.spec.parent_refs,
            hosts: &hosts,
        };
        let subject = Subject::GrpcRoute(Key::of(&**route));
        let compile = || compiled::grpc(route, &hosts, world, lookups, regexes);
        attach(
            plan,
            served_gateways,
            (lookups, theirs),
            (facts, subject),
            compile,
        );
    }
}

/// In small letters, each once; one empty one of all.
fn hosts(names: &[String]) -> Vec<String> {
    let mut hosts: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    hosts.sort_unstable();
    hosts.dedup();
    match hosts.is_empty() {
        true => vec![String::new()],
        false => hosts,
    }
}

fn attach(
    plan: &mut Plan,
    served_gateways: &mut [ServedGateway],
    (lookups, theirs): (&impl Lookups, Theirs<'_>),
    (facts, subject): (Facts<'_>, Subject),
    compile: impl FnOnce() -> Compiled,
) {
    let parents = facts.parents.iter();
    let ours: Vec<(&ParentRef, usize)> = parents
        .filter_map(|parent| Some((parent, facts.gateway(parent, served_gateways)?)))
        .collect();
    let going = facts.meta.deletion_timestamp.is_some();
    // A status that names none of ours tells that there is none any more.
    if ours.is_empty() || going {
        let parents = Vec::new();
        return plan.say(subject, facts.meta, Status::Route { parents });
    }
    let compiled = compile();
    let mut done = Done::default();
    let mut told = Vec::with_capacity(ours.len());
    for (parent, at) in ours {
        let Some(served_gateway) = served_gateways.get_mut(at) else {
            continue;
        };
        let joined = facts.join(parent, served_gateway, lookups);
        let joined = joined.and_then(|joined| match &compiled.refused {
            Some(why) => Err(why.clone()),
            None => Ok(joined),
        });
        let mut message = String::new();
        let accepted = joined.map(|joined| {
            for at in joined {
                place(plan, served_gateway, at, (&facts, &compiled), &mut done);
                if let Some(host) = theirs.host(served_gateway, at, &facts) {
                    message = format!("{host} is an older Ingress' of another namespace there");
                }
            }
        });
        let mut conditions = conditions(accepted, &compiled);
        if let Some(accepted) = conditions.first_mut().filter(|_| !message.is_empty()) {
            accepted.message = message;
        }
        told.push((parent.clone(), conditions));
    }
    plan.say(subject, facts.meta, Status::Route { parents: told });
}

fn conditions(accepted: Result<(), Why>, compiled: &Compiled) -> Vec<Said> {
    vec![
        whether("Accepted", "Accepted", accepted),
        whether("ResolvedRefs", "ResolvedRefs", compiled.resolved.clone()),
    ]
}

/// What has been done with a route: several of its parents may be one listener, or share places.
#[derive(Default)]
struct Done {
    /// Gateways and listeners that have counted it.
    counted: BTreeSet<(Key, String)>,
    /// Places, patterns of sites and hosts that have its rules.
    added: BTreeSet<(Place, String, String)>,
}

/// Adds a route's rules to a listener, once to each of its places.
fn place(
    plan: &mut Plan,
    served_gateway: &mut ServedGateway,
    at: usize,
    (facts, compiled): (&Facts<'_>, &Compiled),
    done: &mut Done,
) {
    let Some(listener) = served_gateway.listeners.get_mut(at) else {
        return;
    };
    if done
        .counted
        .insert((served_gateway.key.clone(), listener.name.clone()))
    {
        listener.attached = listener.attached.saturating_add(1);
    }
    for address in listeners::addresses(&served_gateway.given) {
        let place = (address, listener.port);
        for host in facts.hosts_of(listener) {
            let key = (place, listener.pattern.clone(), host.clone());
            if let Some(site) = plan.site(place, &listener.pattern)
                && done.added.insert(key)
            {
                compiled.add_to(site.host(host));
            }
        }
    }
}
