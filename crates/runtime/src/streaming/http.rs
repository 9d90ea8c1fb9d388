//! HTTP/1.1: a path with a token, an upgrade, a session.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use knarr_tasks::Quota;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::negotiate::{self, Flavour, Protocol, Purpose, Refusal};
use super::remote_command::Command;
use super::tickets::{Ticket, Tickets};
use super::{Timeouts, port_forward, spdy, websocket};
use crate::exec::{Executor, PortForwardRequest};

/// From the connection to the whole request head, and from the answer to the upgraded connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// What connections share.
pub struct State {
    pub tickets: Arc<Tickets>,
    pub executor: Arc<dyn Executor>,
    pub timeouts: Timeouts,
    pub quota: Quota,
    pub sessions: TaskTracker,
    pub token: CancellationToken,
}

type Answer = Response<Full<Bytes>>;

/// Serves one connection. The place is taken until its session has ended.
pub async fn serve<P: Send + Sync + 'static>(
    state: Arc<State>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    place: P,
) {
    let place = Arc::new(place);
    let token = state.token.clone();
    let service = service_fn(move |request| {
        let answer = answer(&state, request, place.clone());
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    if let Some(Err(error)) = token.run_until_cancelled(connection).await {
        tracing::debug!(%error, "a streaming connection failed");
    }
}

fn answer(
    state: &Arc<State>,
    mut request: Request<Incoming>,
    place: Arc<impl Send + Sync + 'static>,
) -> Answer {
    if !matches!(request.method().as_str(), "GET" | "POST") {
        return text(
            StatusCode::METHOD_NOT_ALLOWED,
            "Method Not Allowed\n".into(),
        );
    }
    let Some(ticket) = state.tickets.redeem(request.uri().path()) else {
        return text(StatusCode::NOT_FOUND, "404 page not found\n".into());
    };
    let purpose = match ticket {
        Ticket::PortForward(_) => Purpose::PortForward,
        Ticket::Exec(_) | Ticket::Attach(_) => Purpose::Command,
    };
    let protocol = match negotiate::negotiate(purpose, request.headers()) {
        Ok(protocol) => protocol,
        Err(refusal) => return refused(refusal),
    };
    let channels = matches!(
        protocol,
        Protocol::WebSocket {
            flavour: Flavour::Channels { .. },
            ..
        }
    );
    if let Ticket::PortForward(PortForwardRequest { ports, .. }) = &ticket
        && channels
        && ports.is_empty()
    {
        return text(
            StatusCode::BAD_REQUEST,
            "query parameter \"port\" is required\n".into(),
        );
    }
    let session_place = match state.quota.take(ticket.target()) {
        Ok(place) => place,
        Err(full) => {
            let message = format!("too many sessions of {}: {full}\n", ticket.target());
            return text(StatusCode::TOO_MANY_REQUESTS, message);
        }
    };
    let answer = switching(&protocol);
    let upgrade = hyper::upgrade::on(&mut request);
    let session = session(state.clone(), upgrade, ticket, protocol);
    let token = state.token.clone();
    state.sessions.spawn(async move {
        token.run_until_cancelled(session).await;
        drop((place, session_place));
    });
    answer
}

/// One session, from the upgrade to the end of the connection.
async fn session(state: Arc<State>, upgrade: OnUpgrade, ticket: Ticket, protocol: Protocol) {
    let io = match tokio::time::timeout(HEAD_TIMEOUT, upgrade).await {
        Ok(Ok(upgraded)) => TokioIo::new(upgraded),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a streaming connection was not upgraded");
            return;
        }
        Err(_) => {
            tracing::debug!("a streaming connection was not upgraded in time");
            return;
        }
    };
    let (executor, timeouts) = (state.executor.clone(), state.timeouts);
    let command = match ticket {
        Ticket::Exec(request) => Command::Exec(request),
        Ticket::Attach(request) => Command::Attach(request),
        Ticket::PortForward(PortForwardRequest { sandbox_id, ports }) => {
            match protocol {
                Protocol::Spdy { .. } => {
                    let (driver, accept) = spdy::connect(io, timeouts.idle);
                    let app =
                        port_forward::serve_spdy(executor, sandbox_id, accept, timeouts.creation);
                    spdy::together(driver, app).await;
                }
                Protocol::WebSocket {
                    flavour: Flavour::Tunnel,
                    ..
                } => {
                    let (driver, accept) =
                        spdy::connect(websocket::tunnel(io).await, timeouts.idle);
                    let app =
                        port_forward::serve_spdy(executor, sandbox_id, accept, timeouts.creation);
                    spdy::together(driver, app).await;
                }
                Protocol::WebSocket {
                    flavour: Flavour::Channels { base64, .. },
                    ..
                } => {
                    websocket::port_forward(
                        io,
                        base64,
                        executor,
                        &sandbox_id,
                        &ports,
                        timeouts.idle,
                    )
                    .await;
                }
            }
            return;
        }
    };
    match protocol {
        Protocol::Spdy { format, resize, .. } => {
            spdy::remote_command(io, format, resize, executor, command, timeouts).await;
        }
        Protocol::WebSocket {
            flavour:
                Flavour::Channels {
                    base64,
                    format,
                    close,
                },
            ..
        } => {
            let codec = websocket::Codec { base64, close };
            websocket::remote_command(io, codec, format, executor, command, timeouts.idle).await;
        }
        Protocol::WebSocket {
            flavour: Flavour::Tunnel,
            ..
        } => {
            tracing::warn!("a tunnel was negotiated for a command");
        }
    }
}

/// `101 Switching Protocols`.
fn switching(protocol: &Protocol) -> Answer {
    let mut answer = text(StatusCode::SWITCHING_PROTOCOLS, String::new());
    let headers = answer.headers_mut();
    headers.remove(header::CONTENT_TYPE);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    match protocol {
        Protocol::Spdy { name, .. } => {
            headers.insert(header::UPGRADE, HeaderValue::from_static(negotiate::SPDY));
            headers.insert(negotiate::PROTOCOL_VERSION, HeaderValue::from_static(name));
        }
        Protocol::WebSocket { name, key, .. } => {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            if let Ok(key) = HeaderValue::try_from(derive_accept_key(key.as_bytes())) {
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
            }
            if let Some(name) = name {
                headers.insert(
                    header::SEC_WEBSOCKET_PROTOCOL,
                    HeaderValue::from_static(name),
                );
            }
        }
    }
    answer
}

fn refused(refusal: Refusal) -> Answer {
    tracing::debug!(message = refusal.message, "a streaming request was refused");
    let mut answer = text(refusal.status, refusal.message + "\n");
    for name in refusal.accepted {
        answer.headers_mut().append(
            negotiate::ACCEPTED_PROTOCOL_VERSIONS,
            HeaderValue::from_static(name),
        );
    }
    answer
}

fn text(status: StatusCode, message: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(message)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
