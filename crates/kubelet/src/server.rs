//! The node server: what the API server, scrapers and administrators ask of a kubelet, on TLS; [`auth`] says who may.
//!
//! Logs are read from files here. Exec, attach and port-forward are asked of the runtime, which answers with a URL; the
//! upgraded stream is then spliced to it untouched, so that SPDY and WebSocket are alike to us.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version, header::CONNECTION};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use k8s_openapi::api::core::v1::Pod;
use knarr_tasks::{Connection, Connections, Place, Quota, accept};
use rustls::server::ResolvesServerCert;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    config::Config,
    context::{self, Shared},
    error::Error,
};

mod auth;
mod command;
mod health;
mod logs;
mod node;
mod node_logs;
mod own_certificate;
mod pages;
mod stream;
mod summary;
mod system_logs;
mod tls;

/// A client that does not finish its handshake or its request head.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections of callers that are not known yet.
const MAX_UNKNOWN: usize = 512;
/// Connections of one caller, and of all: the API server's are those of all its clients.
const MAX_OF_CALLER: usize = 768;
const MAX_CONNECTIONS: usize = 1_024;
/// Streams of one HTTP/2 connection: an API server asks for the logs of many clients over one.
const MAX_STREAMS_OF_CONNECTION: u32 = 250;
const MAX_HEADER_LIST_BYTES: u32 = 64 << 10;
/// Streams that a client resets before they are looked at, or that are reset because of what it sends, before its connection ends.
const MAX_EARLY_RESETS: usize = 20;
const MAX_RESETS: usize = 256;
/// What waits in a stream of HTTP/2 for a client that does not read.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// An HTTP/2 client that does not answer pings is gone.
const PING_PERIOD: Duration = Duration::from_secs(30);
/// Streams of one pod at a time: logs, exec, attach and port-forward.
const MAX_STREAMS_OF_POD: usize = 64;
/// Of all pods.
const MAX_STREAMS: usize = 512;

pub use node_logs::NodeLogs;
use own_certificate::OwnCertificate;

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

/// A listener with its TLS configuration.
pub(crate) struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: TlsAcceptor,
    /// Where files hold its certificate.
    own: Option<Arc<OwnCertificate>>,
}

impl Server {
    /// Takes the port.
    pub(crate) async fn bind(
        config: &Config,
        certificate: Arc<dyn ResolvesServerCert>,
    ) -> Result<Self, Error> {
        let settings = &config.configuration.settings;
        let own = OwnCertificate::of(settings).map_err(Error::Tls)?;
        let certificate: Arc<dyn ResolvesServerCert> = match &own {
            Some(own) => own.clone(),
            None => certificate,
        };
        let tls = tls::config(&config.client_ca_pem, certificate, settings).map_err(Error::Tls)?;
        let address = SocketAddr::new(config.listen(), config.port);
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            tls: TlsAcceptor::from(Arc::new(tls)),
            own,
        })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }
}

/// Places of [`Context::streams`](crate::context::Context::streams).
pub(crate) fn streams() -> Quota {
    Quota::new(MAX_STREAMS_OF_POD, MAX_STREAMS)
}

/// A place for a stream of a pod, or why there is none, for a `429`.
fn place(ctx: &Shared, pod: &Pod) -> Result<Place, String> {
    ctx.streams.take(context::uid(pod)).map_err(|full| {
        let name = context::name(pod);
        format!("too many streams of pod \"{name}\": {full}\n")
    })
}

