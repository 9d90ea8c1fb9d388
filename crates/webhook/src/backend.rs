//! A server that requests are passed on to: whole requests and answers, with this process' own certificate.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper_util::{client::legacy, rt::TokioTimer};
use knarr_auth::objects::Objects;
use parking_lot::Mutex;
use rustls::client::ResolvesClientCert;
use tokio::time::timeout;

use crate::{
    Error,
    client::{Executor, explain, place},
    config::Target,
    connect::Connector,
    verify::{self, Trust},
};

/// Connections that are kept for the next request, and for how long.
const IDLE_CONNECTIONS: usize = 25;
const IDLE: Duration = Duration::from_secs(90);
/// Most bytes that are held of an answer before it is passed on: its head must fit.
const BUFFER_BYTES: usize = 64 << 10;
const MAX_HEADERS: usize = 100;

/// The body of a request, which may come while it is sent.
pub type Body = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

type Http = legacy::Client<Connector, Body>;

/// The client of one server: its connections.
pub struct Backend {
    http: Mutex<Http>,
    connector: Connector,
    /// `https://name.namespace.svc:443`
    origin: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// In the words of Go's HTTP client.
    #[error("{0}")]
    Unreachable(String),
    /// The answer's head did not come in time.
    #[error("context deadline exceeded")]
    Late,
}

impl Backend {
    /// # Errors
    /// Where the target names no server, or `trust` has no certificate that can be read.
    pub fn new(
        target: &Target,
        trust: &Trust,
        identity: Arc<dyn ResolvesClientCert>,
        objects: Arc<dyn Objects>,
    ) -> Result<Backend, Error> {
        let (host, port, _) = place(target)?;
        let named = if host.contains(':') {
            format!("[{host}]")
        } else {
            host.clone()
        };
        let host: Arc<str> = host.into();
        let connector = Connector {
            target: Arc::new(target.clone()),
            tls: verify::client(trust, Some(identity))?,
            objects,
            name: host.clone(),
            host,
            port,
        };
        Ok(Backend {
            http: Mutex::new(http(connector.clone())),
            connector,
            origin: format!("https://{named}:{port}"),
        })
    }

    /// Uses the connections that are idle no more: they may lead to endpoints that are gone.
    pub fn reconnect(&self) {
        *self.http.lock() = http(self.connector.clone());
    }

    /// Scheme, name and port, without a path.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Sends a request, whose URI is path and query, and waits so long for the answer's head. Its body comes as it is read; an upgrade
    /// is the caller's to take. Redirects are not followed.
    ///
    /// # Errors
    /// Where there is no connection, no answer, or none in time.
    pub async fn send(
        &self,
        mut request: Request<Body>,
        wait: Duration,
    ) -> Result<Response<Incoming>, Failure> {
        let unreachable = |why: String| Failure::Unreachable(why);
        let path = request
            .uri()
            .path_and_query()
            .map_or("/", |path| path.as_str());
        let uri: Uri = format!("{}{path}", self.origin)
            .parse()
            .map_err(|error: http::uri::InvalidUri| unreachable(error.to_string()))?;
        *request.uri_mut() = uri;
        let http = self.http.lock().clone();
        match timeout(wait, http.request(request)).await {
            Ok(answer) => answer.map_err(|error| unreachable(explain(&error))),
            Err(_) => Err(Failure::Late),
        }
    }
}

fn http(connector: Connector) -> Http {
    legacy::Client::builder(Executor)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_timer(TokioTimer::new())
        .http1_max_buf_size(BUFFER_BYTES)
        .http1_max_headers(MAX_HEADERS)
        .build(connector)
}

#[cfg(test)]
mod tests;
