//! A kube client that reaches into a cluster's namespace.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::Value;
use tower::{ServiceBuilder, service_fn};

use crate::{cluster::Cluster, network};

const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// A request that takes longer, answer included, is given up. Watches have their own deadlines.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);

/// Who asks.
#[derive(Clone, Debug)]
pub enum Identity {
    /// The administrator, by client certificate.
    Admin,
    /// Nobody.
    Anonymous,
    /// A bearer token's owner.
    Token(String),
    /// Somebody the administrator acts as.
    Impersonated(String),
}

impl Cluster {
    /// The administrator's client.
    pub async fn client(&self) -> Result<Client> {
        self.client_as(&Identity::Admin).await
    }

    /// A client with an identity. Each has its own connections.
    pub async fn client_as(&self, identity: &Identity) -> Result<Client> {
        client_within(self.network().path(), &self.kubeconfig(), identity).await
    }
}

/// A client, with an identity, of the server that a kubeconfig tells of, from within a network namespace.
pub async fn client_within(
    namespace: PathBuf,
    kubeconfig: &Path,
    identity: &Identity,
) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let mut authorization = None;
    match identity {
        Identity::Admin => {}
        Identity::Impersonated(user) => config.auth_info.impersonate = Some(user.clone()),
        Identity::Anonymous => config.auth_info = kube::config::AuthInfo::default(),
        Identity::Token(token) => {
            config.auth_info = kube::config::AuthInfo::default();
            let value: http::HeaderValue = format!("Bearer {token}").parse()?;
            authorization = Some(value);
        }
    }
    let connector = service_fn(move |uri: http::Uri| {
        let namespace = namespace.clone();
        async move {
            let address = uri
                .authority()
                .and_then(|authority| authority.as_str().parse().ok())
                .ok_or_else(|| std::io::Error::other(format!("{uri} has no address")))?;
            let opened = tokio::task::spawn_blocking(move || {
                network::connect(&namespace, address, CONNECT_DEADLINE)
            });
            let stream = opened.await.map_err(std::io::Error::other)??;
            stream.set_nonblocking(true)?;
            Ok::<_, std::io::Error>(TokioIo::new(tokio::net::TcpStream::from_std(stream)?))
        }
    });
    let https = config.rustls_https_connector_with_connector(connector)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(config.extra_headers_layer()?)
        .map_request(move |mut request: http::Request<Body>| {
            if let Some(value) = &authorization {
                request
                    .headers_mut()
                    .insert(http::header::AUTHORIZATION, value.clone());
            }
            request
        })
        .service(legacy::Client::builder(TokioExecutor::new()).build(https));
    Ok(Client::new(service, "default"))
}

/// An answer as it came.
#[derive(Debug)]
pub struct Raw {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
    pub text: String,
}

impl Raw {
    /// Sends a request and reads the whole answer. `content_type` is for requests with a body.
    pub async fn send(
        client: &Client,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Self> {
        let mut request = http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.as_bytes().to_vec()))?;
        let answer = async {
            let response = client.send(request).await?;
            let (head, body) = response.into_parts();
            let bytes = http_body_util::BodyExt::collect(body).await?.to_bytes();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            anyhow::Ok(Self {
                code: head.status.as_u16(),
                headers: head.headers,
                body: serde_json::from_str(&text).unwrap_or(Value::Null),
                text,
            })
        };
        tokio::time::timeout(REQUEST_DEADLINE, answer)
            .await
            .with_context(|| format!("no answer to {method} {path}"))?
    }

    /// The message of a `Status`.
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}
