//! The control plane in this process: store, API server, and the loops that are clients of it.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use futures::future::BoxFuture;
use knarr_apiserver::{
    Server,
    server::components::{Component, Components},
};
use knarr_audit::Auditor;
use knarr_auth::{
    pki::{Pki, Role},
    tokens::SecretTokens,
};
use knarr_client::{Clients, Informers, election::Election};
use knarr_controllers::service_lb;
use knarr_metrics::Metrics;
use knarr_scheduler::Scheduler;
use knarr_tasks::Tasks;
use knarr_webhook::LocalApi;
use tokio_util::sync::CancellationToken;

use crate::{
    alone::controller_manager,
    cert,
    cli::{self, Part, ServerFlags, WithoutFlags},
    clients::LocalClients,
    datastore::Datastore,
    given_file,
    node::{ClusterSettings, Serving},
    parts::{self, Failure},
    progress::Progress,
    secrets, snapshot, traffic,
};

/// How long each stage may take to stop. With those of the node they stay below what service managers grant.
const CLIENTS_STOP: Duration = Duration::from_secs(10);
const SERVER_STOP: Duration = Duration::from_secs(5);

/// A running control plane.
pub struct ControlPlane {
    address: SocketAddr,
    pki: Arc<Pki>,
    store: Datastore,
    /// Who this server is among those that share the store.
    identity: String,
    local: Arc<dyn Clients>,
    /// Clients of the API, and the server: in this order they stop.
    clients: Tasks,
    server: Tasks,
}

/// What differs between the servers of a cluster, and what all its nodes are told.
#[derive(Clone, Debug)]
pub struct Settings {
    pub data_dir: PathBuf,
    /// Nobody else's, and the same at every start.
    pub identity: String,
    pub name: String,
    /// Where nodes and pods reach the server, the primary one first, which is of the cluster's primary family.
    pub addresses: Vec<IpAddr>,
    pub cluster: ClusterSettings,
    /// Parts that others take the places of.
    pub without: WithoutFlags,
    /// More names or addresses by which clients reach it.
    pub extra_sans: Vec<String>,
    /// What Services of type LoadBalancer get, if that is ours to say.
    pub service_lb: Option<service_lb::Config>,
    /// Where Ingresses and Gateways are served, if they are.
    pub ingress: Option<knarr_ingress::Config>,
}

/// What the loops are made from.
struct Parts<'a> {
    flags: &'a ServerFlags,
    settings: &'a Settings,
    components: Arc<Components>,
}

impl ControlPlane {
    /// Starts everything; returns when the API server answers and the loops run.
    pub async fn start(
        flags: &ServerFlags,
        settings: &Settings,
        failure: &Failure,
        progress: &Progress,
    ) -> Result<Self> {
        let metrics = flags.metrics_api.then(Arc::<Metrics>::default);
        // What cannot be audited as asked for is not served.
        flags.encryption.check()?;
        let auditor = Auditor::open(&flags.audit.options())?.map(Arc::new);
        let mut config = server_config(flags, settings);
        config.admission = Arc::new(flags.admission()?);
        config.token_keys = flags.identity.token_keys()?;
        config.front_proxies = flags.identity.front_proxies()?;
        let opening = Datastore::open(&flags.datastore, &settings.data_dir, &config.pki_dir);
        let store = progress.step("store", opening).await?;
        config.shared_store = store.is_shared();
        config.auditor = auditor;
        config.local_apis = local_apis(metrics.as_ref());
        let server = Server::new(config, store.store());
        let server = progress
            .step("API server", async { server.await.map_err(Error::from) })
            .await?;
        let parts = Parts {
            flags,
            settings,
            components: server.components().clone(),
        };
        let this = Self {
            address: server.address(),
            pki: server.pki().clone(),
            store,
            identity: settings.identity.clone(),
            local: Arc::new(LocalClients::new(&server)),
            clients: Tasks::new(CancellationToken::new()),
            server: Tasks::new(CancellationToken::new()),
        };
        if let Some(metrics) = metrics {
            let groups = &["system:authenticated"];
            metrics.start(this.local.as_user("system:knarr:metrics", groups));
        }
        if let Datastore::Embedded(store) = &this.store {
            snapshot::serve(store.clone(), &settings.data_dir, &this.server)?;
        }
        secrets::serve(server.rotation().clone(), &settings.data_dir, &this.server)?;
        let shared = this.store.is_shared();
        cert::serve_server(this.pki.clone(), shared, &settings.data_dir, &this.server)?;
        let token = this.server.token().clone();
        failure.must_run(&this.server, "API server", async move {
            server.run(token).await.map_err(Error::from)
        });
        progress
            .step(loops(&settings.without), this.start_loops(&parts))
            .await?;
        Ok(this)
    }

