//! Parts of a cluster that run by themselves, beside any API server: what they have in common.
//!
//! A part here is the same that `knarr up` runs, with a kubeconfig in place of the server in its process. Who may do its work while
//! several could is said by a Lease, as upstream's parts say it to each other: ours and theirs take turns at the same one.

pub mod controller_manager;
pub mod kubelet;
pub mod proxy;
pub mod scheduler;

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result, bail};
use knarr_client::election::Election;
use knarr_cni::InstanceId;
use knarr_health::{Health, Identity, Kind};
use knarr_join::kubeconfig::{KubeconfigClients, Options};
use knarr_tasks::Tasks;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tracing::warn;

use crate::cli::{ApiFlags, ElectionFlags, ServingFlags};

/// Clients by the kubeconfig that was given. A server that does not answer yet is waited for by whoever asks it first.
async fn connect(flags: &ApiFlags, service_accounts: bool) -> Result<KubeconfigClients> {
    let options = Options {
        path: flags.kubeconfig.clone(),
        server: flags.master.clone(),
        service_accounts,
    };
    let clients = KubeconfigClients::open(&options).await?;
    match clients.check().await {
        Err(error @ knarr_join::Error::Version { .. }) => return Err(error.into()),
        Err(error) => {
            let server = clients.server();
            warn!(%server, %error, "the API server does not answer yet; trying again");
        }
        Ok(()) => {}
    }
    Ok(clients)
}

/// A candidate for a Lease, unless there is nobody else.
fn election(flags: &ElectionFlags, client: kube::Client, lease: &str) -> Result<Option<Election>> {
    if !flags.leader_elect {
        return Ok(None);
    }
    let lease = flags.leader_elect_resource_name.as_deref().unwrap_or(lease);
    let host = host_name()?;
    // Two on one machine are two.
    let unique = InstanceId::random().context("no randomness")?;
    let identity = format!("{host}_{unique}");
    Ok(Some(Election::new(client, lease, &identity)))
}

/// Answers of health, if anybody is to be told.
async fn serve_health(flags: &ServingFlags, port: u16, tasks: &Tasks) -> Result<()> {
    let address = SocketAddr::new(flags.bind_address, flags.secure_port.unwrap_or(port));
    if address.port() == 0 {
        return Ok(());
    }
    let files = (&flags.tls_cert_file, &flags.tls_private_key_file);
    let identity = match files {
        (Some(certificate), Some(key)) => identity(certificate, key)?,
        _ => own_identity(&[host_name()?, "localhost".to_owned()])?,
    };
    let health = Health::bind(address, Kind::Secure(identity)).await;
    let health = health.context("health (--bind-address, --secure-port)")?;
    tasks.keep("health", health.run(tasks.token().child_token()));
    Ok(())
}

/// A server's certificate and key.
fn identity(certificate: &Path, key: &Path) -> Result<Identity> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(certificate)?).collect();
    let chain = chain.with_context(|| format!("{} is no certificate", certificate.display()))?;
    if chain.is_empty() {
        bail!("{} holds no certificate", certificate.display());
    }
    let key_der = PrivateKeyDer::from_pem_slice(&read(key)?);
    Ok(Identity {
        chain,
        key: key_der.with_context(|| format!("{} is no key", key.display()))?,
    })
}

/// One that nobody vouches for.
fn own_identity(names: &[String]) -> Result<Identity> {
    let (certificate, key) = knarr_join::self_signed(names)?;
    Ok(Identity {
        chain: vec![certificate],
        key,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn host_name() -> Result<String> {
    let name = nix::unistd::gethostname().context("cannot read the host name")?;
    Ok(name.to_string_lossy().to_lowercase())
}
