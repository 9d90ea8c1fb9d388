//! A server outside of the cluster that is called by configuration of this process: those of a kubeconfig, and documents at a URL.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, header};
use http_body_util::Full;
use knarr_auth::objects::{Object, Objects};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
};
use tokio::time::timeout;

use crate::{
    Bounds, Error, Kubeconfig, KubeconfigError, Trust,
    client::{DEADLINE, Http, exchange, http, place},
    config::Target,
    connect::Connector,
    kubeconfig::{self, Credentials, Identity},
    verify,
};

const USER_AGENT: HeaderValue = HeaderValue::from_static("kube-apiserver");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The client of one server.
pub struct Remote {
    http: Http,
    url: String,
    credentials: Option<Credentials>,
}

impl Remote {
    /// # Errors
    /// Where authorities or the client's certificate cannot be read.
    pub fn new(config: &Kubeconfig) -> Result<Remote, KubeconfigError> {
        let unusable = |error: Error| KubeconfigError::Invalid {
            path: config.server.clone().into(),
            why: error.reason(),
        };
        let connector = connector(&config.server, &config.trust, config.identity.as_ref());
        let (mut connector, url) = connector.map_err(unusable)?;
        if !config.server_name.is_empty() {
            connector.name = config.server_name.as_str().into();
        }
        Ok(Remote {
            http: http(connector),
            url,
            credentials: config.credentials.clone(),
        })
    }

    /// POSTs JSON and gives the answer's body.
    ///
    /// # Errors
    /// Where the server cannot be reached, does not prove who it is, does not answer in time, answers too much, or not with 2xx.
    pub async fn post(&self, body: Bytes, bounds: Bounds) -> Result<Bytes, Error> {
        let call = async {
            let mut request = request(Method::POST, &self.url, body)?;
            if let Some(credentials) = &self.credentials {
                let value = authorization(credentials).await?;
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            exchange(&self.http, request, bounds.answer_bytes).await
        };
        within(bounds.time, "Post", &self.url, call).await
    }
}

/// GETs a document, without credentials.
///
/// # Errors
/// As those of [`Remote::post`].
pub async fn fetch(url: &str, trust: &Trust, bounds: Bounds) -> Result<Bytes, Error> {
    let (connector, url) = connector(url, trust, None)?;
    let http = http(connector);
    let call = exchange(
        &http,
        request(Method::GET, &url, Bytes::new())?,
        bounds.answer_bytes,
    );
    within(bounds.time, "Get", &url, call).await
}

async fn within(
    time: Duration,
    method: &'static str,
    url: &str,
    call: impl Future<Output = Result<Bytes, Error>>,
) -> Result<Bytes, Error> {
    match timeout(time, call).await {
        Ok(answer) => answer,
        Err(_) => Err(Error::Unreachable {
            method,
            url: url.to_owned(),
            why: DEADLINE.to_owned(),
        }),
    }
}

fn connector(
    server: &str,
    trust: &Trust,
    identity: Option<&Identity>,
) -> Result<(Connector, String), Error> {
    let target = Target::Url(server.to_owned());
    let (host, port, url) = place(&target)?;
    let identity = match identity {
        Some(identity) => Some(Arc::new(resolver(identity)?) as _),
        None => None,
    };
    let host: Arc<str> = host.into();
    let connector = Connector {
        target: Arc::new(target),
        tls: verify::client(trust, identity)?,
        objects: Arc::new(NoObjects),
        name: host.clone(),
        host,
        port,
    };
    Ok((connector, url))
}

fn resolver(identity: &Identity) -> Result<SingleCertAndKey, Error> {
    let chain = CertificateDer::pem_slice_iter(&identity.certificate);
    let chain: Vec<_> = chain.collect::<Result<_, _>>().map_err(Error::config)?;
    let key = PrivateKeyDer::from_pem_slice(&identity.key).map_err(Error::config)?;
    let provider = ring::default_provider();
    let certified = CertifiedKey::from_der(chain, key, &provider).map_err(Error::config)?;
    Ok(SingleCertAndKey::from(certified))
}

fn request(method: Method, url: &str, body: Bytes) -> Result<Request<Full<Bytes>>, Error> {
    let request = Request::builder().method(&method).uri(url);
    let mut request = request.body(Full::new(body)).map_err(Error::config)?;
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, USER_AGENT);
    headers.insert(
        header::ACCEPT,
        HeaderValue::from_static("application/json, */*"),
    );
    if method == Method::POST {
        headers.insert(header::CONTENT_TYPE, JSON);
    }
    Ok(request)
}

async fn authorization(credentials: &Credentials) -> Result<HeaderValue, Error> {
    let text = match credentials {
        Credentials::Token(token) => format!("Bearer {token}"),
        Credentials::TokenFile(path) => {
            let path = path.clone();
            let read = tokio::task::spawn_blocking(move || kubeconfig::read(&path)).await;
            let token = read.map_err(Error::config)?.map_err(Error::config)?;
            format!("Bearer {}", String::from_utf8_lossy(&token).trim())
        }
        Credentials::Basic { username, password } => {
            format!(
                "Basic {}",
                STANDARD.encode(format!("{username}:{password}"))
            )
        }
    };
    let mut value = HeaderValue::try_from(text).map_err(Error::config)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Such a server is behind no Service.
struct NoObjects;

#[async_trait]
impl Objects for NoObjects {
    fn get(&self, _: &str, _: &str, _: &str, _: &str) -> Option<Object> {
        None
    }

    fn list(&self, _: &str, _: &str, _: &str) -> Vec<Object> {
        Vec::new()
    }

    async fn appears(&self, _: &str, _: &str, _: &str, _: &str, _: Duration) -> Option<Object> {
        None
    }

    fn revision_of(&self, _: &str, _: &str) -> u64 {
        0
    }
}
