//! Ingresses: a reverse proxy for HTTP/1.1, HTTP/2 and WebSockets, by host and path.
//!
//! ```text
//! informers (Ingress, IngressClass, Secret) -> build -> Table of routes, certificates     (replaced as a whole, when they change)
//! client -> listen (TLS by SNI) -> serve (route, may it, redirect) -> forward -> an endpoint of the backend
//!                                                                        ^
//! informers (Service, EndpointSlice) -> backends, looked up when asked for and kept until they change
//! ```
//!
//! Endpoints are asked directly, not by way of the Service's address: each request takes the next one, and another one if it cannot be
//! reached. What is passed on was read by hyper and is written anew by hyper, so that client and backend cannot read one message
//! differently. Statuses say where Ingresses are served; what is not served as its Ingress says is told by events.
//!
//! Certificates' keys are Secrets of all namespaces, which a node must not read: this runs beside the control plane only.
//!
//! Rejected: a proxy library (pingora): its value is a framework for filters, connection reuse over workers and zero-downtime
//! restarts of its own process, and it brings a second TLS and a runtime a worker; what is needed here is hyper's server and client,
//! which are in the process anyway.

mod annotations;
mod answer;
mod backends;
mod body;
mod build;
mod certificates;
mod class;
mod connection;
mod forward;
mod headers;
mod listen;
mod path;
mod publish;
mod regexes;
mod routes;
mod serve;
mod sources;
mod tunnel;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use k8s_openapi::api::{
    core::v1::Secret,
    networking::v1::{Ingress as Object, IngressClass},
};
use knarr_client::{Informer, InformerScope, Informers};
use knarr_tasks::Tasks;
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

pub use crate::certificates::Error;
use crate::{
    backends::Backends,
    build::Key,
    certificates::{Parsed, Shown},
    forward::Forwarder,
    listen::{Gate, Port, State},
    publish::Publisher,
    regexes::Regexes,
    serve::Core,
};

/// Making the routes anew takes at most this part of a core's time.
const LOAD_DIVISOR: u32 = 5;
/// Changes within this time are taken together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
/// How long connections may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// Where to serve.
#[derive(Clone, Debug)]
pub struct Config {
    pub http_port: u16,
    pub https_port: u16,
    /// What statuses say of where that is.
    pub addresses: Vec<IpAddr>,
}

/// The Ingress controller, not yet running.
pub struct Ingress {
    config: Config,
    client: kube::Client,
    ingresses: Informer<Object>,
    classes: Informer<IngressClass>,
    secrets: Informer<Secret>,
    backends: Arc<Backends>,
    publisher: Arc<Publisher>,
    shown: Arc<Shown>,
    changed: Arc<Notify>,
}

impl Ingress {
    /// `client`, and the informers, should be those of `system:knarr:ingress`.
    ///
    /// # Errors
    /// When the process has no TLS.
    pub fn new(config: Config, client: kube::Client, informers: &Informers) -> Result<Self, Error> {
        let secrets = informers.informer_with(InformerScope {
            field_selector: Some(format!("type={}", certificates::SECRET_TYPE)),
            ..InformerScope::default()
        });
        let (ingresses, classes) = (informers.informer(), informers.informer());
        let publisher = Publisher::new(client.clone(), ingresses.clone(), classes.clone());
        let this = Self {
            config,
            client,
            backends: Backends::new(informers.informer(), informers.informer()),
            ingresses,
            classes,
            secrets,
            publisher,
            shown: Shown::new()?,
            changed: Arc::default(),
        };
        this.listen();
        Ok(this)
    }

    /// Notes what events change.
    fn listen(&self) {
        let (changed, publisher) = (self.changed.clone(), self.publisher.clone());
        self.ingresses.on_event(move |event| {
            changed.notify_one();
            publisher.look_at(event.object());
        });
        let (changed, publisher) = (self.changed.clone(), self.publisher.clone());
        self.classes.on_event(move |_| {
            changed.notify_one();
            publisher.look_at_all();
        });
        let changed = self.changed.clone();
        self.secrets.on_event(move |_| changed.notify_one());
    }

