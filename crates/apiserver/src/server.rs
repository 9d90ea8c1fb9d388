//! The server: what it is made of, how it starts, serves and stops.

pub mod audit;
pub mod components;
mod connect;
mod deadline;
mod expiry;
mod flow;
mod flow_control;
pub mod handle;
pub mod health;
pub mod heavy;
pub mod incoming;
pub mod limits;
mod listen;
mod local;
mod maintenance;
pub mod metrics;
pub mod pages;
pub mod peer;
mod warnings;
mod zpages;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use knarr_api::{Kinds, flowcontrol::standard};
use knarr_fairness::Fairness;
use knarr_store::Store;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::components::Components;
pub use self::local::LocalService;
use self::peer::Proxies;
use crate::{
    aggregation::{self, Aggregation, Locals},
    backend::Backends,
    bootstrap::{self, Bootstrap},
    core::Core,
    kubelet::Kubelets,
    protobuf,
};
use knarr_audit::Auditor;
use knarr_auth::{
    UserInfo,
    authn::{self, Authn},
    authz::Authz,
    front_proxy::{self, FrontProxies},
    objects::Objects,
    pki::{self, Pki, Role},
    request::TokenAuthenticator,
    tokens::{self, Tokens, VerificationKey},
};
use knarr_authorizer::Authorizers;
use knarr_identity::Identities;
use knarr_registry::{
    Registry,
    allocators::{self, Allocators},
    cache::{self, Cache},
    catalog::Catalog,
    definitions::Definitions,
    transform::Transformer,
};
use knarr_webhook::{Clients, LocalApi};

/// What the server needs to know.
#[derive(Debug)]
pub struct Config {
    /// Where the server listens; used unless `listener` is given.
    pub listen: SocketAddr,
    /// A socket that is bound already.
    pub listener: Option<std::net::TcpListener>,
    /// Directory of keys and certificates.
    pub pki_dir: PathBuf,
    pub node_name: String,
    /// Where clients and the `kubernetes` Service's endpoints find the server.
    pub advertise: IpAddr,
    /// `cluster.local`
    pub cluster_domain: String,
    /// `10.43.0.0/16`
    pub service_cidr: String,
    /// Address of the `kube-dns` Service.
    pub cluster_dns: IpAddr,
    /// Where cluster DNS listens; see [`bootstrap::Config::dns_endpoint`].
    pub dns_endpoint: Option<(IpAddr, u16)>,
    /// More names or addresses by which clients reach the server.
    pub extra_sans: Vec<String>,
    /// How long an Event is kept after its last change.
    pub event_ttl: Duration,
    /// Seats for requests of clients, of all priority levels together.
    pub seats: u32,
    /// Proxies that say on whose behalf they ask.
    pub front_proxies: Option<front_proxy::Options>,
    /// Issuers of service-account tokens; the first stands in new ones. Empty: that of the domain.
    pub token_issuers: Vec<String>,
    /// What tokens may be signed with beside the cluster's own key.
    pub token_keys: Vec<VerificationKey>,
    /// What the program was started with, without secrets: `/flagz`.
    pub flags: BTreeMap<String, String>,
    /// What nodes must agree on, published for those that join; empty where none will.
    pub node_settings: BTreeMap<String, String>,
    /// Who knows tokens that are not the cluster's own.
    pub identities: knarr_identity::Options,
    /// Whom to ask whether somebody may.
    pub authorizers: knarr_authorizer::Options,
    /// Who audits requests.
    pub auditor: Option<Arc<Auditor>>,
    /// Whether other servers may have the same store.
    pub shared_store: bool,
    /// Group-versions that other parts of this process serve.
    pub local_apis: Vec<Arc<dyn LocalApi>>,
}

