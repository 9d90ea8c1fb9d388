//! The parts of a cluster in one process: what each is given, the order in which they start and stop.
//!
//! Start: store and API server beside the runtime, then everything that is a client of them. Stop is the reverse, each stage with
//! a deadline of its own, so that what a part writes last still finds the parts below it.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Error, Result, anyhow, bail};
use k8s_openapi::api::core::v1::Node;
use knarr_apiserver::{
    Server,
    server::components::{Component, Components},
};
use knarr_auth::pki::{Pki, Role};
use knarr_client::{Clients, InformerScope, Informers};
use knarr_cni::{InstanceId, node::NodeNetwork};
use knarr_controllers::Controllers;
use knarr_dns::Dns;
use knarr_kubelet::{Kubelet, local_path};
use knarr_metrics::Metrics;
use knarr_policy::NetworkPolicies;
use knarr_proxy::Proxy;
use knarr_runtime::{Registries, Runtime};
use knarr_scheduler::Scheduler;
use knarr_store::Embedded;
use knarr_tasks::Tasks;
use knarr_webhook::LocalApi;
use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    cidr::Cidr, cli::Up, clients::LocalClients, instance::Instance, network, progress::Progress,
};

/// How long each stage may take to stop. Together they stay below what service managers grant.
const CLIENTS_STOP: Duration = Duration::from_secs(10);
const RUNTIME_STOP: Duration = Duration::from_secs(5);
const SERVER_STOP: Duration = Duration::from_secs(5);

/// Tells tasks to end and waits for it.
async fn stop(name: &str, tasks: &Tasks, deadline: Duration) {
    tasks.token().cancel();
    if timeout(deadline, tasks.stopped()).await.is_err() {
        warn!(stage = name, open = tasks.len(), "did not stop in time");
    }
}

/// What a cluster makes on its host bears this.
#[derive(Clone, Debug)]
pub struct Host {
    pub instance: InstanceId,
    /// The control group of shims and pods.
    pub cgroup: PathBuf,
}

impl Host {
    pub fn of(flags: &Up, lock: &Instance) -> Result<Self> {
        let instance = lock.identity(&flags.data_dir)?;
        Ok(Self {
            cgroup: flags.cgroup_root.join(instance.as_str()),
            instance,
        })
    }
}

/// A running cluster.
pub struct Cluster {
    address: SocketAddr,
    pki: Arc<Pki>,
    store: Arc<Embedded>,
    /// Clients of the API, the container runtime, and the server: in this order they stop.
    clients: Tasks,
    runtime: Tasks,
    server: Tasks,
    /// Why a part that must not end has ended.
    failure: watch::Sender<Option<Arc<Error>>>,
}

/// What most parts are made from.
struct Parts<'a> {
    flags: &'a Up,
    host: Host,
    node_name: String,
    node_ip: Ipv4Addr,
    clients: Arc<dyn Clients>,
    components: Arc<Components>,
}

impl Cluster {
    /// Starts everything; returns when the API server answers and every part runs.
    pub async fn start(flags: &Up, host: Host, progress: &Progress) -> Result<Self> {
        let node_name = match &flags.node_name {
            Some(name) => name.clone(),
            None => host_name()?,
        };
        let node_ip = match flags.node_ip {
            Some(address) => address,
            None => knarr_cni::node::detect_node_ip().await?,
        };
        if node_ip.is_loopback() {
            bail!(
                "this machine has no address beside loopback ones; give it one, or name one with --node-ip"
            );
        }
        let runtime_tasks = Tasks::new(CancellationToken::new());
        let failure = watch::Sender::new(None);
        let metrics = flags.metrics_api.then(Arc::<Metrics>::default);
        let load = async {
            let store = progress.step("store", open_store(&flags.data_dir)).await?;
            let mut config = server_config(flags, &node_name, node_ip);
            config.local_apis = local_apis(metrics.as_ref());
            let server = Server::new(config, store.clone());
            let server = progress
                .step("API server", async { server.await.map_err(Error::from) })
                .await?;
            Ok((store, server))
        };
        let (endpoint, (store, server)) = tokio::try_join!(
            progress.step(
                "container runtime",
                start_runtime(flags, &host, &runtime_tasks, &failure)
            ),
            load,
        )?;
        let parts = Parts {
            flags,
            host,
            node_name,
            node_ip,
            clients: Arc::new(LocalClients::new(&server)),
            components: server.components().clone(),
        };
        if let Some(metrics) = metrics {
            let groups = &["system:authenticated"];
            metrics.start(parts.clients.as_user("system:knarr:metrics", groups));
        }
        let cluster = Self {
            address: server.address(),
            pki: server.pki().clone(),
            store,
            clients: Tasks::new(CancellationToken::new()),
            runtime: runtime_tasks,
            server: Tasks::new(CancellationToken::new()),
            failure,
        };
        let token = cluster.server.token().clone();
        cluster.must_run(&cluster.server, "API server", async move {
            server.run(token).await.map_err(Error::from)
        });
        progress
            .step("network", cluster.start_network(&parts))
            .await?;
        progress
            .step(
                "controllers, scheduler",
                cluster.start_control_plane(&parts),
            )
            .await?;
        progress
            .step("kubelet", cluster.start_kubelet(&parts, endpoint))
            .await?;
        Ok(cluster)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn write_kubeconfig(&self, api: &str, path: &Path) -> Result<()> {
        self.pki
            .write_kubeconfig(Role::Admin, api, path)
            .with_context(|| format!("cannot write the kubeconfig {}", path.display()))
    }

    /// Waits until a part ends that should not.
    pub async fn failed(&self) -> Error {
        let mut failure = self.failure.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(found) => match found.as_ref() {
                Some(error) => anyhow!("{error:#}"),
                None => anyhow!("a part of the cluster ended"),
            },
            Err(_) => anyhow!("a part of the cluster ended"),
        }
    }

