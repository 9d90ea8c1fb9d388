//! `knarr kubelet`: a node of a cluster whose API server is elsewhere, without what upstream runs beside a kubelet: Services, network
//! policies and DNS are somebody else's there.
//!
//! With the embedded runtime its pods have the pod network of `knarr up`, on this node; another runtime has its own.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use knarr_client::Clients;
use knarr_join::{
    Foreign, Membership,
    kubeconfig::{Bootstrap, KubeconfigClients, Options},
};
use knarr_tasks::Tasks;
use rustls::{
    crypto::ring,
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{identity, own_identity, read};
use crate::{
    cli::{KubeletAlone, Part, WithoutFlags},
    instance::{Instance, NetworkNamespace, Record},
    node::{self, ClusterSettings, ContainerRuntime, Host, Network, Node, Serving},
    parts::{self, Failure},
    preflight,
    process::{Asked, Daemon, End, Output},
    progress::Progress,
};

const MEMBERSHIP_STOP: Duration = Duration::from_secs(5);
/// What is somebody else's beside this kubelet.
const WITHOUT: [Part; 4] = [
    Part::Proxy,
    Part::Dns,
    Part::NetworkPolicy,
    Part::LocalPathProvisioner,
];

pub fn run(mut flags: Box<KubeletAlone>) -> Result<()> {
    flags.node.make_paths_absolute()?;
    let KubeletAlone {
        kubeconfig,
        bootstrap_kubeconfig,
        ..
    } = &mut *flags;
    let paths = [kubeconfig, bootstrap_kubeconfig];
    for path in paths.into_iter().flatten() {
        *path = std::path::absolute(&path).context("the kubeconfig is not a path")?;
    }
    preflight::check_kubelet(&flags)?;
    let daemon = Daemon {
        data_dir: &flags.data_dir,
        log: &flags.log,
        detach: flags.detach,
    };
    daemon.run(async |instance, output| serve(&flags, instance, output).await)
}

async fn serve(flags: &KubeletAlone, instance: &mut Instance, output: &Output) -> Result<End> {
    let mut asked = Asked::listen()?;
    let host = Host::of(&flags.data_dir, &flags.node, instance)?;
    let mut record = Record {
        ready: false,
        pid: std::process::id().cast_signed(),
        api: String::new(),
        kubeconfig: None,
        cgroup_root: host.cgroup.clone(),
        root_dir: flags.node.root_dir.clone(),
        network: Some(NetworkNamespace::current()?),
        foreign_runtime: host.foreign_runtime(&flags.node),
    };
    instance.publish(&record)?;
    let running = tokio::select! {
        running = Running::start(flags, host, &output.progress) => running?,
        signal = asked.wait() => {
            info!(signal, "stopped while starting");
            return Ok(End::Asked);
        }
    };
    record.api.clone_from(&running.api);
    record.ready = true;
    instance.publish(&record)?;
    let progress = &output.progress;
    progress.line(&format!(
        "knarr kubelet runs  (node {} of {})",
        running.name, running.api
    ));
    output.ready()?;
    let reason = tokio::select! {
        signal = asked.wait() => {
            info!(signal, "stopping");
            output.stopping("stopping; containers go on running (knarr down removes them)");
            Ok(End::Asked)
        }
        error = running.failure.happened() => Err(error),
    };
    running.stop().await;
    reason
}

/// A kubelet, its runtime, and what keeps its certificates up.
struct Running {
    name: String,
    api: String,
    node: Node,
    membership: Tasks,
    failure: Failure,
}

impl Running {
    async fn start(flags: &KubeletAlone, host: Host, progress: &Progress) -> Result<Self> {
        let name = node::name(&flags.node, &host.data_dir)?;
        let ips = node::ips(&flags.node.node_ip, &flags.cluster_cidr).await?;
        let failure = Failure::new();
        let runtime = progress.step(
            "container runtime",
            ContainerRuntime::start(&host, &flags.node, &failure, progress),
        );
        let who = async { Who::of(flags, &name, &ips).await };
        let (runtime, who) = tokio::try_join!(runtime, progress.step("identity", who))?;
        let settings = node::Settings {
            host,
            name: name.clone(),
            ips: ips.clone(),
            flags: flags.node.clone(),
            cluster: cluster_settings(flags),
            without: WithoutFlags {
                without: WITHOUT.to_vec(),
            },
            network: match flags.node.container_runtime_endpoint {
                Some(_) => Network::Foreign,
                None => Network::Node,
            },
            dns_also: None,
            kept_names: None,
            reserved_ports: Vec::new(),
        };
        let Who {
            api,
            clients,
            serving,
            membership,
        } = who;
        let node = Node::start(&settings, runtime, clients, serving, progress).await?;
        Ok(Self {
            name,
            api,
            node,
            membership,
            failure,
        })
    }

    /// Stops clients of the API, then the runtime. Containers go on.
    async fn stop(&self) {
        self.node.stop_clients().await;
        self.node.stop_runtime().await;
        parts::stop("node certificates", &self.membership, MEMBERSHIP_STOP).await;
        info!("stopped");
    }
}

/// Who the node is, and whom it believes.
struct Who {
    api: String,
    clients: Arc<dyn Clients>,
    serving: Serving,
    membership: Tasks,
}

impl Who {
    async fn of(flags: &KubeletAlone, name: &str, ips: &[IpAddr]) -> Result<Self> {
        match (&flags.kubeconfig, &flags.bootstrap_kubeconfig) {
            (Some(path), _) => Self::by_kubeconfig(flags, path, name, ips).await,
            (None, Some(path)) => Self::by_bootstrap(flags, path, name, ips).await,
            (None, None) => bail!("give --kubeconfig or --bootstrap-kubeconfig"),
        }
    }

    async fn by_kubeconfig(
        flags: &KubeletAlone,
        path: &Path,
        name: &str,
        ips: &[IpAddr],
    ) -> Result<Self> {
        let options = Options {
            path: path.to_owned(),
            server: None,
            service_accounts: false,
        };
        let clients = KubeconfigClients::open(&options).await?;
        clients.check().await?;
        let mut names = vec![name.to_owned()];
        names.extend(ips.iter().map(ToString::to_string));
        let certificate = match (&flags.tls_cert_file, &flags.tls_private_key_file) {
            (Some(certificate), Some(key)) => identity(certificate, key)?,
            _ => own_identity(&names)?,
        };
        let key = CertifiedKey::from_der(
            certificate.chain,
            certificate.key,
            &ring::default_provider(),
        );
        let key = key.context("the certificate of the kubelet's server cannot be used")?;
        let certificate: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(key));
        Ok(Self {
            api: clients.server().to_string(),
            serving: serving(flags, certificate, clients.ca_pem())?,
            clients: Arc::new(clients),
            membership: Tasks::new(CancellationToken::new()),
        })
    }

    async fn by_bootstrap(
        flags: &KubeletAlone,
        path: &Path,
        name: &str,
        ips: &[IpAddr],
    ) -> Result<Self> {
        if flags.tls_cert_file.is_some() {
            bail!(
                "--tls-cert-file is for --kubeconfig; by a bootstrap token the node makes its own"
            );
        }
        let bootstrap = Bootstrap::read(path).await?;
        let settings = cluster_settings(flags);
        let options = knarr_join::Options {
            servers: vec![bootstrap.server.clone()],
            token: Some(bootstrap.token),
            ca_file: None,
            pki_dir: flags.data_dir.join("pki"),
            node_name: name.to_owned(),
            node_ips: ips.to_vec(),
            certificate_life: None,
            follows_servers: false,
            foreign: Some(Foreign {
                ca_pem: bootstrap.ca_pem,
                settings: knarr_join::ClusterSettings {
                    cluster_cidr: settings.cluster_cidr.to_string(),
                    service_cidr: settings.service_cidr.to_string(),
                    cluster_dns: settings.cluster_dns.clone(),
                    cluster_domain: settings.cluster_domain,
                    network_policy: settings.network_policy,
                    load_balancer_ranges: String::new(),
                },
            }),
        };
        let member: Membership = knarr_join::join(&options).await?;
        let membership = Tasks::new(CancellationToken::new());
        membership.keep("node certificates", member.run(membership.token().clone()));
        Ok(Self {
            api: bootstrap.server.to_string(),
            serving: Serving {
                client: Some(member.client_certificate()),
                ..serving(flags, member.serving(), member.ca_pem())?
            },
            clients: member.clients(),
            membership,
        })
    }
}

fn serving(
    flags: &KubeletAlone,
    certificate: Arc<dyn ResolvesServerCert>,
    ca_pem: &str,
) -> Result<Serving> {
    let client_ca_pem = match &flags.client_ca_file {
        Some(path) => String::from_utf8(read(path)?)
            .with_context(|| format!("{} is no certificate", path.display()))?,
        None => ca_pem.to_owned(),
    };
    Ok(Serving {
        certificate,
        client_ca_pem,
        client: None,
    })
}

fn cluster_settings(flags: &KubeletAlone) -> ClusterSettings {
    ClusterSettings {
        cluster_cidr: flags.cluster_cidr.clone(),
        service_cidr: flags.service_cluster_ip_range.clone(),
        cluster_dns: flags.cluster_dns.clone(),
        cluster_domain: flags.cluster_domain.clone(),
        network_policy: false,
        load_balancer_ranges: knarr_announce::Ranges::default(),
    }
}