impl Config {
    /// A server for programs of this machine: on a free port of 127.0.0.1, with the usual domain and ranges. Nobody can reach what it
    /// advertises, since loopback addresses are no endpoints.
    #[must_use]
    pub fn on_loopback(pki_dir: PathBuf) -> Config {
        Config {
            listen: ([127, 0, 0, 1], 0).into(),
            listener: None,
            pki_dir,
            node_name: "localhost".to_owned(),
            advertise: [192, 0, 2, 1].into(),
            cluster_domain: "cluster.local".to_owned(),
            service_cidr: "10.43.0.0/16".to_owned(),
            cluster_dns: [10, 43, 0, 10].into(),
            dns_endpoint: None,
            extra_sans: Vec::new(),
            event_ttl: EVENT_TTL,
            seats: SEATS,
            front_proxies: None,
            token_issuers: Vec::new(),
            token_keys: Vec::new(),
            flags: BTreeMap::new(),
            node_settings: BTreeMap::new(),
            identities: knarr_identity::Options::default(),
            authorizers: knarr_authorizer::Options::default(),
            auditor: None,
            shared_store: false,
            local_apis: Vec::new(),
        }
    }
}

/// How long the delivery of audit events may take at the end.
const AUDIT_TIMEOUT: Duration = Duration::from_secs(2);

/// Upstream's default of `--event-ttl`.
pub const EVENT_TTL: Duration = Duration::from_secs(60 * 60);