    /// Stops clients, runtime, server and store in this order. Containers go on.
    pub async fn stop(&self) {
        stop("clients", &self.clients, CLIENTS_STOP).await;
        stop("container runtime", &self.runtime, RUNTIME_STOP).await;
        stop("API server", &self.server, SERVER_STOP).await;
        self.store.close();
        info!("stopped");
    }

    /// Runs a part whose end before its stage's is a failure of the cluster.
    fn must_run(
        &self,
        tasks: &Tasks,
        name: &'static str,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) {
        must_run(tasks, &self.failure, name, work);
    }

    async fn start_network(&self, parts: &Parts<'_>) -> Result<()> {
        let flags = parts.flags;
        let instance = parts.host.instance;
        let network = NodeNetwork {
            instance,
            data_dir: flags.data_dir.clone(),
            node_ip: parts.node_ip,
            cluster_cidr: flags.cluster_cidr.pair(),
            service_cidr: flags.service_cidr.pair(),
            dns_listen: network::DNS_LISTEN,
        };
        knarr_cni::node::prepare(&network).await?;
        let cluster_dns = network::cluster_dns(flags);
        let token = self.clients.token().child_token();
        let client = parts
            .clients
            .as_user("system:kube-proxy", &["system:authenticated"]);
        let proxy = Proxy::new(
            knarr_proxy::Config {
                table: knarr_proxy::table(&instance),
                node_name: parts.node_name.clone(),
                cluster_cidr: flags.cluster_cidr.pair(),
                service_cidr: flags.service_cidr.pair(),
                node_local_dns: Some((cluster_dns, network::DNS_LISTEN)),
            },
            &Informers::new(client, token.clone()),
        );
        self.clients.keep("service proxy", proxy.run(token));
        self.start_policies(parts).await?;

        let token = self.clients.token().child_token();
        let client = parts.clients.as_service_account("kube-system", "kube-dns");
        let config = knarr_dns::Config {
            listen: network::DNS_LISTEN,
            port: network::DNS_PORT,
            cluster_domain: flags.cluster_domain.clone(),
            forwarders: knarr_dns::node_resolvers(Path::new("/etc/resolv.conf")),
            aliases: vec![IpAddr::V4(cluster_dns)],
        };
        let dns = Dns::new(config, &Informers::new(client, token.clone())).await?;
        self.clients.keep("cluster DNS", dns.run(token));
        Ok(())
    }

    /// What pods may reach; before any can start.
    async fn start_policies(&self, parts: &Parts<'_>) -> Result<()> {
        let instance = parts.host.instance;
        if !parts.flags.network_policy {
            // Of a start with them.
            return Ok(knarr_policy::teardown(&instance).await?);
        }
        let data_dir = &parts.flags.data_dir;
        let config = knarr_policy::Config {
            table: knarr_policy::table(&instance),
            node_name: parts.node_name.clone(),
            node_local_dns: Some(network::DNS_LISTEN),
            socket: network::policy_socket(data_dir),
            cni_data_dir: data_dir.join("cni"),
            cni_network: network::NETWORK.to_owned(),
        };
        let listener = knarr_policy::listen(&config.socket)
            .with_context(|| format!("cannot listen on {}", config.socket.display()))?;
        let token = self.clients.token().child_token();
        let client = parts
            .clients
            .as_service_account("kube-system", "network-policy");
        // Thousands of policies may be much to think about.
        self.clients
            .keep_apart("network policies", move || {
                let informers = Informers::new(client.clone(), token.clone());
                NetworkPolicies::new(config, listener, client, &informers).run(token)
            })
            .context("network policies have no thread")
    }

