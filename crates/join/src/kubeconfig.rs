//! Clients of the API server that a kubeconfig names: for a part of a cluster that runs by itself.
//!
//! The file and those that it names are read again while the part runs, so that whoever rotates its certificate or its token need not
//! restart it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use base64::{Engine, prelude::BASE64_STANDARD};
use futures::{FutureExt, future::BoxFuture};
use http::{HeaderValue, Request, Response, header::AUTHORIZATION};
use hyper::body::Incoming;
use knarr_auth::node_accounts::NAMESPACE as ACCOUNTS;
use knarr_client::{Clients, requests::Requests, throttle::Throttle};
use knarr_webhook::{Credentials, Kubeconfig, Trust};
use kube::client::Body;
use parking_lot::Mutex;
use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt};

use crate::{
    Error, JoinToken, ServerAddress,
    accounts::{AsAccount, Issuer},
    remote::NAMESPACE,
    tls::Authority,
    transport::{Servers, Transport},
    version,
};

/// How often the files are looked at, as client-go looks at those of tokens.
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);
/// Requests under way get this long to end when the certificate of their connection was replaced.
const REPLACE_GRACE: Duration = Duration::from_secs(30);
/// Name of the context, the cluster and the user in a file of ours.
const NAME: &str = "knarr";
/// Connections for watches, which never end: upstream's server takes 100 requests on one at a time, and the garbage collector alone
/// watches every kind that there is.
const WATCH_CONNECTIONS: usize = 8;
/// Most bytes of a token that lies in a file.
const TOKEN_BYTES: u64 = 64 << 10;

/// Makes clients by a kubeconfig. What acts under a service account has a token of that account, asked for under the kubeconfig's
/// identity, if [`Options::service_accounts`] says so; all else has the kubeconfig's own identity, whatever is asked for.
pub struct KubeconfigClients {
    own: AsOwner,
    server: ServerAddress,
    ca_pem: String,
    nobody: Transport,
    /// `None`: service accounts are not used.
    issuer: Option<Arc<Issuer>>,
    /// By name.
    accounts: Mutex<BTreeMap<String, AsAccount>>,
}

/// Whose clients they are.
#[derive(Clone, Debug)]
pub struct Options {
    pub path: PathBuf,
    /// The server, in place of the file's (`--master`).
    pub server: Option<ServerAddress>,
    /// Whether each controller has its own service account (upstream's `--use-service-account-credentials`).
    pub service_accounts: bool,
}

impl KubeconfigClients {
    /// Reads the file. Nobody is asked anything yet.
    ///
    /// # Errors
    /// [`Error::Kubeconfig`]: what in the file cannot be used.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        let read = load(&options.path).await?;
        let server = match &options.server {
            Some(server) => server.clone(),
            None => read.server,
        };
        let servers = Arc::new(Servers::new(vec![server.clone()], "")?);
        let anonymous = read.authority.client_showing(None)?;
        let nobody = Transport::new(servers.clone(), anonymous);
        let own = AsOwner {
            connections: Arc::new(Connections::new(&servers, &read.tls)),
            source: Arc::new(Source {
                path: options.path.clone(),
                header: ArcSwapOption::new(read.header.map(Arc::new)),
                seen: Mutex::new((Instant::now(), read.shown)),
            }),
        };
        let issuer = || Arc::new(Issuer::unbound(client(own.clone())));
        Ok(Self {
            issuer: options.service_accounts.then(issuer),
            own,
            server,
            ca_pem: read.authority.pem().to_owned(),
            nobody,
            accounts: Mutex::default(),
        })
    }

    /// A client of the kubeconfig's own identity.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        client(self.own.clone())
    }

    #[must_use]
    pub fn server(&self) -> &ServerAddress {
        &self.server
    }

    /// PEM of the authorities that the file names.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Asks the server for its version.
    ///
    /// # Errors
    /// Where it does not answer, does not take the identity, or is of a version that this one cannot work with.
    pub async fn check(&self) -> Result<(), Error> {
        version::check(&self.client()).await
    }
}

fn client(own: AsOwner) -> kube::Client {
    Throttle::new(own).client(NAMESPACE)
}

impl Clients for KubeconfigClients {
    fn as_user(&self, name: &str, _groups: &[&str]) -> kube::Client {
        let prefix = format!("system:serviceaccount:{ACCOUNTS}:");
        match (&self.issuer, name.strip_prefix(&prefix)) {
            (Some(issuer), Some(account)) => {
                let mut accounts = self.accounts.lock();
                let make = || AsAccount::new(self.nobody.clone(), issuer.clone(), account);
                let account = accounts.entry(account.to_owned()).or_insert_with(make);
                Throttle::new(account.clone()).client(NAMESPACE)
            }
            _ => self.client(),
        }
    }