/// Upstream's defaults of `--max-requests-inflight` and `--max-mutating-requests-inflight`, which are seats together.
pub const SEATS: u32 = 400 + 200;

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error(transparent)]
    Pki(#[from] pki::Error),
    #[error("cannot believe front proxies")]
    FrontProxies(#[from] front_proxy::Error),
    #[error("cannot fill the watch cache")]
    Cache(#[from] cache::Error),
    #[error("cannot use the service-account key")]
    ServiceAccountKey(#[from] tokens::KeyError),
    #[error(transparent)]
    Identities(#[from] knarr_identity::Error),
    #[error(transparent)]
    Authorizers(#[from] knarr_authorizer::Error),
    #[error(transparent)]
    Allocators(#[from] allocators::Error),
    #[error("cannot make the objects every cluster has")]
    Bootstrap(#[from] bootstrap::Error),
}

/// A server that is loaded and answers in-process clients; [`Server::run`] opens it to the network.
pub struct Server {
    core: Arc<Core>,
    pki: Arc<Pki>,
    allocators: Arc<Allocators>,
    bootstrap: Arc<Bootstrap>,
    listener: std::net::TcpListener,
    address: SocketAddr,
    event_ttl: Duration,
    tls: Arc<rustls::ServerConfig>,
    /// Ends the feed and everything that hangs on connections.
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Ends the delivery of audit events, which comes after whatever is audited.
    audited: CancellationToken,
    audits: TaskTracker,
}

impl Server {
    /// Binds, loads keys and objects, starts the feed and makes what every cluster has.
    pub async fn new(config: Config, store: Arc<dyn Store>) -> Result<Server, Error> {
        let (listener, address) = listen::bind(config.listener, config.listen)?;
        let service_ip = allocators::first_service_ip(&config.service_cidr)?;
        let options = pki::Options {
            node_name: config.node_name.clone(),
            node_ip: config.advertise,
            cluster_domain: config.cluster_domain.clone(),
            service_ip,
            extra_sans: config.extra_sans.clone(),
        };
        let pki = Arc::new(Pki::open(&config.pki_dir, options)?);
        let (tls, proxies) = match config.front_proxies {
            None => (pki.server_config(Role::ApiServer)?, None),
            Some(options) => {
                let believed = Arc::new(FrontProxies::new(&options)?);
                let role = Role::ApiServer;
                let (tls, verifier) = pki.proxied_server_config(role, believed.clone())?;
                (tls, Some(Proxies { believed, verifier }))
            }
        };
        let transformer = Transformer::new(pki.encryption_key());
        let transformer = Arc::new(transformer.reading_protobuf(protobuf::stored));
        let kinds = Kinds::built_in();
        let cache = Arc::new(Cache::load(store.clone(), transformer.clone(), &kinds).await?);
        let objects: Arc<dyn Objects> = cache.clone();
        let advertised = SocketAddr::new(config.advertise, address.port()).to_string();
        let token_config = tokens::Config::of_domain(&config.cluster_domain, &advertised)
            .with_issuers(&config.token_issuers)
            .with_keys(config.token_keys);
        let tokens = Arc::new(Tokens::new(
            pki.service_account_key(),
            token_config,
            objects.clone(),
        )?);
        let authz = Arc::new(Authz::new(objects.clone()));
        let authorizers = Authorizers::configure(&config.authorizers, authz.clone())?;
        let ranges = allocators::Config::new(config.service_cidr.clone());
        let shared = config.shared_store.then(|| store.clone());
        let claimed = Some((store.clone(), config.shared_store));
        let allocators = Allocators::new(&ranges, objects.clone(), claimed)?;
        let allocators = Arc::new(allocators);
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let kubelets = Kubelets::new(Some(pki.client_config(Role::KubeletClient)?), stop.clone());
        let webhooks = Arc::new(Clients::new(objects.clone()));
        let registry = Arc::new_cyclic(|registry: &Weak<Registry>| Registry {
            catalog: Catalog::new(kinds, cache.clone()),
            cache,
            store,
            transformer,
            admission: knarr_admission::chain(
                objects.clone(),
                authz.clone(),
                registry.clone(),
                webhooks.clone(),
            ),
            webhooks,
            hooks: vec![allocators.clone()],
            own_user: authn::server(),
        });
        let own = tokens.issuers();
        let identities = Identities::open(&config.identities, own)?.map(Arc::new);
        let others = identities
            .clone()
            .map(|known| known as Arc<dyn TokenAuthenticator>);
        let authenticator = Authn::new(tokens.clone(), objects.clone()).with(others.clone());
        let core = Arc::new(Core {
            registry: registry.clone(),
            authenticator: Arc::new(authenticator),
            authorizer: authz.clone(),
            auditor: config.auditor,
            handlers: crate::handlers::table(tokens.clone(), authz, others),
            pages: crate::handlers::pages(&tokens),
            backends: Backends::new(stop.clone()),
            aggregation: Arc::new(Aggregation::new(Locals::new(config.local_apis))),
            kubelets,
            health: Default::default(),
            components: Default::default(),
            flags: config.flags,
            proxies,
            advertised,
            drains: incoming::Drains::new(tasks.clone(), stop.clone()),
            limits: Default::default(),
            fairness: Arc::new(Fairness::new(config.seats, standard::mandatory_schema)),
            watches: Default::default(),
            heavy: Default::default(),
            metrics: Default::default(),
        });
        let wanted = bootstrap::Config {
            service_ip,
            service_cidr: config.service_cidr,
            advertise_ip: config.advertise,
            port: address.port(),
            cluster_dns: config.cluster_dns,
            dns_endpoint: config.dns_endpoint,
            client_ca: pki.ca_pem().to_owned(),
            front_proxy_ca: pki.front_proxy_ca_pem().to_owned(),
            node_settings: config.node_settings,
        };
        let bootstrap = Arc::new(Bootstrap::new(wanted, objects, registry, shared));
        let server = Server {
            core,
            pki,
            allocators,
            bootstrap,
            listener,
            address,
            event_ttl: config.event_ttl,
            tls,
            stop,
            tasks,
            audited: CancellationToken::new(),
            audits: TaskTracker::new(),
        };
        server.start_auditor();
        if let Some(authorizers) = authorizers {
            let stop = server.stop.clone();
            server
                .tasks
                .spawn(async move { authorizers.run(stop).await });
        }
        if let Some(identities) = identities {
            let stop = server.stop.clone();
            server
                .tasks
                .spawn(async move { identities.run(stop).await });
        }
        server.start_feed();
        // What Services have already is claimed before anybody asks for more.
        let claimed = server.allocators.repair_claims().await;
        claimed.map_err(cache::Error::Store)?;
        server.bootstrap.run().await?;
        let mut definitions = Definitions::new(server.core.registry.clone());
        definitions.sync().await;
        // After the kinds of definitions: theirs are APIServices, too.
        let aggregated = aggregation::Task::new(
            server.core.aggregation.clone(),
            server.core.registry.clone(),
            server.pki.client_identity(Role::FrontProxy)?,
            server.tasks.clone(),
        );
        let stop = server.stop.clone();
        server
            .tasks
            .spawn(async move { definitions.run(stop).await });
        server.tasks.spawn(aggregated.run(server.stop.clone()));
        let flow_control = flow_control::Task::start(&server.core).await;
        let stop = server.stop.clone();
        server
            .tasks
            .spawn(async move { flow_control.run(stop).await });
        server
            .core
            .health
            .bootstrapped
            .store(true, Ordering::Release);
        Ok(server)
    }

    fn start_auditor(&self) {
        if let Some(auditor) = self.core.auditor.clone() {
            let stop = self.audited.clone();
            self.audits.spawn(async move { auditor.run(stop).await });
        }
    }

    fn start_feed(&self) {
        let (core, stop) = (self.core.clone(), self.stop.clone());
        core.health.feeding.store(true, Ordering::Release);
        let end = FeedEnd(core.clone(), stop.clone());
        self.tasks.spawn(async move {
            let _end = end;
            if let Err(error) = core.registry.cache.feed(stop).await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the watch cache lost the store"
                );
            }
        });
    }

    /// A tower service that answers in this process as `user`, for `kube::Client::new`.
    pub fn client_service(&self, user: UserInfo) -> LocalService {
        LocalService::new(self.core.clone(), user)
    }

    /// Which parts of the control plane run beside the server.
    pub fn components(&self) -> &Arc<Components> {
        &self.core.components
    }

    /// The address that is listened on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pki(&self) -> &Arc<Pki> {
        &self.pki
    }

    /// Serves until the token is cancelled; then watches end, connections are drained within a deadline, and it returns.
    /// Also ends, with an error, when the store is lost.
    pub async fn run(self, token: CancellationToken) -> Result<(), Error> {
        let maintenance = maintenance::run(
            self.core.clone(),
            self.pki.clone(),
            self.allocators.clone(),
            self.event_ttl,
        );
        let stop = self.stop.clone();
        self.tasks
            .spawn(async move { stop.run_until_cancelled(maintenance).await });
        let (bootstrap, stop) = (self.bootstrap.clone(), self.stop.clone());
        self.tasks
            .spawn(async move { bootstrap.maintain(stop).await });
        let listening = listen::serve(
            self.core.clone(),
            self.listener,
            self.tls,
            &token,
            &self.stop,
        );
        let result = listening.await.map_err(|source| Error::Listen {
            address: self.address,
            source,
        });
        let lost = !token.is_cancelled() && self.stop.is_cancelled();
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.audited.cancel();
        self.audits.close();
        if tokio::time::timeout(AUDIT_TIMEOUT, self.audits.wait())
            .await
            .is_err()
        {
            tracing::warn!("audit events could not be delivered in time");
        }
        match lost {
            true => Err(Error::Cache(cache::Error::Store(
                knarr_store::Error::Closed,
            ))),
            false => result,
        }
    }
}

/// Nobody may read a cache that no longer follows the store: whatever ends the feed, a panic too, is seen by health and ends
/// the server.
struct FeedEnd(Arc<Core>, CancellationToken);

impl Drop for FeedEnd {
    fn drop(&mut self) {
        self.0.health.feeding.store(false, Ordering::Release);
        self.1.cancel();
    }
}

#[cfg(test)]
mod tests;