    async fn start_control_plane(&self, parts: &Parts<'_>) -> Result<()> {
        let token = self.clients.token().child_token();
        let client = parts
            .clients
            .as_user("system:kube-controller-manager", &["system:authenticated"]);
        let controllers = Controllers::new(
            knarr_controllers::Config {
                cluster_cidr: parts.flags.cluster_cidr.to_string(),
                root_ca_pem: self.pki.ca_pem().to_owned(),
                signer: Some(self.pki.signer()),
                ..knarr_controllers::Config::default()
            },
            parts.clients.clone(),
            Informers::new(client, token.clone()),
        );
        let running = parts.components.running(Component::ControllerManager);
        self.clients.keep("controllers", async move {
            let _running = running;
            controllers.run(token).await;
        });

        let token = self.clients.token().child_token();
        let client = parts
            .clients
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

    async fn start_kubelet(&self, parts: &Parts<'_>, endpoint: String) -> Result<()> {
        let flags = parts.flags;
        let user = format!("system:node:{}", parts.node_name);
        let client = parts
            .clients
            .as_user(&user, &["system:nodes", "system:authenticated"]);
        let token = self.clients.token().child_token();
        let nodes =
            Informers::new(client.clone(), token.clone()).informer_with::<Node>(InformerScope {
                field_selector: Some(format!("metadata.name={}", parts.node_name)),
                ..InformerScope::default()
            });
        let network_configured = Arc::new(Notify::new());
        follow_pod_cidr(
            &nodes,
            parts.host.instance,
            flags,
            network_configured.clone(),
        );
        let serving = self.pki.credential(Role::Kubelet);
        let config = knarr_kubelet::Config {
            instance: parts.host.instance.to_string(),
            node_name: parts.node_name.clone(),
            node_ip: IpAddr::V4(parts.node_ip),
            data_dir: flags.data_dir.clone(),
            cri_endpoint: endpoint,
            cluster_dns: vec![IpAddr::V4(network::cluster_dns(flags))],
            cluster_domain: flags.cluster_domain.clone(),
            cgroup_root: parts.host.cgroup.display().to_string(),
            serving_cert_pem: serving.cert_pem().to_owned(),
            serving_key_pem: serving.key_pem().to_owned(),
            client_ca_pem: self.pki.ca_pem().to_owned(),
            allowed_unsafe_sysctls: flags.allowed_unsafe_sysctls.clone(),
            network_configured,
            ..knarr_kubelet::Config::default()
        };
        let kubelet = Kubelet::new(config, client).await?;
        self.clients.keep("kubelet", kubelet.run(token));
        self.start_local_path(parts);
        Ok(())
    }

    /// The provisioner of the node's directories.
    fn start_local_path(&self, parts: &Parts<'_>) {
        let token = self.clients.token().child_token();
        let client = parts
            .clients
            .as_service_account("kube-system", "local-path-provisioner");
        let informers = Informers::new(client.clone(), token.clone());
        let config = local_path::Config {
            node_name: parts.node_name.clone(),
            directory: parts.flags.data_dir.join("storage"),
        };
        let provisioner = local_path::Provisioner::new(config, client, &informers);
        self.clients
            .keep("local-path provisioner", provisioner.run(token));
    }
}

fn must_run(
    tasks: &Tasks,
    failure: &watch::Sender<Option<Arc<Error>>>,
    name: &'static str,
    work: impl Future<Output = Result<()>> + Send + 'static,
) {
    let (token, failure) = (tasks.token().clone(), failure.clone());
    tasks.spawn(name, async move {
        let result = work.await;
        if token.is_cancelled() {
            return;
        }
        let reason = match result {
            Ok(()) => anyhow!("the {name} ended by itself"),
            Err(reason) => reason.context(format!("the {name} failed")),
        };
        error!(
            error = format!("{reason:#}"),
            "a part of the cluster failed"
        );
        failure.send_replace(Some(Arc::new(reason)));
    });
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

/// Starts the embedded runtime, unless another is given; returns the CRI endpoint. Images are imported before anything can
/// ask for them.
async fn start_runtime(
    flags: &Up,
    host: &Host,
    tasks: &Tasks,
    failure: &watch::Sender<Option<Arc<Error>>>,
) -> Result<String> {
    if let Some(endpoint) = &flags.container_runtime_endpoint {
        if !flags.image_dir.is_empty() {
            warn!("--image-dir is for the embedded runtime; another runtime has its own images");
        }
        if flags.registries.is_some() {
            warn!("--registries is for the embedded runtime; another runtime has its own mirrors");
        }
        return Ok(endpoint.clone());
    }
    let mut config = knarr_runtime::Config::new(&flags.data_dir);
    config.cgroup_root.clone_from(&host.cgroup);
    if let Some(path) = &flags.registries {
        config.registries = Registries::read(path)?;
    }
    let socket = config.socket.clone();
    let runtime = Runtime::new(config).await?;
    for dir in &flags.image_dir {
        import_images(&runtime, dir).await?;
    }
    let token = tasks.token().clone();
    must_run(tasks, failure, "container runtime", async move {
        runtime.run(token).await.map_err(Error::from)
    });
    Ok(format!("unix://{}", socket.display()))
}

/// Unpacking is work for the disk: off the async threads.
async fn import_images(runtime: &Runtime, dir: &Path) -> Result<()> {
    let mut archives: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| format!("cannot read {}", dir.display()))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| {
            path.extension()
                .is_some_and(|e| e == "tar" || e == "tgz" || e == "gz")
        })
        .collect();
    archives.sort();
    let images = runtime.images();
    let imported = tokio::task::spawn_blocking(move || {
        for archive in archives {
            let ids = images
                .import_tar(&archive)
                .with_context(|| format!("cannot import {}", archive.display()))?;
            info!(archive = %archive.display(), ?ids, "images imported");
        }
        Ok(())
    });
    imported.await.context("importing images was aborted")?
}

