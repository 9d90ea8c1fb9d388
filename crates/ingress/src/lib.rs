//! Ingresses and Gateways: a reverse proxy for HTTP/1.1, HTTP/2 and WebSockets, by host, path and what else a rule asks of a request.
//!
//! ```text
//! informers (Ingress, IngressClass, Secret) -> build -> Draft of sites, certificates \
//!                                                                                     Tables of routes, one a port  (replaced as a whole)
//! informers (Gateway, HTTPRoute, GRPCRoute, ...) -> gateway -> Plan of sites, ports  /
//! client -> listen (TLS by SNI) -> serve (route, may it, redirect) -> forward -> an endpoint of the backend
//!                                                                        ^
//! informers (Service, EndpointSlice) -> backends, looked up when asked for and kept until they change
//! ```
//!
//! Endpoints are asked directly, not by way of the Service's address: each request takes the next one, and another one if it cannot be
//! reached. What is passed on was read by hyper and is written anew by hyper, so that client and backend cannot read one message
//! differently. Statuses say where Ingresses and Gateways are served, and of Gateways and routes what is not; of Ingresses that is told by
//! events.
//!
//! Certificates' keys are Secrets of all namespaces, which a node must not read: this runs beside the control plane only.
//!
//! Rejected: a proxy library (pingora): its value is a framework for filters, connection reuse over workers and zero-downtime
//! restarts of its own process, and it brings a second TLS and a runtime a worker; what is needed here is hyper's server and client,
//! which are in the process anyway.

mod annotations;
mod answer;
mod backend_ref;
mod backends;
mod body;
mod build;
mod certificates;
mod class;
mod conditions;
mod connection;
mod filters;
mod forward;
mod gateway;
mod handshake;
mod headers;
mod hosts;
mod ingresses;
mod listen;
mod mirrored;
mod path;
mod ports;
mod publish;
mod regexes;
mod route;
mod routes;
mod serve;
mod sources;
mod spread;
mod tables;
mod tunnel;

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use k8s_openapi::api::core::v1::Secret;
use knarr_client::{Informer, InformerScope, Informers};
use knarr_tasks::Tasks;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use crate::certificates::Error;
use crate::{
    backends::Backends,
    build::Key,
    certificates::{Parsed, Shown},
    forward::Forwarder,
    gateway::{Gateways, Places},
    handshake::Handshakes,
    ingresses::Ingresses,
    listen::Gate,
    ports::{Opening, Ports},
    regexes::{Regexes, Taking},
    serve::Core,
    tables::Tables,
};

/// Making the routes anew takes at most this part of a core's time.
const LOAD_DIVISOR: u32 = 5;
/// Changes within this time are taken together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long connections may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Where redirects to HTTPS lead if no port is Ingresses'.
const HTTPS_PORT: u16 = 443;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Config {
    /// Ports for Ingresses, HTTP and HTTPS; none if they are not served.
    pub ingresses: Option<(u16, u16)>,
    /// Whether Gateways are served.
    pub gateways: bool,
    /// Of this machine, for one Gateway each.
    pub gateway_addresses: Vec<IpAddr>,
    /// What statuses say of where all others are served.
    pub addresses: Vec<IpAddr>,
}

/// The controller of Ingresses and Gateways, not yet running.
pub struct Ingress {
    config: Config,
    ingresses: Option<Ingresses>,
    gateways: Option<Gateways>,
    secrets: Informer<Secret>,
    backends: Arc<Backends>,
    shown: Arc<Shown>,
    changed: Arc<Notify>,
}

impl Ingress {
    /// `client`, and the informers, should be those of `system:knarr:ingress`, `for_gateways` those of `system:knarr:gateway`.
    ///
    /// # Errors
    /// When the process has no TLS.
    pub fn new(
        config: Config,
        client: kube::Client,
        informers: &Informers,
        for_gateways: (kube::Client, Informers),
    ) -> Result<Self, Error> {
        let secrets: Informer<Secret> = informers.informer_with(InformerScope {
            field_selector: Some(format!("type={}", certificates::SECRET_TYPE)),
            ..InformerScope::default()
        });
        let changed = Arc::<Notify>::default();
        let to = changed.clone();
        secrets.on_event(move |_| to.notify_one());
        let backends = Backends::new(informers.informer(), informers.informer());
        let ingresses = config.ingresses;
        let ingresses = ingresses.map(|_| Ingresses::new(client, informers, &changed));
        let places = Places {
            shared: config.addresses.clone(),
            own: config.gateway_addresses.clone(),
            ingresses: config.ingresses,
        };
        let gateways = config
            .gateways
            .then(|| Gateways::new(for_gateways, backends.clone(), changed.clone(), places));
        Ok(Self {
            config,
            ingresses,
            gateways,
            secrets,
            backends,
            shown: Shown::new()?,
            changed,
        })
    }

