//! The control plane in this process: store, API server, and the loops that are clients of it.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Error, Result};
use knarr_apiserver::{
    Server,
    server::components::{Component, Components},
};
use knarr_audit::Auditor;
use knarr_auth::{
    pki::{Pki, Role},
    tokens::SecretTokens,
};
use knarr_client::{Clients, Informers};
use knarr_controllers::Controllers;
use knarr_metrics::Metrics;
use knarr_scheduler::Scheduler;
use knarr_store::Embedded;
use knarr_tasks::Tasks;
use knarr_webhook::LocalApi;
use tokio_util::sync::CancellationToken;

use crate::{
    cli::Up,
    clients::LocalClients,
    network,
    node::{self, ClusterSettings, Serving},
    parts::{self, Failure},
    progress::Progress,
    traffic,
};

/// How long each stage may take to stop. With those of the node they stay below what service managers grant.
const CLIENTS_STOP: Duration = Duration::from_secs(10);
const SERVER_STOP: Duration = Duration::from_secs(5);

/// A running control plane.
pub struct ControlPlane {
    address: SocketAddr,
    pki: Arc<Pki>,
    store: Arc<Embedded>,
    local: Arc<dyn Clients>,
    /// Clients of the API, and the server: in this order they stop.
    clients: Tasks,
    server: Tasks,
}

/// What the loops are made from.
struct Parts<'a> {
    flags: &'a Up,
    node: &'a node::Settings,
    components: Arc<Components>,
}

impl ControlPlane {
    /// Starts everything; returns when the API server answers and the loops run.
    pub async fn start(
        flags: &Up,
        node: &node::Settings,
        failure: &Failure,
        progress: &Progress,
    ) -> Result<Self> {
        let metrics = flags.metrics_api.then(Arc::<Metrics>::default);
        // What cannot be audited as asked for is not served.
        let auditor = Auditor::open(&flags.audit.options())?.map(Arc::new);
        let store = progress.step("store", open_store(&flags.data_dir)).await?;
        let mut config = server_config(flags, node).await;
        config.auditor = auditor;
        config.local_apis = local_apis(metrics.as_ref());
        let server = Server::new(config, store.clone());
        let server = progress
            .step("API server", async { server.await.map_err(Error::from) })
            .await?;
        let parts = Parts {
            flags,
            node,
            components: server.components().clone(),
        };
        let this = Self {
            address: server.address(),
            pki: server.pki().clone(),
            store,
            local: Arc::new(LocalClients::new(&server)),
            clients: Tasks::new(CancellationToken::new()),
            server: Tasks::new(CancellationToken::new()),
        };
        if let Some(metrics) = metrics {
            let groups = &["system:authenticated"];
            metrics.start(this.local.as_user("system:knarr:metrics", groups));
        }
        let token = this.server.token().clone();
        failure.must_run(&this.server, "API server", async move {
            server.run(token).await.map_err(Error::from)
        });
        progress
            .step("controllers, scheduler", this.start_loops(&parts))
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
        })
    }

    pub fn write_kubeconfig(&self, api: &str, path: &Path) -> Result<()> {
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
        self.store.close();
    }

    async fn start_loops(&self, parts: &Parts<'_>) -> Result<()> {
        let token = self.clients.token().child_token();
        let client = self
            .local
            .as_user("system:kube-controller-manager", &["system:authenticated"]);
        let controllers = Controllers::new(
            knarr_controllers::Config {
                cluster_cidr: parts.flags.cluster_cidr.to_string(),
                root_ca_pem: self.pki.ca_pem().to_owned(),
                service_cidr: parts.flags.service_cidr.to_string(),
                signer: Some(self.pki.signer()),
                server_names: self.pki.server_names(),
                token_signer: Some(Arc::new(SecretTokens::new(self.pki.service_account_key())?)),
                service_lb: traffic::service_lb(parts.flags, parts.node, self.address.port()),
                ..knarr_controllers::Config::default()
            },
            self.local.clone(),
            Informers::new(client, token.clone()),
        );
        let running = parts.components.running(Component::ControllerManager);
        self.clients.keep("controllers", async move {
            let _running = running;
            controllers.run(token).await;
        });

        traffic::start_ingress(parts.flags, parts.node, &*self.local, &self.clients)?;

        let token = self.clients.token().child_token();
        let client = self
            .local
            .as_user("system:kube-scheduler", &["system:authenticated"]);
        // What pods ask for may be much to think about; the API has other things to do.
        let running = parts.components.running(Component::Scheduler);
        self.clients
            .keep_apart("scheduler", move || {
                let informers = Informers::new(client.clone(), token.clone());
                let config = knarr_scheduler::Config::default();
                let scheduler = Scheduler::new(config, client, &informers);
                async move {
                    let _running = running;
                    scheduler.run(token).await;
                }
            })
            .context("the scheduler has no thread")
    }
}

/// Opening reads the disk: off the async threads.
async fn open_store(data_dir: &Path) -> Result<Arc<Embedded>> {
    let path = data_dir.join("store");
    let opened = tokio::task::spawn_blocking(move || {
        Embedded::open(&path, knarr_store::Options::default())
            .with_context(|| format!("cannot open the store in {}", path.display()))
    });
    Ok(Arc::new(
        opened.await.context("opening the store was aborted")??,
    ))
}

/// What is served beside the registry's kinds.
fn local_apis(metrics: Option<&Arc<Metrics>>) -> Vec<Arc<dyn LocalApi>> {
    let apis = metrics.map(|metrics| Arc::clone(metrics) as Arc<dyn LocalApi>);
    apis.into_iter().collect()
}

async fn server_config(flags: &Up, node: &node::Settings) -> knarr_apiserver::Config {
    knarr_apiserver::Config {
        listen: flags.listen,
        listener: None,
        pki_dir: flags.data_dir.join("pki"),
        node_name: node.name.clone(),
        advertise: IpAddr::V4(node.ip),
        cluster_domain: flags.cluster_domain.clone(),
        service_cidr: flags.service_cidr.to_string(),
        cluster_dns: IpAddr::V4(network::cluster_dns(flags)),
        // Every node's proxy leads to its own DNS server, on an address that no endpoint may have.
        dns_endpoint: None,
        extra_sans: extra_sans(flags).await,
        event_ttl: flags.event_ttl,
        local_apis: Vec::new(),
        identities: flags.identity.options(),
        authorizers: flags.authorization.options(),
        auditor: None,
        node_settings: node_settings(&node.cluster).data(),
    }
}

/// With nodes that have a network of their own, the machine's address is none of the first node's; clients use it all the same.
async fn extra_sans(flags: &Up) -> Vec<String> {
    if flags.nodes == 1 {
        return Vec::new();
    }
    let address = knarr_cni::node::detect_node_ip().await;
    address.iter().map(ToString::to_string).collect()
}

/// What other nodes are told.
fn node_settings(cluster: &ClusterSettings) -> knarr_join::ClusterSettings {
    knarr_join::ClusterSettings {
        cluster_cidr: cluster.cluster_cidr.to_string(),
        service_cidr: cluster.service_cidr.to_string(),
        cluster_dns: IpAddr::V4(cluster.cluster_dns),
        cluster_domain: cluster.cluster_domain.clone(),
        network_policy: cluster.network_policy,
    }
}