    /// Serves until `token` is cancelled. Ports that are taken are waited for.
    pub async fn run(self, token: CancellationToken) {
        let tls = match certificates::server_config(self.shown.clone()) {
            Ok(tls) => TlsAcceptor::from(tls),
            Err(error) => {
                // The process lives on without Ingresses.
                tracing::error!(%error, "Ingresses are not served");
                return token.cancelled().await;
            }
        };
        let core = Arc::new(Core {
            table: ArcSwap::default(),
            forwarder: Forwarder::new(self.backends.clone()),
            https_port: self.config.https_port,
        });
        let tasks = Tasks::new(token.clone());
        let class = class::ensure(self.client.clone(), self.classes.clone());
        let stop = token.clone();
        tasks.spawn("the IngressClass", async move {
            stop.run_until_cancelled(class).await;
        });
        let publisher = self.publisher.clone();
        let stop = token.clone();
        tasks.spawn("the statuses of Ingresses", async move {
            stop.run_until_cancelled(publisher.run()).await;
        });
        let following = self.follow(&core, || self.open(&core, tls.clone(), &tasks, &token));
        token.run_until_cancelled(following).await;
        if tokio::time::timeout(STOP_TIMEOUT, tasks.stopped())
            .await
            .is_err()
        {
            tracing::debug!("some connections to the Ingress did not end in time");
        }
    }

    /// Makes routes anew whenever something changes; calls `ready` when there are any.
    async fn follow(&self, core: &Core, ready: impl FnOnce()) {
        self.ingresses.synced().await;
        self.classes.synced().await;
        self.secrets.synced().await;
        self.backends.synced().await;
        let mut parsed = Parsed::default();
        let mut regexes = Regexes::default();
        let mut ready = Some(ready);
        loop {
            let started = Instant::now();
            knarr_tasks::heavy(|| self.rebuild(core, &mut parsed, &mut regexes));
            if let Some(ready) = ready.take() {
                ready();
            }
            let pause = started.elapsed().saturating_mul(LOAD_DIVISOR);
            tokio::time::sleep(pause.max(SHORTEST_PAUSE)).await;
            self.changed.notified().await;
        }
    }

    fn rebuild(&self, core: &Core, parsed: &mut Parsed, regexes: &mut Regexes) {
        let ours = class::ours(&self.ingresses, &self.classes);
        let count = ours.len();
        let mut used = std::collections::HashSet::new();
        let built = build::build(ours, regexes, |key: &Key| {
            used.insert(key.clone());
            parsed.get(key, self.secrets.get(&key.namespace, &key.name).as_deref())
        });
        parsed.retain(|key| used.contains(key));
        self.shown.replace(built.certificates);
        core.table.store(Arc::new(built.table));
        self.backends.forget_all();
        self.publisher.tell(&built.problems);
        tracing::debug!(ingresses = count, "routes are in place");
    }

    /// Opens the ports.
    fn open(&self, core: &Arc<Core>, tls: TlsAcceptor, tasks: &Tasks, token: &CancellationToken) {
        let gate = Gate::new();
        let ports = [
            (self.config.http_port, None),
            (self.config.https_port, Some(tls)),
        ];
        // That of IPv6 is for both families.
        let any: IpAddr = match self.config.addresses.iter().any(IpAddr::is_ipv6) {
            true => Ipv6Addr::UNSPECIFIED.into(),
            false => Ipv4Addr::UNSPECIFIED.into(),
        };
        let states = ports.map(|(number, tls)| {
            let (state, seen) = watch::channel(State::Waiting);
            let port = Port {
                address: SocketAddr::new(any, number),
                tls,
                core: core.clone(),
                gate: gate.clone(),
                state,
            };
            tasks.keep(
                "a port of the Ingress",
                port.run(tasks.clone(), token.clone()),
            );
            seen
        });
        for state in states {
            let watching = watch_port(state, self.publisher.clone(), self.config.addresses.clone());
            let stop = token.clone();
            tasks.spawn("the state of a port", async move {
                stop.run_until_cancelled(watching).await;
            });
        }
    }
}

/// Tells users what becomes of a port. One that is ours makes Ingresses reachable.
async fn watch_port(
    mut state: watch::Receiver<State>,
    publisher: Arc<Publisher>,
    addresses: Vec<IpAddr>,
) {
    loop {
        let now = state.borrow_and_update().clone();
        match now {
            State::Waiting => {}
            State::Listening => publisher.serve_at(addresses.clone()),
            State::Taken(problem) => publisher.tell_of_port(&problem),
        }
        if state.changed().await.is_err() {
            return;
        }
    }
}
