//! Connections to such servers: TCP to an endpoint or to a URL's host, TLS under the name that is verified.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use knarr_auth::objects::Objects;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{config::Target, service, verify};

/// Longest time until a connection stands. Who waits for it may have given up before: then nobody else would end it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens connections to one server.
#[derive(Clone)]
pub struct Connector {
    pub target: Arc<Target>,
    pub tls: Arc<rustls::ClientConfig>,
    pub objects: Arc<dyn Objects>,
    pub host: Arc<str>,
    pub port: u16,
    /// What the certificate must name: the host, unless configured otherwise.
    pub name: Arc<str>,
}

/// Why there is no connection, in Go's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Connector {
    async fn connect(self) -> Result<Stream, Refused> {
        let addresses: Vec<SocketAddr> = match &*self.target {
            Target::Service {
                namespace,
                name,
                port,
                ..
            } => {
                let found = service::resolve(&*self.objects, namespace, name, *port);
                vec![found.map_err(Refused)?]
            }
            Target::Url(_) => {
                let found = lookup_host((&*self.host, self.port)).await;
                found.map_err(|_| self.no_such_host())?.collect()
            }
        };
        let mut last = self.no_such_host();
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => return self.handshake(tcp).await,
                Err(error) => {
                    last = Refused(format!("dial tcp {address}: connect: {}", text(&error)))
                }
            }
        }
        Err(last)
    }

    fn no_such_host(&self) -> Refused {
        Refused(format!("dial tcp: lookup {}: no such host", self.host))
    }

    async fn handshake(&self, tcp: TcpStream) -> Result<Stream, Refused> {
        // Small requests are not held back for more to come.
        let _ = tcp.set_nodelay(true);
        let name = ServerName::try_from(self.name.to_string())
            .map_err(|error| Refused(format!("tls: {error}")))?;
        let connecting = TlsConnector::from(self.tls.clone()).connect(name, tcp);
        match connecting.await {
            Ok(stream) => Ok(Stream(TokioIo::new(stream))),
            Err(error) => {
                let inner = error.get_ref();
                let of_tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
                Err(Refused(match of_tls {
                    Some(error) => verify::explain(error),
                    None => text(&error),
                }))
            }
        }
    }
}

/// An error of the operating system without its number.
fn text(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        _ => error.to_string(),
    }
}

impl tower::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Refused;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, Refused>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refused>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connecting = self.clone().connect();
        Box::pin(async move {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
            connected.unwrap_or_else(|_| Err(Refused("dial tcp: i/o timeout".to_owned())))
        })
    }
}

/// A connection, as the pool of the HTTP client holds it.
pub struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
