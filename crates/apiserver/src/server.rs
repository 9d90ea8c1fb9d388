//! The server: what it is made of, how it starts, serves and stops.

mod answer;
mod assembly;
pub mod audit;
mod checks;
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
mod neighbour;
pub mod pages;
pub mod peer;
mod refusal;
pub mod rotation;
mod scope;
mod streams;
mod token_use;
mod warnings;
mod zpages;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use knarr_audit::Auditor;
use knarr_auth::{
    UserInfo, front_proxy,
    pki::{self, Pki},
    tokens::{self, VerificationKey},
};
use knarr_meta::prefix::Prefix;
use knarr_registry::{
    allocators::{self, Allocators},
    cache,
};
use knarr_webhook::LocalApi;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::local::LocalService;
use self::{components::Components, rotation::Rotation};
use crate::{
    bootstrap::{self, Bootstrap},
    core::Core,
};

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
    /// Where clients find the server: at the first, which is the endpoint of the Service `kubernetes`, and at that of the other family.
    pub advertise: Vec<IpAddr>,
    /// `cluster.local`
    pub cluster_domain: String,
    /// `10.43.0.0/16`, and one of the other family if the cluster has both; the first is of the family of what is advertised first.
    pub service_cidrs: Vec<Prefix>,
    /// Addresses of the `kube-dns` Service, of each family one.
    pub cluster_dns: Vec<IpAddr>,
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
    /// What plugins of admission were told.
    pub admission: Arc<knarr_admission::Configuration>,
    /// How likely a request makes its HTTP/2 connection the last one of its client, so that another server gets the next one.
    pub goaway_chance: f64,
    /// What is encrypted in the store.
    pub encryption: knarr_encryption::Options,
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
            advertise: vec![[192, 0, 2, 1].into()],
            cluster_domain: "cluster.local".to_owned(),
            service_cidrs: vec![Prefix::new([10, 43, 0, 0].into(), 16)],
            cluster_dns: vec![[10, 43, 0, 10].into()],
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
            admission: Arc::default(),
            goaway_chance: 0.0,
            encryption: knarr_encryption::Options::default(),
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
    Encryption(#[from] knarr_encryption::ConfigError),
    #[error(transparent)]
    Allocators(#[from] allocators::Error),
    #[error("the server has no address, or its Services have none")]
    NoAddress,
    #[error("cannot make the objects every cluster has")]
    Bootstrap(#[from] bootstrap::Error),
}

/// A server that is loaded and answers in-process clients; [`Server::run`] opens it to the network.
pub struct Server {
    core: Arc<Core>,
    pki: Arc<Pki>,
    allocators: Arc<Allocators>,
    bootstrap: Arc<Bootstrap>,
    rotation: Arc<Rotation>,
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

    /// New keys for what is encrypted.
    pub fn rotation(&self) -> &Arc<Rotation> {
        &self.rotation
    }

    /// Keeps up with who has the keys of what is stored, and with what can be read because of that.
    fn start_encryption(&self) {
        let encryption = self.core.registry.transformer.encryption().clone();
        let mut readable = encryption.readable();
        let stop = self.stop.clone();
        self.tasks.spawn(async move { encryption.run(stop).await });
        let (core, stop) = (self.core.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            let follow = async {
                while readable.changed().await.is_ok() {
                    if let Err(error) = core.registry.cache.read_again().await {
                        tracing::error!(%error, "cannot read again what could not be read");
                    }
                }
            };
            stop.run_until_cancelled(follow).await;
        });
        let (rotation, stop) = (self.rotation.clone(), self.stop.clone());
        self.tasks.spawn(async move { rotation.run(stop).await });
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