    /// Serves until `token` is cancelled. Ports that are taken are waited for.
    pub async fn run(self, token: CancellationToken) {
        let tables = Arc::<ArcSwap<Tables>>::default();
        let core = Arc::new(Core {
            tables: tables.clone(),
            forwarder: Forwarder::new(self.backends.clone()),
            https_port: self.config.ingresses.map_or(HTTPS_PORT, |(_, https)| https),
        });
        let tasks = Tasks::new(token.clone());
        if let Some(ingresses) = &self.ingresses {
            ingresses.start(&tasks, &token);
        }
        if let Some(gateways) = &self.gateways {
            gateways.start(&tasks, &token);
        }
        let opening = Opening {
            any: self.any(),
            core,
            handshakes: Handshakes::new(self.shown.clone(), tables.clone()),
            gate: Gate::new(),
            tasks: tasks.clone(),
            token: token.clone(),
        };
        let ports = Ports::new(opening, self.changed.clone());
        let following = self.follow(&tables, ports, (&tasks, &token));
        token.run_until_cancelled(following).await;
        if tokio::time::timeout(STOP_TIMEOUT, tasks.stopped())
            .await
            .is_err()
        {
            tracing::debug!("some connections to the Ingress did not end in time");
        }
    }

    /// The address for all: that of IPv6 is for both families.
    fn any(&self) -> IpAddr {
        let mut all = (self.config.addresses.iter()).chain(&self.config.gateway_addresses);
        match all.any(IpAddr::is_ipv6) {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        }
    }

    /// Makes routes anew whenever something changes; opens ports when there are any.
    async fn follow(
        &self,
        tables: &ArcSwap<Tables>,
        mut ports: Ports,
        running: (&Tasks, &CancellationToken),
    ) {
        if let Some(ingresses) = &self.ingresses {
            ingresses.synced().await;
        }
        self.secrets.synced().await;
        self.backends.synced().await;
        let mut parsed = Parsed::default();
        let mut regexes = Regexes::default();
        let mut first = true;
        loop {
            let started = Instant::now();
            knarr_tasks::heavy(|| self.rebuild(tables, &mut ports, &mut parsed, &mut regexes));
            if std::mem::take(&mut first) {
                self.open(&mut ports, running);
            }
            let pause = started.elapsed().saturating_mul(LOAD_DIVISOR);
            tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
            self.changed.notified().await;
        }
    }

    fn rebuild(
        &self,
        tables: &ArcSwap<Tables>,
        ports: &mut Ports,
        parsed: &mut Parsed,
        regexes: &mut Regexes,
    ) {
        let mut used = HashSet::new();
        let mut certificate = |key: &Key| {
            used.insert(key.clone());
            parsed.get(key, self.secrets.get(&key.namespace, &key.name).as_deref())
        };
        let mut taking = Taking::new(regexes);
        let claims = self.gateways.as_ref().map(Gateways::claims);
        let claims = claims.unwrap_or_default();
        let built = self.ingresses.as_ref();
        let built = built.map(|ingresses| ingresses.build(claims, &mut taking, &mut certificate));
        let built = built.unwrap_or_default();
        let plan = self.gateways.as_ref();
        let mut plan = plan
            .map(|gateways| gateways.plan(&built.owners, ports, &mut certificate, &mut taking))
            .unwrap_or_default();
        drop(taking);
        parsed.retain(|key| used.contains(key));
        let mut now = Tables::default();
        if let (Some(ingresses), Some((http, https))) = (&self.ingresses, self.config.ingresses) {
            ingresses.tell(&built);
            now.add_ingresses(http, false, built.table.clone());
            now.add_ingresses(https, true, built.table);
        }
        for (place, served) in std::mem::take(&mut plan.places) {
            now.add_sites(place, served.tls, served.sites.into_iter());
        }
        self.shown.replace(built.certificates);
        tables.store(Arc::new(now));
        self.backends.forget_all();
        ports.open(&plan.ports);
        if let Some(gateways) = &self.gateways {
            gateways.publish(plan);
        }
        tracing::debug!("routes are in place");
    }

    /// Opens the ports of Ingresses.
    fn open(&self, ports: &mut Ports, running: (&Tasks, &CancellationToken)) {
        let (Some(ingresses), Some((http, https))) = (&self.ingresses, self.config.ingresses)
        else {
            return;
        };
        for number in [http, https] {
            let state = ports.keep(number);
            ingresses.watch(state, self.config.addresses.clone(), running);
        }
    }
}