    fn counted(&self, name: &str, groups: &[&str]) -> (kube::Client, Option<Arc<Requests>>) {
        if name.starts_with("system:serviceaccount:") {
            return (self.as_user(name, groups), None);
        }
        let service = Throttle::new(self.own.clone());
        let requests = service.requests();
        (service.client(NAMESPACE), Some(requests))
    }
}

/// A client's identity and whom it believes, all PEM.
#[derive(Clone, Copy)]
pub struct Identity<'a> {
    /// Authority of the server's certificate.
    pub ca_pem: &'a str,
    pub certificate_pem: &'a str,
    pub key_pem: &'a str,
}

impl Identity<'_> {
    /// A kubeconfig with everything embedded, as YAML that is JSON. `server` is a URL.
    #[must_use]
    pub fn kubeconfig(&self, server: &str) -> String {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": NAME,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": BASE64_STANDARD.encode(self.ca_pem),
                },
            }],
            "users": [{
                "name": NAME,
                "user": {
                    "client-certificate-data": BASE64_STANDARD.encode(self.certificate_pem),
                    "client-key-data": BASE64_STANDARD.encode(self.key_pem),
                },
            }],
            "contexts": [{"name": NAME, "context": {"cluster": NAME, "user": NAME}}],
            "current-context": NAME,
        });
        format!("{config:#}\n")
    }
}

/// What a kubeconfig with a bootstrap token says (upstream's `--bootstrap-kubeconfig`).
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub server: ServerAddress,
    pub token: JoinToken,
    /// PEM of the authorities that the file names.
    pub ca_pem: String,
}

impl Bootstrap {
    /// Reads the file.
    ///
    /// # Errors
    /// As [`KubeconfigClients::open`]; also where its credentials are no bootstrap token.
    pub async fn read(path: &Path) -> Result<Self, Error> {
        let read = load(path).await?;
        let header = read.header.as_ref().and_then(|header| header.to_str().ok());
        let token = header.and_then(|header| header.strip_prefix("Bearer "));
        let token = token.and_then(|token| token.parse().ok());
        Ok(Self {
            server: read.server,
            token: token.ok_or_else(|| Error::Kubeconfig {
                path: path.to_owned(),
                why: "its token is no bootstrap token (abcdef.0123456789abcdef)".to_owned(),
            })?,
            ca_pem: read.authority.pem().to_owned(),
        })
    }
}

/// What a kubeconfig says, ready for use.
struct Loaded {
    server: ServerAddress,
    authority: Authority,
    tls: Arc<ClientConfig>,
    /// Certificates and key that are shown, PEM, to see that they are others.
    shown: Vec<u8>,
    header: Option<HeaderValue>,
}

/// Reading is work for the disk: off the async threads.
async fn load(path: &Path) -> Result<Loaded, Error> {
    let path = path.to_owned();
    let read = tokio::task::spawn_blocking(move || read(&path)).await;
    read.unwrap_or(Err(Error::Aborted))
}

fn read(path: &Path) -> Result<Loaded, Error> {
    let invalid = |why: String| Error::Kubeconfig {
        path: path.to_owned(),
        why,
    };
    let config =
        Kubeconfig::read(path).map_err(|error| Error::KubeconfigFile(error.to_string()))?;
    if !config.server_name.is_empty() {
        return Err(invalid("tls-server-name is not supported".to_owned()));
    }
    let bundle = match config.trust {
        Trust::Bundle(bundle) => String::from_utf8_lossy(&bundle).into_owned(),
        _ => return Err(invalid(
            "insecure-skip-tls-verify is not supported: name the server's authority in certificate-authority".to_owned(),
        )),
    };
    let authority = Authority::from_pem(&bundle)
        .ok_or_else(|| invalid("it names no authority of the server's certificate".to_owned()))?;
    let mut shown = Vec::new();
    let tls = match &config.identity {
        None => authority.client_showing(None)?,
        Some(identity) => {
            shown = [&identity.certificate[..], &identity.key[..]].concat();
            let chain: Result<Vec<_>, _> =
                CertificateDer::pem_slice_iter(&identity.certificate).collect();
            let chain = chain.map_err(|error| invalid(format!("client certificate: {error}")))?;
            let key = PrivateKeyDer::from_pem_slice(&identity.key)
                .map_err(|error| invalid(format!("client key: {error}")))?;
            let tls = authority.client_showing(Some((chain, key)));
            tls.map_err(|error| invalid(format!("client certificate: {error}")))?
        }
    };
    let header = match &config.credentials {
        None => None,
        Some(Credentials::Token(token)) => Some(bearer(token).map_err(invalid)?),
        Some(Credentials::TokenFile(file)) => {
            let token = read_token(file).map_err(|source| Error::Read {
                path: file.clone(),
                source,
            })?;
            Some(bearer(token.trim()).map_err(invalid)?)
        }
        Some(Credentials::Basic { .. }) => {
            return Err(invalid(
                "user names and passwords are not supported".to_owned(),
            ));
        }
    };
    Ok(Loaded {
        server: address(&config.server).ok_or_else(|| {
            invalid(format!(
                "{:?} is not to be reached: https://HOST:PORT is expected",
                config.server
            ))
        })?,
        authority,
        tls,
        shown,
        header,
    })
}

