//! An HTTPS server with a certificate of its own, for what is measured beside a cluster and what a cluster calls.

use std::{convert::Infallible, future::Future, sync::Arc};

use anyhow::Result;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Where it listens, and by which certificate it is known.
pub struct Server {
    listener: TcpListener,
    tls: TlsAcceptor,
    /// `https://127.0.0.1:port`.
    pub url: String,
    pub pem: String,
}

impl Server {
    /// Takes a port of the loopback address, in the network namespace of the calling thread.
    pub async fn bind() -> Result<Self> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        Ok(Self {
            url: format!("https://{}", listener.local_addr()?),
            pem: made.cert.pem(),
            tls: TlsAcceptor::from(Arc::new(tls)),
            listener,
        })
    }

    /// Answers what comes, until it is dropped; connections that are open then go on.
    pub async fn serve<F, A>(self, answer: F) -> Result<Infallible>
    where
        F: Fn(Request<Incoming>) -> A + Clone + Send + 'static,
        A: Future<Output = Response<Full<Bytes>>> + Send + 'static,
    {
        loop {
            let (tcp, _) = self.listener.accept().await?;
            tcp.set_nodelay(true)?;
            let (tls, answer) = (self.tls.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = tls.accept(tcp).await else {
                    return;
                };
                let service = service_fn(move |request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                // Whoever calls reports what it misses.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }
}