/// Gives pods addresses of the range that the node was given, as soon as it is; rings when it has.
fn follow_pod_cidr(
    nodes: &knarr_client::Informer<Node>,
    instance: InstanceId,
    flags: &Up,
    configured: Arc<Notify>,
) {
    let (data_dir, network_policy) = (flags.data_dir.clone(), flags.network_policy);
    nodes.on_event(move |event| {
        let node = event.object();
        let cidr = node.spec.as_ref().and_then(|spec| spec.pod_cidr.as_deref());
        let Some(cidr) = cidr.and_then(|text| text.parse::<Cidr>().ok()) else {
            return;
        };
        if let knarr_client::Event::Updated { old, new } = &event
            && old.spec.as_ref().and_then(|s| s.pod_cidr.as_ref())
                == new.spec.as_ref().and_then(|s| s.pod_cidr.as_ref())
        {
            return;
        }
        match network::write_cni(&data_dir, instance, cidr, network_policy) {
            Ok(()) => {
                info!(%cidr, "pods of this node get addresses");
                configured.notify_one();
            }
            Err(error) => error!(
                error = format!("{error:#}"),
                "cannot configure the pod network"
            ),
        }
    });
}

/// What is served beside the registry's kinds.
fn local_apis(metrics: Option<&Arc<Metrics>>) -> Vec<Arc<dyn LocalApi>> {
    let apis = metrics.map(|metrics| Arc::clone(metrics) as Arc<dyn LocalApi>);
    apis.into_iter().collect()
}

fn server_config(flags: &Up, node_name: &str, node_ip: Ipv4Addr) -> knarr_apiserver::Config {
    knarr_apiserver::Config {
        listen: flags.listen,
        listener: None,
        pki_dir: flags.data_dir.join("pki"),
        node_name: node_name.to_owned(),
        advertise: IpAddr::V4(node_ip),
        cluster_domain: flags.cluster_domain.clone(),
        service_cidr: flags.service_cidr.to_string(),
        cluster_dns: IpAddr::V4(network::cluster_dns(flags)),
        // Every node's proxy leads to its own DNS server, on an address that no endpoint may have.
        dns_endpoint: None,
        extra_sans: Vec::new(),
        event_ttl: flags.event_ttl,
        local_apis: Vec::new(),
    }
}

/// The host name as node names must be: lower case.
fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    let name = name.to_string_lossy().to_lowercase();
    if name.is_empty() {
        return Err(anyhow!(
            "this machine has no host name; give one with --node-name"
        ));
    }
    Ok(name)
}