    /// Where the API server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Clients of the server in this process.
    pub fn clients(&self) -> Arc<dyn Clients> {
        self.local.clone()
    }

    /// A client that may do everything, for what the command itself does.
    pub fn administrator(&self) -> kube::Client {
        let groups = &["system:masters", "system:authenticated"];
        self.local.as_user("kubernetes-admin", groups)
    }

    /// The authority of the cluster's certificates, PEM.
    pub fn ca_pem(&self) -> &str {
        self.pki.ca_pem()
    }

    /// What the kubelet of this process shows and believes.
    pub fn kubelet_serving(&self) -> Result<Serving> {
        Ok(Serving {
            certificate: self.pki.serving_identity(Role::Kubelet)?,
            client_ca_pem: self.pki.ca_pem().to_owned(),
            // Its requests do not leave the process.
            client: None,
        })
    }

    pub fn write_kubeconfig(&self, api: &str, path: &Path) -> Result<()> {
        given_file::make_directories(path)?;
        self.pki
            .write_kubeconfig(Role::Admin, api, path)
            .with_context(|| format!("cannot write the kubeconfig {}", path.display()))
    }

    /// Stops the loops.
    pub async fn stop_clients(&self) {
        parts::stop("controllers and scheduler", &self.clients, CLIENTS_STOP).await;
    }

    /// Stops the server, then the store.
    pub async fn stop_server(&self) {
        parts::stop("API server", &self.server, SERVER_STOP).await;
        self.store.close().await;
    }

    async fn start_loops(&self, parts: &Parts<'_>) -> Result<()> {
        let without = &parts.settings.without;
        if without.has(Part::ControllerManager) {
            self.start_controllers(parts)?;
        }
        if let Some(config) = &parts.settings.ingress {
            traffic::start_ingress(config.clone(), &*self.local, &self.clients)?;
        }
        match without.has(Part::Scheduler) {
            true => self.start_scheduler(parts),
            false => Ok(()),
        }
    }

    fn start_controllers(&self, parts: &Parts<'_>) -> Result<()> {
        let token = self.clients.token().child_token();
        let controllers = self.controllers(parts)?;
        let election = self.election("kube-controller-manager");
        let running = parts.components.running(Component::ControllerManager);
        self.clients.keep("controllers", async move {
            let _running = running;
            parts::lead(election, token, controllers).await;
        });
        Ok(())
    }

    fn start_scheduler(&self, parts: &Parts<'_>) -> Result<()> {
        let token = self.clients.token().child_token();
        let client = self
            .local
            .as_user("system:kube-scheduler", &["system:authenticated"]);
        let election = self.election("kube-scheduler");
        let config = parts.flags.scheduler()?;
        let metrics = config.metrics.clone();
        (parts.components).show_metrics(move |out| metrics.render(out));
        // What pods ask for may be much to think about; the API has other things to do.
        let running = parts.components.running(Component::Scheduler);
        self.clients
            .keep_apart("scheduler", move || async move {
                let _running = running;
                parts::lead(election, token, move |token| {
                    let informers = Informers::new(client.clone(), token.clone());
                    Scheduler::new(config.clone(), client.clone(), &informers).run(token)
                })
                .await;
            })
            .context("the scheduler has no thread")
    }

