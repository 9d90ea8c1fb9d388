//! Requests to the servers over HTTP/2, under one identity.
//!
//! One connection carries everything of an identity. Which server it leads to is the connector's business: when it ends, the next
//! request opens one to the first server that answers ([`servers`]). When the identity's certificate is rotated, new requests go over a new
//! connection; what is under way on the old one has a while to end.

mod connect;
mod servers;

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use futures::{FutureExt, future::BoxFuture};
use http::{Request, Response, Uri, header::HOST, uri};
use hyper::{
    body::Incoming,
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use kube::client::Body;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tower::{BoxError, Service};

pub(crate) use connect::ConnectError;
pub(crate) use servers::Servers;

/// A server that is away is noticed by pings, also while nothing else is sent (client-go's are 30 s and 15 s).
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

type Pool = Client<Connector, Body>;

/// Connections that were made with one certificate.
struct Generation {
    pool: Pool,
    tls: Arc<ClientConfig>,
    end: CancellationToken,
}

/// Sends requests; clones share the connection.
#[derive(Clone)]
pub(crate) struct Transport {
    servers: Arc<Servers>,
    current: Arc<ArcSwap<Generation>>,
}

impl Transport {
    pub(crate) fn new(servers: Arc<Servers>, tls: Arc<ClientConfig>) -> Self {
        let generation = Generation::new(&servers, tls);
        Self {
            servers,
            current: Arc::new(ArcSwap::from_pointee(generation)),
        }
    }

    /// Uses new connections for new requests. The old ones end when the token that is returned is cancelled.
    pub(crate) fn replace(&self, tls: Arc<ClientConfig>) -> CancellationToken {
        let generation = Generation::new(&self.servers, tls);
        let old = self.current.swap(Arc::new(generation));
        old.end.clone()
    }

    /// As [`Transport::replace`], with the certificate that it has.
    pub(crate) fn renew(&self) -> CancellationToken {
        let tls = self.current.load().tls.clone();
        self.replace(tls)
    }
}

impl Generation {
    fn new(servers: &Arc<Servers>, tls: Arc<ClientConfig>) -> Self {
        let end = CancellationToken::new();
        let connector = Connector {
            servers: servers.clone(),
            tls: tls.clone(),
            end: end.clone(),
        };
        let pool = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_only(true)
            .http2_adaptive_window(true)
            .http2_keep_alive_interval(PING_INTERVAL)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .build(connector);
        Self { pool, tls, end }
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Incoming>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let generation = self.current.load_full();
        let authority = self.servers.nominal();
        async move {
            let mut parts = uri::Parts::default();
            parts.scheme = Some(uri::Scheme::HTTPS);
            parts.authority = Some(authority);
            parts.path_and_query = request.uri().path_and_query().cloned();
            *request.uri_mut() = Uri::from_parts(parts)?;
            request.headers_mut().remove(HOST);
            Ok(generation.pool.request(request).await?)
        }
        .boxed()
    }
}

/// Opens connections with one certificate, or with none.
#[derive(Clone)]
struct Connector {
    servers: Arc<Servers>,
    tls: Arc<ClientConfig>,
    end: CancellationToken,
}

impl Service<Uri> for Connector {
    type Response = Link;
    type Error = ConnectError;
    type Future = BoxFuture<'static, Result<Link, ConnectError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// The URI names a server for form's sake.
    fn call(&mut self, _: Uri) -> Self::Future {
        let this = self.clone();
        async move {
            let stream = this.servers.connect(&this.tls).await?;
            Ok(Link {
                stream: TokioIo::new(stream),
                ended: Box::pin(this.end.cancelled_owned()),
            })
        }
        .boxed()
    }
}

/// A connection that can be told to end.
struct Link {
    stream: TokioIo<TlsStream<TcpStream>>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Link {
    fn alive(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.ended.as_mut().poll(context) {
            Poll::Pending => Ok(()),
            Poll::Ready(()) => Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the certificate of this connection was replaced",
            )),
        }
    }
}

impl Connection for Link {
    fn connected(&self) -> Connected {
        Connected::new().negotiated_h2()
    }
}

impl Read for Link {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.alive(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl Write for Link {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }
}
