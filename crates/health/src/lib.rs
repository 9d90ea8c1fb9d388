//! What a part of a cluster that runs by itself answers about its health: `/healthz`, `/livez` and `/readyz`, to everybody.
//!
//! ```text
//! listener -> TLS, or none -> path -> ok
//! ```
//!
//! Upstream's scheduler and controller manager answer on TLS, with a certificate of their own making unless they are given one, and its
//! proxy in the clear with the time of its last look at the node. A part is well while its process answers: what must not end takes
//! the process with it (`knarr-tasks`), and a candidate that waits for its Lease is well, too.
//!
//! Rejected: `/metrics` here. Who may read them is the API server's to say, which costs two requests an answer, and the parts have no
//! figures beside those of the process yet.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use knarr_tasks::accept;
use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

#[cfg(test)]
mod tests;

/// Connections at once; more wait.
const CONNECTIONS_AT_ONCE: usize = 64;
/// A client that has not said what it wants by then has gone.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever is said on it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(60);

/// Why health cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot listen on {address}: {source}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// By what the server proves who it is.
pub struct Identity {
    /// The leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// How it answers.
pub enum Kind {
    /// `ok`, on TLS, as upstream's scheduler and controller manager.
    Secure(Identity),
    /// In the clear, with times, as upstream's proxy.
    Proxy,
}

/// A server that listens, and does not answer yet.
pub struct Health {
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl Health {
    /// Takes the port.
    ///
    /// # Errors
    /// Where somebody else has it, or the identity cannot be used.
    pub async fn bind(address: SocketAddr, kind: Kind) -> Result<Self, Error> {
        let tls = match kind {
            Kind::Proxy => None,
            Kind::Secure(identity) => {
                let config =
                    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                        .with_safe_default_protocol_versions()?
                        .with_no_client_auth()
                        .with_single_cert(identity.chain, identity.key)?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
        };
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        Ok(Self { listener, tls })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel's.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `token` is cancelled.
    pub async fn run(self, token: CancellationToken) {
        let tracker = TaskTracker::new();
        let places = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
        let serving = async {
            loop {
                // Never closed.
                let Ok(place) = places.clone().acquire_owned().await else {
                    return;
                };
                let (stream, _) =
                    accept("a question about health", || self.listener.accept()).await;
                let (tls, token) = (self.tls.clone(), token.clone());
                tracker.spawn(async move {
                    let served = timeout(CONNECTION_TIMEOUT, serve(stream, tls));
                    token.run_until_cancelled(served).await;
                    drop(place);
                });
            }
        };
        token.run_until_cancelled(serving).await;
        tracker.close();
        tracker.wait().await;
    }
}

async fn serve(stream: TcpStream, tls: Option<TlsAcceptor>) {
    match tls {
        None => speak(stream, true).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEADER_TIMEOUT, tls.accept(stream)).await {
                speak(stream, false).await;
            }
        }
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin, of_proxy: bool) {
    let answer = service_fn(move |request: Request<hyper::body::Incoming>| async move {
        let answer = answer(request.method(), request.uri().path(), of_proxy);
        Ok::<_, Infallible>(answer)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answer)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a question about health was not answered");
    }
}

fn answer(method: &Method, path: &str, of_proxy: bool) -> Response<Full<Bytes>> {
    let is_question = matches!(*method, Method::GET | Method::HEAD);
    let (status, kind, text) = match path {
        "/healthz" | "/livez" | "/readyz" if !is_question => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain; charset=utf-8",
            "method not allowed\n".to_owned(),
        ),
        "/healthz" | "/livez" if of_proxy => {
            let now = Timestamp::now().to_string();
            let text = json!({"lastUpdated": now, "currentTime": now, "nodeEligible": true});
            (StatusCode::OK, "application/json", text.to_string())
        }
        "/healthz" | "/livez" | "/readyz" => {
            (StatusCode::OK, "text/plain; charset=utf-8", "ok".to_owned())
        }
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "404 page not found\n".to_owned(),
        ),
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        header::HeaderValue::from_static("nosniff"),
    );
    response
}
