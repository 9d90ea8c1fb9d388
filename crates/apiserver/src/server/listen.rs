//! The listener: TLS, HTTP/1.1 and HTTP/2, and an orderly end.

use std::{
    convert::Infallible, io, net::SocketAddr, sync::Arc, sync::atomic::Ordering, time::Duration,
};

use http::{Request, Response, Version};
use hyper::service::{Service, service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::conn::auto,
};
use knarr_meta::status::Status;
use knarr_tasks::{Connection, accept};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{
    sync::CancellationToken,
    task::{AbortOnDropHandle, TaskTracker},
};

use super::{
    Error,
    handle::handle,
    incoming::Incoming,
    limits,
    peer::Peer,
    streams::{Streams, Together},
};
use crate::{
    body::{Body, BoxError},
    core::Core,
    respond,
};

/// A handshake gets this long, and so do the headers of a request.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(32);
/// Streams of one HTTP/2 connection: every informer of a client is one.
const MAX_STREAMS: u32 = 1000;
const MAX_HEADER_LIST_BYTES: u32 = 64 << 10;
/// Streams that a client resets before they are looked at, or that are reset because of what it sends: who has more of them asks for
/// nothing, and its connection ends.
const MAX_EARLY_RESETS: usize = 20;
const MAX_RESETS: usize = 256;
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// What waits in a stream for a client that does not read: beyond it whoever writes waits, too. A user may have thousands of streams.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// An HTTP/2 client that does not answer pings is gone.
const PING_PERIOD: Duration = Duration::from_secs(30);
/// After the end was asked for, connections get this long to finish what they do.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Takes the socket given, or binds one.
pub fn bind(
    given: Option<std::net::TcpListener>,
    address: SocketAddr,
) -> Result<(std::net::TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = match given {
        Some(listener) => listener,
        None => std::net::TcpListener::bind(address).map_err(failed)?,
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Serves until `token` or `stop` is cancelled, then drains.
pub async fn serve(
    core: Arc<Core>,
    listener: std::net::TcpListener,
    tls: Arc<rustls::ServerConfig>,
    token: &CancellationToken,
    stop: &CancellationToken,
) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let acceptor = TlsAcceptor::from(tls);
    // Cancelled: connections finish what they do, and take nothing more.
    let (drain, draining) = (CancellationToken::new(), TaskTracker::new());
    let connections = limits::connections();
    // Of all that are open: they end by themselves.
    let open = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept("a connection to the API", || listener.accept()) => accepted,
            () = token.cancelled() => break,
            () = stop.cancelled() => break,
        };
        let place = connections.open(&open);
        let closed = place.token().clone();
        let connection = connection(
            core.clone(),
            acceptor.clone(),
            accepted,
            place,
            drain.clone(),
        );
        let connection = draining.track_future(connection);
        knarr_tasks::spawn("a connection to the API", async move {
            closed.run_until_cancelled(connection).await;
        });
    }
    drop(listener);
    core.health.stopping.store(true, Ordering::Release);
    core.registry.cache.stop();
    drain.cancel();
    draining.close();
    if tokio::time::timeout(DRAIN_TIMEOUT, draining.wait())
        .await
        .is_err()
    {
        tracing::debug!("some connections did not end in time");
    }
    Ok(())
}

fn builder(streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(true)
        // A client that closes has gone, as for upstream's server: a quiet stream would not learn of it by writing.
        .half_close(false);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_PERIOD);
    builder
}

async fn connection(
    core: Arc<Core>,
    acceptor: TlsAcceptor,
    (stream, address): (TcpStream, SocketAddr),
    place: Connection,
    drain: CancellationToken,
) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let stream = match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let proxy = core
        .proxies
        .as_ref()
        .and_then(|known| known.find(certificates));
    // A proxy's certificate is nobody's.
    let is_users = (core.proxies.as_ref()).is_none_or(|known| known.is_users(certificates));
    let certificate = certificates.first().filter(|_| is_users);
    let certificate = certificate.map(|certificate| certificate.to_vec());
    // A socket of both families tells those of IPv4 as if they were of IPv6.
    let from = address.ip().to_canonical();
    let peer = Arc::new(Peer::connection(certificate, proxy, place, from));
    // Rings when the client is to find another connection for what it asks next.
    let goaway = Arc::new(Notify::new());
    let ring = goaway.clone();
    let is_second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let parts = move |request: Request<hyper::body::Incoming>| {
        if request.version() == Version::HTTP_2 && is_last(core.goaway_chance) {
            ring.notify_one();
        }
        (core.clone(), request.map(Incoming::Wire), peer.clone())
    };
    let end = async {
        tokio::select! { () = drain.cancelled() => {}, () = goaway.notified() => {} }
    };
    let ended = if is_second {
        let service = service_fn(move |request| {
            let (core, request, peer) = parts(request);
            async move { Ok(apart(core, request, peer).await) }
        });
        run(stream, service, end).await
    } else {
        let service = service_fn(move |request| {
            let (core, request, peer) = parts(request);
            async move { Ok(handle(&core, request, &peer).await) }
        });
        run(stream, service, end).await
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// Serves a connection until it ends; after `end`, until what it does is done.
async fn run<S>(
    stream: TlsStream<TcpStream>,
    service: S,
    end: impl Future<Output = ()>,
) -> Result<(), BoxError>
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<Body>, Error = Infallible>
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    let streams = Streams::default();
    let builder = builder(streams.clone());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = Together::new(connection, streams);
    tokio::select! {
        ended = &mut connection => ended,
        () = end => {
            connection.connection().graceful_shutdown();
            connection.await
        }
    }
}

/// Answers one request of several of a connection, which are worked on side by side.
async fn apart(core: Arc<Core>, request: Request<Incoming>, peer: Arc<Peer>) -> Response<Body> {
    let answer = async move { handle(&core, request, &peer).await };
    // Whoever does not wait for the answer any more ends the work.
    let task = AbortOnDropHandle::new(knarr_tasks::spawn("a request", answer));
    match task.await {
        Ok(response) => response,
        // A panic has ended the process, and nobody else ends the task.
        Err(_) => respond::error(&Status::internal("the request was given up"), respond::JSON),
    }
}

fn is_last(chance: f64) -> bool {
    chance > 0.0 && fastrand::f64() < chance
}
