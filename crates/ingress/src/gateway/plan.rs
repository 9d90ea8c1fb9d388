//! What is to be served, and what statuses are to say of it: a function of what there is.

mod attach;
mod routes;
mod statuses;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use self::routes::Theirs;
use super::{
    addresses,
    listeners::{self, ServedGateway},
    said::{Status, Subject, Wanted},
    world::{Lookups, Owners, Places, World},
};
use crate::{build::Key, regexes::Taking, routes::Site, tables::Place};

/// What Gateways and routes come to.
#[derive(Debug, Default)]
pub struct Plan {
    pub places: BTreeMap<Place, Served>,
    /// Ports to listen on.
    pub ports: BTreeSet<u16>,
    pub statuses: BTreeMap<Subject, Wanted>,
}

/// What a port serves.
#[derive(Debug, Default)]
pub struct Served {
    pub tls: bool,
    /// By patterns of hosts.
    pub sites: BTreeMap<String, Site>,
}

/// Makes a plan. `owners` are the namespaces that hosts of Ingresses are of.
pub fn plan(
    world: &World,
    places: &Places,
    owners: &Owners,
    lookups: &mut impl Lookups,
    regexes: &mut Taking<'_>,
) -> Plan {
    let mut plan = Plan::default();
    let ours = world.our_classes();
    for class in &world.classes {
        if let Some(name) = class
            .metadata
            .name
            .as_deref()
            .filter(|name| ours.contains(name))
        {
            let conditions = statuses::class(class, world.release.as_deref());
            let subject = Subject::Class(name.to_owned());
            plan.say(subject, &class.metadata, Status::Class { conditions });
        }
    }
    let gateways = world.our_gateways();
    let mut given = addresses::give(&gateways, places);
    let gateways = gateways.into_iter().map(|gateway| {
        let given = given.remove(&Key::of(&*gateway)).unwrap_or_default();
        (gateway, given)
    });
    let mut served_gateways =
        listeners::resolve(gateways.collect(), world, places, owners, lookups);
    plan.open(&served_gateways);
    let theirs = Theirs { places, owners };
    routes::add(
        &mut plan,
        &mut served_gateways,
        (world, theirs),
        lookups,
        regexes,
    );
    for served_gateway in &served_gateways {
        let subject = Subject::Gateway(served_gateway.key.clone());
        let status = statuses::gateway(served_gateway);
        plan.say(subject, &served_gateway.gateway.metadata, status);
    }
    plan
}

impl Plan {
    /// Makes room for each listener that is served: also one without routes has its hosts.
    fn open(&mut self, served_gateways: &[ServedGateway]) {
        for served_gateway in served_gateways
            .iter()
            .filter(|served_gateway| served_gateway.is_accepted())
        {
            for listener in served_gateway
                .listeners
                .iter()
                .filter(|one| one.is_served())
            {
                self.ports.insert(listener.port);
                for address in listeners::addresses(&served_gateway.given) {
                    let served = self.places.entry((address, listener.port)).or_default();
                    served.tls = listener.tls;
                    let site = served.sites.entry(listener.pattern.clone());
                    let site = site.or_insert_with(|| Site::listener(Vec::new()));
                    for certificate in &listener.certificates {
                        site.certificates.push(Arc::clone(certificate));
                    }
                }
            }
        }
    }

    fn say(&mut self, subject: Subject, of: &ObjectMeta, status: Status) {
        let generation = of.generation.unwrap_or_default();
        self.statuses.insert(subject, Wanted { generation, status });
    }

    fn site(&mut self, place: Place, pattern: &str) -> Option<&mut Site> {
        self.places.get_mut(&place)?.sites.get_mut(pattern)
    }
}

#[cfg(test)]
mod tests;
