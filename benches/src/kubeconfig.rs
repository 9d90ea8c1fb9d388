//! The part of a kubeconfig that a load generator needs: one server, its CA, and a certificate or a token.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use base64::Engine;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde::Deserialize;

#[cfg(test)]
mod tests;

/// Where a cluster answers and who asks.
#[derive(Debug)]
pub struct Access {
    /// `https://host[:port]`.
    pub server: String,
    /// The name to expect in the server's certificate where it is not the URL's.
    pub tls_server_name: Option<String>,
    /// None: whatever the server presents is taken.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    pub client_certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    pub token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct File {
    #[serde(default)]
    current_context: String,
    #[serde(default)]
    contexts: Vec<NamedContext>,
    #[serde(default)]
    clusters: Vec<NamedCluster>,
    #[serde(default)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize)]
struct NamedContext {
    name: String,
    context: ContextBody,
}

#[derive(Deserialize)]
struct ContextBody {
    cluster: String,
    user: String,
}

#[derive(Deserialize)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cluster {
    server: String,
    tls_server_name: Option<String>,
    #[serde(default)]
    insecure_skip_tls_verify: bool,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
}

#[derive(Deserialize)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize)]
struct User {
    #[serde(rename = "client-certificate")]
    certificate: Option<PathBuf>,
    #[serde(rename = "client-certificate-data")]
    certificate_data: Option<String>,
    #[serde(rename = "client-key")]
    key: Option<PathBuf>,
    #[serde(rename = "client-key-data")]
    key_data: Option<String>,
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    exec: Option<serde_yaml_ng::Value>,
    #[serde(rename = "auth-provider")]
    auth_provider: Option<serde_yaml_ng::Value>,
}

/// The current context of the file at `path`; relative paths in it are taken from its directory.
pub fn read(path: &Path) -> Result<Access> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
    let directory = path.parent().unwrap_or(Path::new("."));
    parse(&text, directory).with_context(|| format!("cannot use the kubeconfig {}", path.display()))
}

fn parse(text: &str, directory: &Path) -> Result<Access> {
    let file: File = serde_yaml_ng::from_str(text).context("not a kubeconfig")?;
    let name = &file.current_context;
    let context = match file.contexts.iter().find(|c| c.name == *name) {
        Some(named) => &named.context,
        None => bail!("there is no context {name:?} (current-context)"),
    };
    let Some(cluster) = file
        .clusters
        .into_iter()
        .find(|c| c.name == context.cluster)
    else {
        bail!("there is no cluster {:?}", context.cluster);
    };
    let Some(user) = file.users.into_iter().find(|u| u.name == context.user) else {
        bail!("there is no user {:?}", context.user);
    };
    let (cluster, user) = (cluster.cluster, user.user);
    if user.exec.is_some() || user.auth_provider.is_some() {
        bail!("credential plugins are not supported: use a client certificate or a token");
    }
    let authority = pem(
        directory,
        cluster.certificate_authority_data,
        cluster.certificate_authority,
    )?;
    let authorities = match authority {
        _ if cluster.insecure_skip_tls_verify => None,
        Some(pem) => Some(certificates(&pem)?),
        None => bail!("the cluster has no certificate authority"),
    };
    let certificate = pem(directory, user.certificate_data, user.certificate)?;
    let key = pem(directory, user.key_data, user.key)?;
    let client_certificate = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(&key).context("client key")?;
            Some((certificates(&certificate)?, key))
        }
        (None, None) => None,
        _ => bail!("a client certificate needs its key, and a key its certificate"),
    };
    let token = match (user.token.filter(|t| !t.is_empty()), user.token_file) {
        (Some(token), _) => Some(token),
        (None, Some(path)) => Some(
            fs::read_to_string(directory.join(&path))
                .with_context(|| format!("cannot read {}", path.display()))?
                .trim()
                .to_owned(),
        ),
        (None, None) => None,
    };
    Ok(Access {
        server: cluster.server,
        tls_server_name: cluster.tls_server_name,
        authorities,
        client_certificate,
        token,
    })
}

/// Embedded data wins over a file, as in client-go.
fn pem(directory: &Path, data: Option<String>, file: Option<PathBuf>) -> Result<Option<Vec<u8>>> {
    if let Some(data) = data.filter(|d| !d.is_empty()) {
        let engine = base64::engine::general_purpose::STANDARD;
        return Ok(Some(
            engine
                .decode(data.trim())
                .context("embedded data is not base64")?,
        ));
    }
    let Some(path) = file else { return Ok(None) };
    let path = directory.join(path);
    fs::read(&path)
        .map(Some)
        .with_context(|| format!("cannot read {}", path.display()))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .context("certificate")?;
    if all.is_empty() {
        bail!("there is no certificate in the PEM data");
    }
    Ok(all)
}