/// Serves until the token is cancelled; streams end then.
pub(crate) async fn run(server: Server, ctx: Shared, token: CancellationToken) {
    let gate = auth::Gate::new(ctx.config.node_name.clone(), ctx.client.clone());
    let gate = Arc::new(gate);
    let tracker = TaskTracker::new();
    if let Some(own) = server.own.clone() {
        let token = token.clone();
        tracker.spawn(async move { token.run_until_cancelled(own.follow()).await });
    }
    let known = Quota::new(MAX_OF_CALLER, MAX_CONNECTIONS);
    let connections = Connections::new(MAX_UNKNOWN, known);
    loop {
        let accepted = accept("a connection to the kubelet", || server.listener.accept());
        let Some((stream, _)) = token.run_until_cancelled(accepted).await else {
            break;
        };
        let (tls, ctx, gate) = (server.tls.clone(), ctx.clone(), gate.clone());
        let open = connections.open(&token);
        tracker.spawn(async move {
            let token = open.token().clone();
            let served = token.run_until_cancelled(serve(stream, tls, ctx, gate, open));
            if served.await.is_none() {
                tracing::debug!("a connection was cut off");
            }
        });
    }
    tracker.close();
    tracker.wait().await;
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HANDSHAKE_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS_OF_CONNECTION)
        .max_header_list_size(MAX_HEADER_LIST_BYTES)
        .max_pending_accept_reset_streams(MAX_EARLY_RESETS)
        .max_local_error_reset_streams(MAX_RESETS)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_PERIOD);
    builder
}

async fn serve(
    stream: TcpStream,
    tls: TlsAcceptor,
    ctx: Shared,
    gate: Arc<auth::Gate>,
    connection: Connection,
) {
    let _quick = stream.set_nodelay(true);
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await else {
        return;
    };
    let certificates = stream.get_ref().1.peer_certificates();
    let certificate = certificates.and_then(<[_]>::first).cloned();
    let shared = Arc::new((ctx, gate, certificate, connection));
    // Rings when the client is to have no other answer over this connection.
    let last = Arc::new(Notify::new());
    let ring = last.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, ring) = (shared.clone(), ring.clone());
        async move {
            let (ctx, gate, certificate, connection) = &*shared;
            let certificate = certificate.as_deref();
            let is_second = request.version() == Version::HTTP_2;
            let mut response = route(request, ctx, gate, certificate, connection).await;
            // There is no such header in HTTP/2: the connection itself says so.
            if is_second && response.headers_mut().remove(CONNECTION).is_some() {
                ring.notify_one();
            }
            Ok::<_, Infallible>(response)
        }
    });
    let builder = builder();
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = last.notified() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::debug!(%error, "a connection ended badly");
    }
}

async fn route(
    request: Request<Incoming>,
    ctx: &Shared,
    gate: &auth::Gate,
    certificate: Option<&[u8]>,
    connection: &Connection,
) -> Response<Body> {
    let path = request.uri().path().to_owned();
    // What is authorized is what is served: both look at these.
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let credentials = auth::Credentials {
        certificate,
        headers: request.headers(),
    };
    let method = request.method().clone();
    let caller = match gate.admit(&method, &parts, credentials).await {
        Ok(caller) => caller,
        Err(refused) => return refused,
    };
    if let Err(full) = connection.is_of(&caller.name) {
        let message = format!("too many connections of \"{}\": {full}\n", caller.name);
        return auth::last(text(StatusCode::TOO_MANY_REQUESTS, message));
    }
    let handlers = ctx.config.configuration.settings.enable_debugging_handlers;
    if let Some(refused) = unserved(&parts, &method, handlers) {
        return refused;
    }
    answer(request, ctx, &parts, connection.token().clone()).await
}

