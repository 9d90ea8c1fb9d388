//! The steps of joining, one after the other.

use super::*;

use k8s_openapi::api::core::v1::ConfigMap;
use knarr_auth::{
    bootstrap_token::BootstrapToken,
    cluster_info::{SETTINGS_NAME, SETTINGS_NAMESPACE},
    pki::files::{self, Durability},
    x509::Certificates,
};
use knarr_client::errors;
use knarr_x509::pem;
use kube::Api;

use crate::{
    CaHash,
    discovery::{ClusterInfo, TokenState},
    remote::bootstrap_client,
    version,
};

/// The authority's file.
const CA_FILE: &str = "ca.crt";
/// Authorities that were trusted and are not any more: a token of their time still names this cluster.
const REPLACED_FILE: &str = "ca.replaced";

/// Whom to trust: the authority of an earlier start, the one that a file names, or the one that the token's hash confirms.
pub(super) async fn trust(options: &Options, servers: &Arc<Servers>) -> Result<Authority, Error> {
    let path = options.pki_dir.join(CA_FILE);
    let hash = options.token.as_ref().and_then(|token| token.ca);
    if let Some(authority) = kept_authority(options).await? {
        let replaced = kept_text(options, REPLACED_FILE).await?;
        let replaced = replaced.unwrap_or_default();
        return match hash {
            Some(hash) if !hash.is_of_one(authority.pem()) && !hash.is_of_one(&replaced) => {
                Err(Error::OtherCluster {
                    path: options.pki_dir.clone(),
                })
            }
            _ => Ok(authority),
        };
    }
    let authority = match (&options.ca_file, &options.token, hash) {
        _ if options.foreign.is_some() => given_authority(options)?,
        (Some(file), ..) => read_authority(file, hash).await?,
        (None, None, _) => return Err(Error::NoToken),
        (None, Some(_), None) => return Err(Error::NoHash),
        (None, Some(_), Some(hash)) => {
            let info = ClusterInfo::fetch(servers).await?;
            info.authority(&hash).map_err(|found| Error::WrongHash {
                server: servers.current().to_string(),
                found,
            })?
        }
    };
    keep(path, authority.pem().to_owned()).await?;
    Ok(authority)
}

/// The authority of an earlier start.
pub(super) async fn kept_authority(options: &Options) -> Result<Option<Authority>, Error> {
    let kept = kept_text(options, CA_FILE).await?;
    Ok(kept.as_deref().and_then(Authority::from_pem))
}

/// What lies in a file of the node's, whose directory is there then.
async fn kept_text(options: &Options, file: &'static str) -> Result<Option<String>, Error> {
    let dir = options.pki_dir.clone();
    let kept = tokio::task::spawn_blocking(move || {
        files::private_dir(&dir)?;
        files::read(&dir.join(file))
    });
    let kept = kept.await.unwrap_or(Ok(None))?;
    Ok(kept.and_then(|bytes| String::from_utf8(bytes).ok()))
}

fn given_authority(options: &Options) -> Result<Authority, Error> {
    let given = options.foreign.as_ref();
    let authority = given.and_then(|foreign| Authority::from_pem(&foreign.ca_pem));
    authority.ok_or(Error::NoAuthority)
}

async fn read_authority(file: &Path, hash: Option<CaHash>) -> Result<Authority, Error> {
    let text = tokio::fs::read_to_string(file).await;
    let text = text.map_err(|source| Error::Read {
        path: file.to_owned(),
        source,
    })?;
    let authority = Authority::from_pem(&text);
    let authority = authority.filter(|_| hash.is_none_or(|hash| hash.is_of_one(&text)));
    authority.ok_or_else(|| Error::CaFile {
        path: file.to_owned(),
    })
}

async fn keep(path: PathBuf, text: String) -> Result<(), Error> {
    let kept = tokio::task::spawn_blocking(move || {
        files::write(&path, text.as_bytes(), files::PUBLIC, Durability::Synced)
    });
    Ok(kept.await.unwrap_or(Ok(()))?)
}

/// The authorities that the cluster trusts now, where they are others than those that are trusted here. The server that tells them was
/// vouched for.
pub(super) async fn changed_trust(
    servers: &Arc<Servers>,
    anonymous: &Arc<ClientConfig>,
    trusted: &Authority,
) -> Option<Authority> {
    let transport = Transport::new(servers.clone(), anonymous.clone());
    let info = match ClusterInfo::ask(transport, servers).await {
        Ok(info) => info,
        Err(error) => {
            tracing::warn!(%error, "cannot ask which authorities the cluster has");
            return None;
        }
    };
    let told = info.certificates().concat();
    if told.trim() == trusted.pem().trim() {
        return None;
    }
    Authority::from_pem(&told)
}

