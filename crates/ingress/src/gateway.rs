//! Gateways: the Gateway API's kinds, served by the same engine as Ingresses.
//!
//! ```text
//! definitions, installed where there are none -> informers (classes, Gateways, routes, grants, namespaces)
//! World + Services + Secrets + ports -> plan -> sites of each port   (to the table of routes)
//!                                            -> statuses             (to the publisher, which writes what is news)
//! ```

mod addresses;
mod claims;
mod compiled;
mod definitions;
mod grants;
mod install;
mod kinds;
mod listeners;
mod plan;
mod publish;
mod said;
mod status;
mod types;
mod world;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use k8s_openapi::api::core::v1::{Namespace, Service};
use knarr_client::{Event, Informer, Informers};
use knarr_tasks::Tasks;
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use self::{kinds::Kinds, publish::Publisher, said::Subject, world::Lookups};
pub use self::{
    plan::Plan,
    world::{Owners, Places},
};
use crate::{
    backends::Backends,
    build::{Claim, Key},
    listen::State,
    ports::Ports,
    regexes::Taking,
};

/// The controller.
pub struct Gateways {
    client: kube::Client,
    informers: Informers,
    kinds: Arc<OnceLock<Kinds>>,
    namespaces: Informer<Namespace>,
    backends: Arc<Backends>,
    publisher: Arc<Publisher>,
    changed: Arc<Notify>,
    places: Places,
}

impl Gateways {
    /// `client` and `informers` should be those of `system:knarr:gateway`.
    pub fn new(
        (client, informers): (kube::Client, Informers),
        backends: Arc<Backends>,
        changed: Arc<Notify>,
        places: Places,
    ) -> Self {
        let kinds = Arc::<OnceLock<Kinds>>::default();
        Self {
            publisher: Publisher::new(client.clone(), kinds.clone()),
            namespaces: informers.informer(),
            client,
            informers,
            kinds,
            backends,
            changed,
            places,
        }
    }

    /// Installs what is lacking, and begins to follow.
    pub fn start(&self, tasks: &Tasks, token: &CancellationToken) {
        let (client, informers) = (self.client.clone(), self.informers.clone());
        let (kinds, changed) = (self.kinds.clone(), self.changed.clone());
        let (publisher, namespaces) = (self.publisher.clone(), self.namespaces.clone());
        let backends = self.backends.clone();
        let following = async move {
            let installed = install::install(&client, &informers).await;
            let followed = Kinds::follow(&informers, installed, &changed).await;
            namespaces.synced().await;
            let classes = followed.classes.clone();
            let followed = kinds.get_or_init(|| followed);
            follow_statuses(followed, &publisher);
            let of_labels = changed.clone();
            namespaces.on_event(move |event| {
                if !matches!(&event, Event::Updated { old, new } if old.metadata.labels == new.metadata.labels) {
                    of_labels.notify_one();
                }
            });
            let of_ports = changed.clone();
            backends.on_ports(move || of_ports.notify_one());
            changed.notify_one();
            install::ensure_class(client, classes).await;
            publisher.run().await;
        };
        let stop = token.clone();
        tasks.spawn("the statuses of Gateways", async move {
            stop.run_until_cancelled(following).await;
        });
    }

    /// Hosts that Gateways and routes have on the addresses that they share with Ingresses.
    pub fn claims(&self) -> Vec<Claim> {
        match self.kinds.get() {
            Some(kinds) if self.places.ingresses.is_some() => {
                claims::claims(&kinds.world(), &self.places)
            }
            _ => Vec::new(),
        }
    }

    /// What is to be served. Nothing as long as there are no definitions. `certificate` finds the one that a Secret has, or says why
    /// it has none.
    pub fn plan(
        &self,
        owners: &Owners,
        ports: &Ports,
        certificate: &mut impl FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
        regexes: &mut Taking<'_>,
    ) -> Plan {
        let Some(kinds) = self.kinds.get() else {
            return Plan::default();
        };
        let mut lookups = Found {
            gateways: self,
            ports,
            certificate,
        };
        plan::plan(&kinds.world(), &self.places, owners, &mut lookups, regexes)
    }

    /// Statuses are to be a plan's from now on.
    pub fn publish(&self, plan: Plan) {
        self.publisher.publish(plan.statuses);
    }
}

/// Looks at statuses that somebody may have written.
fn follow_statuses(kinds: &Kinds, publisher: &Arc<Publisher>) {
    let to = publisher.clone();
    (kinds.classes)
        .on_event(move |event| to.look_at(Subject::Class(Key::of(&**event.object()).name)));
    let to = publisher.clone();
    (kinds.gateways)
        .on_event(move |event| to.look_at(Subject::Gateway(Key::of(&**event.object()))));
    let to = publisher.clone();
    (kinds.http_routes)
        .on_event(move |event| to.look_at(Subject::HttpRoute(Key::of(&**event.object()))));
    let to = publisher.clone();
    (kinds.grpc_routes)
        .on_event(move |event| to.look_at(Subject::GrpcRoute(Key::of(&**event.object()))));
}

/// What plans look up.
struct Found<'g, C> {
    gateways: &'g Gateways,
    ports: &'g Ports,
    certificate: &'g mut C,
}

impl<C> Lookups for Found<'_, C>
where
    C: FnMut(&Key) -> Result<Arc<CertifiedKey>, String>,
{
    fn service(&self, key: &Key) -> Option<Arc<Service>> {
        self.gateways.backends.service(key)
    }

    fn certificate(&mut self, secret: &Key) -> Result<Arc<CertifiedKey>, String> {
        (self.certificate)(secret)
    }

    fn labels(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let namespace = self.gateways.namespaces.get("", namespace)?;
        Some(namespace.metadata.labels.clone().unwrap_or_default())
    }

    fn port(&self, number: u16) -> State {
        self.ports.state(number)
    }
}