/// What a caller that may asks for; `parts` are its path's segments.
async fn answer(
    request: Request<Incoming>,
    ctx: &Shared,
    parts: &[&str],
    token: CancellationToken,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    match *parts {
        ["healthz"] => health::serve(&ctx.stats.checks, None, &query),
        ["healthz", check] => health::serve(&ctx.stats.checks, Some(check), &query),
        ["pods"] => summary::pods(ctx),
        ["runningpods"] => node::running(ctx),
        ["configz"] => node::configz(&ctx.config),
        ["statusz"] => pages::status(request.headers()),
        ["flagz"] => pages::flags(request.headers(), &ctx.config),
        ["stats", "summary"] => summary::summary(ctx, &query).await,
        ["metrics"] => summary::metrics(ctx).await,
        ["metrics", "resource"] => summary::resource(ctx).await,
        ["metrics", "cadvisor"] => summary::cadvisor(ctx).await,
        ["metrics", "probes"] => summary::probes(ctx),
        ["metrics", "slis"] => health::indicators(&ctx.stats.checks, request.method()),
        ["logs", ..] => {
            let settings = &ctx.config.configuration.settings;
            let path = percent_encoding::percent_decode_str(request.uri().path());
            let path = path.decode_utf8_lossy();
            system_logs::serve(settings, request.method(), (&path, &query), token).await
        }
        ["knarr", "logs"] => node_logs::serve(ctx, &query, token),
        ["containerLogs", namespace, pod, container] => {
            logs::serve(ctx, (namespace, pod, container), &query, token).await
        }
        ["run", namespace, pod, container] | ["run", namespace, pod, _, container] => {
            command::run(ctx, (namespace, pod, container), &query).await
        }
        ["checkpoint", namespace, pod, container] => {
            command::checkpoint(ctx, (namespace, pod, container), &query).await
        }
        ["exec" | "attach", namespace, pod, container]
        | ["exec" | "attach", namespace, pod, _, container] => {
            let target = (namespace, pod, Some(container));
            stream::serve(ctx, parts[0], target, request, token).await
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            stream::serve(ctx, "portForward", (namespace, pod, None), request, token).await
        }
        // As Go's router says it, of paths below those that there are.
        [first, ..] if ROUTED.contains(&first) => {
            text(StatusCode::NOT_FOUND, "404: Page Not Found")
        }
        _ => not_found(),
    }
}

/// What has routes below it.
const ROUTED: [&str; 9] = [
    "pods",
    "stats",
    "run",
    "exec",
    "attach",
    "portForward",
    "containerLogs",
    "runningpods",
    "checkpoint",
];

/// 405 for what a path does not have, or is told not to have.
fn unserved(parts: &[&str], method: &Method, debugging_handlers: bool) -> Option<Response<Body>> {
    let (gets, posts) = (method == Method::GET, method == Method::POST);
    let disabled = |what: &str| Some(text(StatusCode::METHOD_NOT_ALLOWED, format!("{what}\n")));
    match parts {
        // Of a program that Go did not build there are no such profiles, and no such verbosity: as upstream where they are disabled.
        ["debug", "pprof", ..] => disabled("profiling endpoint is disabled."),
        ["debug", "flags", "v"] => disabled("flags endpoint is disabled."),
        [
            "exec" | "attach" | "portForward" | "containerLogs" | "runningpods" | "run" | "logs"
            | "knarr",
            ..,
        ] if !debugging_handlers => disabled("Debug endpoints are disabled."),
        ["metrics", "slis"] if gets || method == Method::DELETE => None,
        [
            "pods" | "runningpods" | "configz" | "containerLogs" | "stats" | "metrics" | "knarr",
            ..,
        ] if !gets => Some(not_allowed("GET")),
        ["run" | "checkpoint", ..] if !posts => Some(not_allowed("POST")),
        ["exec" | "attach" | "portForward", ..] if !gets && !posts => {
            Some(not_allowed("GET, POST"))
        }
        _ => None,
    }
}

/// 404, in Go's words.
fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// 405, with what would do.
fn not_allowed(methods: &'static str) -> Response<Body> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
    let methods = http::HeaderValue::from_static(methods);
    response.headers_mut().insert(http::header::ALLOW, methods);
    response
}

/// An answer of plain text.
pub(crate) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    typed(
        status,
        "text/plain; charset=utf-8",
        Bytes::from(text.into()),
    )
}

/// An answer of one piece.
pub(crate) fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Body> {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static(kind),
    );
    response
}

#[cfg(test)]
mod tests;