fn read_token(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(TOKEN_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn bearer(token: &str) -> Result<HeaderValue, String> {
    let header = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut header = header.map_err(|_| "its token is none that can be sent".to_owned())?;
    header.set_sensitive(true);
    Ok(header)
}

/// A URL of a kubeconfig, whose port is HTTPS' own where it names none.
fn address(server: &str) -> Option<ServerAddress> {
    let uri: http::Uri = server.parse().ok()?;
    let named = uri.port_u16().unwrap_or(443);
    let plain = matches!(uri.path(), "" | "/") && uri.query().is_none();
    let host = uri.host().filter(|_| plain)?;
    format!("https://{host}:{named}").parse().ok()
}

/// Where an identity is read from, and what it is now.
struct Source {
    path: PathBuf,
    header: ArcSwapOption<HeaderValue>,
    /// When the files were looked at last, and which certificate they held.
    seen: Mutex<(Instant, Vec<u8>)>,
}

/// The ways of one identity to the server.
struct Connections {
    requests: Transport,
    watches: [Transport; WATCH_CONNECTIONS],
    /// Which of them is next.
    next: AtomicUsize,
}

impl Connections {
    fn new(servers: &Arc<Servers>, tls: &Arc<ClientConfig>) -> Self {
        let transport = || Transport::new(servers.clone(), tls.clone());
        Self {
            requests: transport(),
            watches: std::array::from_fn(|_| transport()),
            next: AtomicUsize::default(),
        }
    }

    fn of(&self, request: &Request<Body>) -> Transport {
        if !is_watch(request) {
            return self.requests.clone();
        }
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.watches[next % WATCH_CONNECTIONS].clone()
    }

    /// Uses new connections for new requests; what ends the old ones.
    fn replace(&self, tls: &Arc<ClientConfig>) -> Vec<CancellationToken> {
        let all = self.watches.iter().chain([&self.requests]);
        all.map(|transport| transport.replace(tls.clone()))
            .collect()
    }
}

fn is_watch(request: &Request<Body>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    query
        .split('&')
        .any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

/// Requests under the kubeconfig's identity.
#[derive(Clone)]
struct AsOwner {
    connections: Arc<Connections>,
    source: Arc<Source>,
}

impl AsOwner {
    /// Reads the files again if that is due. Where that fails, what was read before is good.
    async fn reload(&self) {
        {
            let mut seen = self.source.seen.lock();
            if seen.0.elapsed() < RELOAD_INTERVAL {
                return;
            }
            // One looks, the others go on.
            seen.0 = Instant::now();
        }
        let loaded = match load(&self.source.path).await {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!(%error, "the kubeconfig is not read again");
                return;
            }
        };
        self.source.header.store(loaded.header.map(Arc::new));
        let mut seen = self.source.seen.lock();
        if seen.1 == loaded.shown {
            return;
        }
        seen.1 = loaded.shown;
        let ends = self.connections.replace(&loaded.tls);
        knarr_tasks::spawn("the end of connections", async move {
            sleep(REPLACE_GRACE).await;
            ends.iter().for_each(CancellationToken::cancel);
        });
    }

    async fn send(self, mut request: Request<Body>) -> Result<Response<Incoming>, BoxError> {
        self.reload().await;
        if let Some(header) = self.source.header.load_full() {
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, HeaderValue::clone(&header));
        }
        self.connections.of(&request).oneshot(request).await
    }
}

impl Service<Request<Body>> for AsOwner {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().send(request).boxed()
    }
}

#[cfg(test)]
mod tests;