    /// What makes the controllers anew each time this server begins to lead.
    fn controllers(
        &self,
        parts: &Parts<'_>,
    ) -> Result<impl Fn(CancellationToken) -> BoxFuture<'static, ()> + Send + use<>> {
        let config = knarr_controllers::Config {
            cluster_cidrs: parts.flags.cluster_cidr.to_vec(),
            root_ca_pem: self.pki.ca_pem().to_owned(),
            service_cidrs: parts.flags.service_cidr.to_vec(),
            signer: Some(self.pki.signer()),
            server_names: self.pki.server_names(),
            token_signer: Some(Arc::new(SecretTokens::new(self.pki.service_account_key())?)),
            service_lb: parts.settings.service_lb.clone(),
            ..knarr_controllers::Config::default()
        };
        Ok(controller_manager::controllers(config, self.local.clone()))
    }

    /// A candidate for a Lease; none where the store is this server's alone, and nobody else could lead.
    fn election(&self, lease: &str) -> Option<Election> {
        let user = format!("system:{lease}");
        let client = self.local.as_user(&user, &["system:authenticated"]);
        let shared = self.store.is_shared();
        shared.then(|| Election::new(client, lease, &self.identity))
    }
}

/// What is started last, for who looks on.
fn loops(without: &WithoutFlags) -> &'static str {
    match (
        without.has(Part::ControllerManager),
        without.has(Part::Scheduler),
    ) {
        (true, true) => "controllers, scheduler",
        (true, false) => "controllers",
        (false, true) => "scheduler",
        (false, false) => "no controllers, no scheduler",
    }
}

/// What is served beside the registry's kinds.
fn local_apis(metrics: Option<&Arc<Metrics>>) -> Vec<Arc<dyn LocalApi>> {
    let apis = metrics.map(|metrics| Arc::clone(metrics) as Arc<dyn LocalApi>);
    apis.into_iter().collect()
}

fn server_config(flags: &ServerFlags, settings: &Settings) -> knarr_apiserver::Config {
    knarr_apiserver::Config {
        listen: flags.listen(),
        listener: None,
        pki_dir: settings.data_dir.join("pki"),
        node_name: settings.name.clone(),
        advertise: settings.addresses.clone(),
        cluster_domain: flags.cluster_domain.clone(),
        service_cidrs: flags.service_cidr.to_vec(),
        cluster_dns: flags.cluster_dns(),
        // Every node's proxy leads to its own DNS server, on an address that no endpoint may have.
        dns_endpoint: None,
        extra_sans: settings.extra_sans.clone(),
        event_ttl: flags.event_ttl,
        seats: flags.seats(),
        token_issuers: flags.identity.service_account_issuer.clone(),
        token_keys: Vec::new(),
        front_proxies: None,
        flags: cli::given_flags(),
        local_apis: Vec::new(),
        identities: flags.identity.options(),
        authorizers: flags.authorization.options(),
        auditor: None,
        admission: Arc::default(),
        goaway_chance: flags.goaway_chance,
        encryption: flags.encryption.options(&settings.identity),
        node_settings: node_settings(&settings.cluster).data(),
        shared_store: false,
    }
}

/// What other nodes are told.
fn node_settings(cluster: &ClusterSettings) -> knarr_join::ClusterSettings {
    knarr_join::ClusterSettings {
        cluster_cidr: cluster.cluster_cidr.to_string(),
        service_cidr: cluster.service_cidr.to_string(),
        cluster_dns: cluster.cluster_dns.clone(),
        cluster_domain: cluster.cluster_domain.clone(),
        network_policy: cluster.network_policy,
        load_balancer_ranges: cluster.load_balancer_ranges.to_string(),
    }
}
