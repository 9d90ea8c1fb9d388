//! The ports of the node on which clients are served, and their connections.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use knarr_tasks::{Place, Quota, Tasks, accept};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::Instant,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    connection::{Client, Connection},
    handshake::Handshakes,
    serve::Core,
};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For the head of a request, and between two of them.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A connection without a request for this long, to twice as long, is closed.
const IDLE_PERIOD: Duration = Duration::from_secs(60);
/// An HTTP/2 client that does not answer pings is gone.
const PING_PERIOD: Duration = Duration::from_secs(30);
/// After the end was asked for, connections get this long to finish what they do.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a port that is somebody else's is left alone at first; it may be an older listener of ours, which is about to end.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// And then, at the longest.
const BIND_PAUSE: Duration = Duration::from_secs(10);

/// Connections at once: in all, and of one client, which may be a proxy for many.
const MAX_CONNECTIONS: usize = 8192;
const MAX_CONNECTIONS_PER_CLIENT: usize = 4096;
const MAX_STREAMS: u32 = 128;
const MAX_HEAD_BYTES: u32 = 64 << 10;
/// Streams that a client resets before they are looked at, or that are reset because of what it sends.
const MAX_EARLY_RESETS: usize = 20;
const MAX_RESETS: usize = 256;
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;

/// Who may connect.
#[derive(Clone)]
pub struct Gate(Quota);

impl Gate {
    pub fn new() -> Self {
        Self(Quota::new(MAX_CONNECTIONS_PER_CLIENT, MAX_CONNECTIONS))
    }
}

/// A port.
pub struct Port {
    pub address: SocketAddr,
    pub handshakes: Arc<Handshakes>,
    pub core: Arc<Core>,
    pub gate: Gate,
    /// Whether it is ours; why not, for people.
    pub state: watch::Sender<State>,
}

/// How a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    Waiting,
    Listening,
    /// It is somebody else's.
    Taken(String),
}

impl Port {
    /// Serves until `token` is cancelled; a port that is somebody else's is asked for again and again.
    pub async fn run(self, tasks: Tasks, token: CancellationToken) {
        let Some(listener) = token.run_until_cancelled(self.bind()).await else {
            return;
        };
        let builder = Arc::new(builder());
        loop {
            let accepted = accept("a connection to the Ingress", || listener.accept());
            let Some((stream, peer)) = token.run_until_cancelled(accepted).await else {
                return;
            };
            // Whoever has too many is not even told so.
            let Ok(place) = self.gate.0.take(&peer.ip().to_string()) else {
                continue;
            };
            let Some((connection, tls)) = self.connection(&stream, peer, place, &token) else {
                continue;
            };
            let (core, builder) = (self.core.clone(), builder.clone());
            tasks.spawn("a connection to the Ingress", async move {
                serve(core, tls, builder, stream, connection).await;
            });
        }
    }

    async fn bind(&self) -> TcpListener {
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match TcpListener::bind(self.address).await {
                Ok(listener) => {
                    tracing::info!(address = %self.address, "listening");
                    self.state.send_replace(State::Listening);
                    return listener;
                }
                Err(error) => format!("cannot listen on {}: {error}", self.address),
            };
            let state = State::Taken(error.clone());
            // Once, however long it stays so.
            if self.state.send_if_modified(|old| {
                let news = *old != state;
                *old = state;
                news
            }) {
                tracing::warn!(error, "nothing is served there; asking again");
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(BIND_PAUSE);
        }
    }

    /// None where nothing is served at the address that it came to.
    fn connection(
        &self,
        stream: &TcpStream,
        peer: SocketAddr,
        place: Place,
        token: &CancellationToken,
    ) -> Option<(Connection, Option<TlsAcceptor>)> {
        let local = stream.local_addr().ok()?.ip().to_canonical();
        let port = self.address.port();
        let tls = match self.handshakes.at(local, port) {
            Ok(tls) => tls,
            Err(error) => {
                tracing::debug!(%error, %local, port, "a connection is not served");
                return None;
            }
        };
        let connection = Connection {
            client: Client {
                address: peer.ip().to_canonical(),
                port,
                tls: tls.is_some(),
            },
            local,
            made_for: None,
            token: token.clone(),
            busy: Arc::new(place),
        };
        Some((connection, tls))
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES as usize)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEAD_BYTES)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .keep_alive_interval(PING_PERIOD);
    builder
}

async fn serve(
    core: Arc<Core>,
    tls: Option<TlsAcceptor>,
    builder: Arc<auto::Builder<TokioExecutor>>,
    stream: TcpStream,
    mut connection: Connection,
) {
    // Small answers must not wait for more.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return speak(core, &builder, stream, connection).await;
    };
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
        Ok(Ok(stream)) => {
            let name = stream.get_ref().1.server_name();
            connection.made_for = name.map(|name| name.to_ascii_lowercase().into());
            speak(core, &builder, stream, connection).await;
        }
        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
        Err(_) => {}
    }
}

async fn speak(
    core: Arc<Core>,
    builder: &auto::Builder<TokioExecutor>,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    connection: Connection,
) {
    let served = Arc::new(AtomicU64::new(0));
    let counted = served.clone();
    let (token, busy) = (connection.token.clone(), Arc::downgrade(&connection.busy));
    let service = service_fn(move |request: Request<Incoming>| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (core, connection) = (core.clone(), connection.clone());
        async move { Ok::<_, Infallible>(core.handle(request, &connection).await) }
    });
    let mut speaking = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut before = 0;
    let mut ending = false;
    let mut wake = Instant::now() + IDLE_PERIOD;
    loop {
        tokio::select! {
            result = speaking.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection to the Ingress ended with an error");
                }
                return;
            }
            () = token.cancelled(), if !ending => {
                wake = Instant::now() + DRAIN_TIMEOUT;
            }
            () = tokio::time::sleep_until(wake) => {
                if ending {
                    return;
                }
                let now = served.load(Ordering::Relaxed);
                // Its own clone is in the service.
                let idle = now == before && busy.strong_count() <= 1;
                before = now;
                wake = Instant::now() + IDLE_PERIOD;
                if !idle {
                    continue;
                }
            }
        }
        ending = true;
        speaking.as_mut().graceful_shutdown();
    }
}
