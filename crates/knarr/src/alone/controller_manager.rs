//! `knarr controller-manager`: the controllers of a cluster whose API server is elsewhere.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use futures::future::BoxFuture;
use knarr_auth::tokens::SecretTokens;
use knarr_client::{Clients, Informers};
use knarr_controllers::{Config, Controllers, NodeMasks, Selection};
use knarr_join::KubeconfigClients;
use knarr_tasks::Tasks;
use knarr_x509::Authority;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::{connect, election, read, serve_health};
use crate::{
    cli::ControllerManagerAlone,
    parts,
    process::{self, Asked},
    ranges::Ranges,
};

/// Upstream's port of its health.
const PORT: u16 = 10_257;
const LEASE: &str = "kube-controller-manager";
const USER: &str = "system:kube-controller-manager";
const STOP: Duration = Duration::from_secs(10);

pub fn run(flags: &ControllerManagerAlone) -> Result<()> {
    process::stateless(&flags.log, serve(flags))
}

async fn serve(flags: &ControllerManagerAlone) -> Result<()> {
    let mut asked = Asked::listen()?;
    let selection = selection(flags)?;
    let clients = connect(&flags.api, flags.use_service_account_credentials).await?;
    let config = config(flags, &clients, selection)?;
    let tasks = Tasks::new(CancellationToken::new());
    serve_health(&flags.serving, PORT, &tasks).await?;
    let election = election(&flags.election, clients.client(), LEASE)?;
    info!(server = %clients.server(), "the controllers run");
    let clients: Arc<dyn Clients> = Arc::new(clients);
    let token = tasks.token().child_token();
    tasks.keep("controllers", async move {
        let work = controllers(config, clients);
        parts::lead(election, token, work).await;
    });
    let signal = asked.wait().await;
    info!(signal, "stopping");
    parts::stop("controllers", &tasks, STOP).await;
    Ok(())
}

/// What makes the controllers anew each time this process begins to lead.
pub fn controllers(
    config: Config,
    clients: Arc<dyn Clients>,
) -> impl Fn(CancellationToken) -> BoxFuture<'static, ()> + Send {
    move |token| {
        let client = clients.as_user(USER, &["system:authenticated"]);
        let informers = Informers::new(client, token.clone());
        let controllers = Controllers::new(config.clone(), clients.clone(), informers);
        Box::pin(controllers.run(token))
    }
}

fn selection(flags: &ControllerManagerAlone) -> Result<Selection> {
    let words = flags.controllers.iter().map(String::as_str);
    let selection = Selection::of(words).context("--controllers")?;
    Ok(match flags.allocate_node_cidrs {
        true => selection,
        false => selection.without_node_ipam(),
    })
}

fn config(
    flags: &ControllerManagerAlone,
    clients: &KubeconfigClients,
    selection: Selection,
) -> Result<Config> {
    let root_ca_pem = match &flags.root_ca_file {
        Some(path) => String::from_utf8(read(path)?)
            .with_context(|| format!("{} is no certificate", path.display()))?,
        None => clients.ca_pem().to_owned(),
    };
    let signer = match (
        &flags.cluster_signing_cert_file,
        &flags.cluster_signing_key_file,
    ) {
        (Some(certificate), Some(key)) => Some(Arc::new(authority(certificate, key)?)),
        _ => None,
    };
    let token_signer = flags.service_account_private_key_file.as_deref();
    let token_signer = token_signer.map(token_signer_of).transpose()?;
    let list = |ranges: &Option<Ranges>| ranges.as_ref().map_or_else(Vec::new, Ranges::to_vec);
    Ok(Config {
        selection,
        cluster_cidrs: list(&flags.cluster_cidr),
        service_cidrs: list(&flags.service_cluster_ip_range),
        node_cidr_masks: masks(flags)?,
        root_ca_pem,
        signer,
        server_names: server_names(clients.server().host()),
        token_signer: token_signer.map(Arc::new),
        node_monitor_grace: flags.node_monitor_grace_period,
        terminated_pod_threshold: flags.terminated_pod_gc_threshold,
        legacy_token_clean_up_period: flags.legacy_service_account_token_clean_up_period,
        service_lb: None,
    })
}

/// Prefix lengths of nodes' pieces; what upstream refuses is refused in its words.
fn masks(flags: &ControllerManagerAlone) -> Result<NodeMasks> {
    let both = flags.node_cidr_mask_size;
    let (ipv4, ipv6) = (
        flags.node_cidr_mask_size_ipv4,
        flags.node_cidr_mask_size_ipv6,
    );
    let families = flags
        .cluster_cidr
        .as_ref()
        .map(|cidrs| (cidrs.list().len(), cidrs.has_ipv6()));
    match families {
        Some((2, _)) if both.is_some() => {
            bail!("usage of --node-cidr-mask-size is not allowed with dual-stack clusters")
        }
        _ if both.is_some() && (ipv4.is_some() || ipv6.is_some()) => bail!(
            "usage of --node-cidr-mask-size-ipv4 and --node-cidr-mask-size-ipv6 is not allowed if --node-cidr-mask-size is set. \
             For dual-stack clusters please unset it and use IPFamily specific flags"
        ),
        Some((1, true)) if ipv4.is_some() => bail!(
            "usage of --node-cidr-mask-size-ipv4 is not allowed for a single-stack IPv6 cluster"
        ),
        Some((1, false)) if ipv6.is_some() => bail!(
            "usage of --node-cidr-mask-size-ipv6 is not allowed for a single-stack IPv4 cluster"
        ),
        _ => {}
    }
    let usual = NodeMasks::default();
    Ok(NodeMasks {
        ipv4: both.or(ipv4).unwrap_or(usual.ipv4),
        ipv6: both.or(ipv6).unwrap_or(usual.ipv6),
    })
}

/// What the API server is called, as far as it is known here: no node may have a certificate for it.
fn server_names(host: &str) -> Vec<String> {
    let services = ["kubernetes", "kubernetes.default", "kubernetes.default.svc"];
    let names = services.into_iter().chain([host]);
    names.map(str::to_owned).collect()
}

fn authority(certificate: &Path, key: &Path) -> Result<Authority> {
    let der = CertificateDer::from_pem_slice(&read(certificate)?)
        .with_context(|| format!("{} is no certificate", certificate.display()))?;
    let pem =
        String::from_utf8(read(key)?).with_context(|| format!("{} is no key", key.display()))?;
    Authority::new(&der, &pem).with_context(|| format!("{} cannot be used", key.display()))
}

fn token_signer_of(path: &Path) -> Result<SecretTokens> {
    SecretTokens::from_pem(&read(path)?)
        .with_context(|| format!("{} cannot be used", path.display()))
}
