//! The kubelet of a node, and the provisioner of the node's directories.

use std::{net::IpAddr, sync::Arc};

use anyhow::Result;
use knarr_auth::node_accounts;
use knarr_client::Informers;
use knarr_kubelet::{ClientCertificate, Kubelet, NodeLogs, local_path};
use rustls::server::ResolvesServerCert;
use tokio::sync::Notify;

use super::{Parts, Settings};
use crate::{cli::Part, network};

/// By what the kubelet's own server proves who it is, and whom it believes.
pub struct Serving {
    /// Asked at each handshake: certificates are renewed.
    pub certificate: Arc<dyn ResolvesServerCert>,
    /// Authorities of client certificates, PEM.
    pub client_ca_pem: String,
    /// By what it is a client, where that is kept up here.
    pub client: Option<Arc<knarr_join::Kept>>,
}

/// A node's certificate, as its kubelet tells of it.
#[derive(Debug)]
struct Own(Arc<knarr_join::Kept>);

impl ClientCertificate for Own {
    fn not_after(&self) -> i64 {
        self.0.not_after()
    }

    fn renewal_failures(&self) -> u64 {
        self.0.failures()
    }
}

/// What a kubelet stands on.
pub(super) struct Ground {
    /// The container runtime's.
    pub(super) endpoint: String,
    pub(super) node_logs: Option<Arc<dyn NodeLogs>>,
    /// Rung when pods can have addresses.
    pub(super) network_configured: Arc<Notify>,
}

/// Starts the kubelet.
pub(super) async fn start(parts: &Parts<'_>, ground: Ground, serving: Serving) -> Result<()> {
    let settings = parts.settings;
    let cluster = &settings.cluster;
    let user = format!("system:node:{}", settings.name);
    let (client, requests) = parts
        .clients
        .counted(&user, &["system:nodes", "system:authenticated"]);
    let token = parts.tasks.token().child_token();
    let config = knarr_kubelet::Config {
        instance: settings.host.instance.to_string(),
        node_name: settings.name.clone(),
        node_ips: settings.ips.clone(),
        data_dir: settings.host.data_dir.clone(),
        root_dir: settings.flags.root_dir.clone(),
        cri_endpoint: ground.endpoint,
        cluster_dns: resolvers_of_pods(settings),
        cluster_domain: cluster.cluster_domain.clone(),
        cgroup_root: settings.host.cgroup.display().to_string(),
        client_ca_pem: serving.client_ca_pem,
        resolv_conf: settings.flags.resolv_conf.clone(),
        allowed_unsafe_sysctls: settings.flags.allowed_unsafe_sysctls.clone(),
        network_configured: ground.network_configured,
        node_logs: ground.node_logs,
        requests,
        client_certificate: serving
            .client
            .map(|kept| -> Arc<dyn ClientCertificate> { Arc::new(Own(kept)) }),
        manifest_path: settings.flags.pod_manifest_path.clone(),
        manifest_url: settings.flags.manifest_url()?,
        node_labels: settings.flags.node_label.iter().cloned().collect(),
        node_taints: settings.flags.node_taint.clone(),
        ..knarr_kubelet::Config::default()
    };
    let config = config.configured(settings.flags.kubelet_configuration()?)?;
    let kubelet = Kubelet::new(config, serving.certificate, client).await?;
    parts.tasks.keep("kubelet", kubelet.run(token));
    Ok(())
}

/// Whom pods ask for names: the Service, which our proxy leads to the node's own server. Another proxy does not know that one, so that
/// pods ask it itself.
fn resolvers_of_pods(settings: &Settings) -> Vec<IpAddr> {
    let services = settings.cluster.cluster_dns.iter();
    match settings.has(Part::Dns) && !settings.has(Part::Proxy) {
        true => services.map(|ip| network::dns_listen(*ip)).collect(),
        false => services.copied().collect(),
    }
}

/// The provisioner of the node's directories.
pub(super) fn start_local_path(parts: &Parts<'_>) {
    let token = parts.tasks.token().child_token();
    let client = parts
        .clients
        .as_service_account(node_accounts::NAMESPACE, node_accounts::LOCAL_PATH);
    let informers = Informers::new(client.clone(), token.clone());
    let config = local_path::Config {
        node_name: parts.settings.name.clone(),
        directory: parts.settings.host.data_dir.join("storage"),
    };
    let provisioner = local_path::Provisioner::new(config, client, &informers);
    parts
        .tasks
        .keep("local-path provisioner", provisioner.run(token));
}
