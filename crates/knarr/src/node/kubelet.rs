//! The kubelet of a node, the pods' addresses, and the provisioner of the node's directories.

use std::{net::IpAddr, sync::Arc};

use anyhow::Result;
use k8s_openapi::api::core::v1;
use knarr_auth::node_accounts;
use knarr_client::{Informer, InformerScope, Informers};
use knarr_cni::peers;
use knarr_kubelet::{Kubelet, NodeLogs, local_path};
use rustls::server::ResolvesServerCert;
use tokio::sync::Notify;
use tracing::{error, info};

use super::{Parts, Settings};
use crate::{cidr::Cidr, network};

/// By what the kubelet's own server proves who it is, and whom it believes.
pub struct Serving {
    /// Asked at each handshake: certificates are renewed.
    pub certificate: Arc<dyn ResolvesServerCert>,
    /// Authorities of client certificates, PEM.
    pub client_ca_pem: String,
}

/// Starts the kubelet on a runtime.
pub(super) async fn start(
    parts: &Parts<'_>,
    endpoint: String,
    serving: Serving,
    node_logs: Option<Arc<dyn NodeLogs>>,
) -> Result<()> {
    let settings = parts.settings;
    let cluster = &settings.cluster;
    let user = format!("system:node:{}", settings.name);
    let client = parts
        .clients
        .as_user(&user, &["system:nodes", "system:authenticated"]);
    let token = parts.tasks.token().child_token();
    let nodes =
        Informers::new(client.clone(), token.clone()).informer_with::<v1::Node>(InformerScope {
            field_selector: Some(format!("metadata.name={}", settings.name)),
            ..InformerScope::default()
        });
    let address = IpAddr::V4(settings.ip);
    let mtu = peers::pod_mtu(address, settings.flags.node_reach.into()).await?;
    let network_configured = Arc::new(Notify::new());
    follow_pod_cidr(&nodes, settings, mtu, network_configured.clone());
    let config = knarr_kubelet::Config {
        instance: settings.host.instance.to_string(),
        node_name: settings.name.clone(),
        node_ip: address,
        data_dir: settings.host.data_dir.clone(),
        root_dir: settings.flags.root_dir.clone(),
        cri_endpoint: endpoint,
        cluster_dns: vec![IpAddr::V4(cluster.cluster_dns)],
        cluster_domain: cluster.cluster_domain.clone(),
        cgroup_root: settings.host.cgroup.display().to_string(),
        client_ca_pem: serving.client_ca_pem,
        resolv_conf: settings.flags.resolv_conf.clone(),
        allowed_unsafe_sysctls: settings.flags.allowed_unsafe_sysctls.clone(),
        network_configured,
        node_logs,
        manifest_path: settings.flags.pod_manifest_path.clone(),
        manifest_url: settings.flags.manifest_url()?,
        ..knarr_kubelet::Config::default()
    };
    let config = config.configured(settings.flags.kubelet_configuration()?)?;
    let kubelet = Kubelet::new(config, serving.certificate, client).await?;
    parts.tasks.keep("kubelet", kubelet.run(token));
    start_local_path(parts);
    Ok(())
}

/// The provisioner of the node's directories.
fn start_local_path(parts: &Parts<'_>) {
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

/// Gives pods addresses of the range that the node was given, as soon as it is; rings when it has.
fn follow_pod_cidr(
    nodes: &Informer<v1::Node>,
    settings: &Settings,
    mtu: u32,
    configured: Arc<Notify>,
) {
    let data_dir = settings.host.data_dir.clone();
    let instance = settings.host.instance;
    let network_policy = settings.cluster.network_policy;
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
        let network = network::PodNetwork {
            instance,
            pods: cidr,
            mtu,
            network_policy,
        };
        match network::write_cni(&data_dir, &network) {
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