/// Keeps changed trust. A server was reached by it.
pub(super) async fn keep_trust(
    options: &Options,
    old: &Authority,
    new: &Authority,
) -> Result<(), Error> {
    let (dir, old) = (&options.pki_dir, old.pem().to_owned());
    let replaced = dir.join(REPLACED_FILE);
    let earlier = tokio::fs::read_to_string(&replaced).await;
    let earlier = earlier.unwrap_or_default();
    let gone: String = pem::blocks((earlier + &old).as_bytes())
        .filter(|block| block.label == pem::CERTIFICATE)
        .map(|block| pem::encode(pem::CERTIFICATE, &block.der))
        .filter(|one| !new.pem().contains(one.trim()))
        .collect();
    if !gone.is_empty() {
        keep(replaced, gone).await?;
    }
    keep(dir.join(CA_FILE), new.pem().to_owned()).await?;
    tracing::info!("the cluster's authorities have changed, and are trusted as it tells them now");
    Ok(())
}

/// The node's certificate: the one it has, or one that the token gets it.
pub(super) async fn client_certificate(
    options: &Options,
    servers: &Arc<Servers>,
    nobody: &Transport,
) -> Result<Certified, Error> {
    let place = options.place(Purpose::Client);
    let user = options.identity().user();
    let kept = blocking(&place, Place::load).await?;
    let token = match (kept, &options.token) {
        (Some(kept), _) if is_of(&kept, &user) => return Ok(kept),
        (Some(_), None) => {
            let path = place.path().to_owned();
            return Err(Error::CertificateEnded { path });
        }
        (None, None) => return Err(Error::NoToken),
        (_, Some(token)) => token,
    };
    let certified = by_token(options, servers, nobody, &token.token).await?;
    request::check_clock(&certified, &servers.current().to_string(), Timestamp::now())?;
    Ok(certified)
}

/// The node's certificate of an earlier start, while it is good.
pub(super) async fn kept_client(options: &Options) -> Result<Option<Certified>, Error> {
    let kept = blocking(&options.place(Purpose::Client), Place::load).await?;
    let user = options.identity().user();
    Ok(kept.filter(|kept| is_of(kept, &user)))
}

/// Whether a certificate is this user's, now.
fn is_of(certified: &Certified, user: &str) -> bool {
    let found = certified
        .chain()
        .first()
        .and_then(|leaf| Certificates::default().user(leaf));
    found.is_some_and(|found| found.user.name == user)
}

async fn by_token(
    options: &Options,
    servers: &Arc<Servers>,
    nobody: &Transport,
    token: &BootstrapToken,
) -> Result<Certified, Error> {
    let client = bootstrap_client(nobody.clone(), token).map_err(|_| Error::NoToken)?;
    match version::check(&client).await {
        Err(Error::Api { source, .. }) if is_unauthorized(&source) => {
            return Err(refused(servers, token).await);
        }
        checked => checked?,
    }
    let (place, identity) = (options.place(Purpose::Client), options.identity());
    request::certificate(&client, &place, &identity, Purpose::Client).await
}

/// Says of a token that the server refuses what its public signatures tell.
async fn refused(servers: &Arc<Servers>, token: &BootstrapToken) -> Error {
    let (id, server) = (token.id().to_owned(), servers.current().to_string());
    let info = ClusterInfo::fetch(servers).await.unwrap_or_default();
    match info.state(token) {
        TokenState::OtherSecret => Error::TokenSecret { id, server },
        TokenState::Known => Error::TokenUsage { id, server },
        TokenState::Unknown => Error::TokenUnknown { id, server },
    }
}

/// Whether the server takes this node, and is of a version that it can work with.
pub(super) async fn check_server(
    client: &kube::Client,
    servers: &Arc<Servers>,
    certificate: &Path,
) -> Result<(), Error> {
    match version::check(client).await {
        Err(Error::Api { source, .. }) if is_unauthorized(&source) => {
            Err(Error::CertificateRefused {
                server: servers.current().to_string(),
                path: certificate.to_owned(),
            })
        }
        checked => checked,
    }
}

fn is_unauthorized(error: &kube::Error) -> bool {
    errors::status(error).is_some_and(|status| status.code == 401)
}

/// What nodes must agree on.
pub(super) async fn settings(client: &kube::Client) -> Result<ClusterSettings, Error> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), SETTINGS_NAMESPACE);
    let map = api.get(SETTINGS_NAME).await.map_err(|source| Error::Api {
        action: "read what the cluster's nodes agree on",
        source,
    })?;
    Ok(ClusterSettings::from_data(&map.data.unwrap_or_default())?)
}

/// The certificate of the node's server: the one it has, where that says what it has to, or another one.
pub(super) async fn serving_certificate(
    options: &Options,
    identity: &Identity,
    client: &kube::Client,
    authority: &Authority,
) -> Result<Certified, Error> {
    let place = options.place(Purpose::Serving);
    let kept = blocking(&place, Place::load).await?;
    let kept = kept.filter(|kept| {
        kept.is_valid(Timestamp::now())
            && identity.is_served_by(kept)
            && is_of_present(authority, kept)
    });
    match kept {
        Some(kept) => Ok(kept),
        None => request::certificate(client, &place, identity, Purpose::Serving).await,
    }
}

/// Whether a certificate was signed by the authority that signs now, not by one that is replaced.
pub(super) fn is_of_present(authority: &Authority, certified: &Certified) -> bool {
    let leaf = certified.leaf();
    leaf.is_some_and(|leaf| authority.names_as_issuer(&leaf))
}
