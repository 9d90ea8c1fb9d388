//! Answers over WebSocket, for clients that can read no other stream: browsers. Each piece of a log is a message, and each event of
//! a watch; what the client sends is not looked at.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::{SinkExt, Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use knarr_auth::bearer;
use knarr_meta::status::{Reason, Status};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        Message,
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tokio_util::sync::CancellationToken;

use crate::{body::Body, passing, respond::Answer};

/// Largest message of a client that is read to be dropped, bytes.
const MAX_MESSAGE_BYTES: usize = 64 << 10;
/// A client that takes nothing for this long is gone.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);

/// How messages carry bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Unnamed,
    Binary,
    Base64,
}

impl Protocol {
    /// The first that the client offers and this server speaks; none need be offered.
    fn choose(offered: &[&str]) -> Option<Protocol> {
        let known = |name: &&str| match *name {
            "binary.k8s.io" => Some(Protocol::Binary),
            "base64.binary.k8s.io" => Some(Protocol::Base64),
            _ => None,
        };
        match offered {
            [] => Some(Protocol::Unnamed),
            offered => offered.iter().find_map(known),
        }
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Protocol::Unnamed => None,
            Protocol::Binary => Some("binary.k8s.io"),
            Protocol::Base64 => Some("base64.binary.k8s.io"),
        }
    }

    /// A message for each line. JSON is text, unless the client has asked for bytes.
    fn events(self, lines: &Bytes) -> Vec<Message> {
        let lines = lines.split(|byte| *byte == b'\n');
        let lines = lines.filter(|line| !line.is_empty());
        let message = |line: &[u8]| match self {
            Protocol::Unnamed => Message::text(String::from_utf8_lossy(line).into_owned()),
            other => other.message(Bytes::copy_from_slice(line)),
        };
        lines.map(message).collect()
    }

    fn message(self, bytes: Bytes) -> Message {
        match self {
            Protocol::Base64 => Message::text(STANDARD.encode(bytes)),
            _ => Message::Binary(bytes),
        }
    }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// As it comes, after an empty message that tells that the stream is open, as upstream.
    Log,
    /// JSON, a line an event: a text message each.
    Events,
}

/// Sends an answer over the WebSocket that the client opens, until it, the client or the server ends.
///
/// # Errors
/// 400 and 403 for a handshake that is none.
pub fn serve(
    client: &mut Request<()>,
    answer: Response<Body>,
    content: Content,
    stop: CancellationToken,
) -> Answer {
    let opening = Opening::new(client.headers())?;
    passing::can_upgrade(client)?;
    let upgrade = hyper::upgrade::on(client);
    Ok(opening.serve(upgrade, answer.into_body(), content, stop))
}

/// The answer to an opening handshake, with what sends the stream once the connection is upgraded.
struct Opening {
    protocol: Protocol,
    accept: HeaderValue,
}

impl Opening {
    fn new(headers: &HeaderMap) -> Result<Opening, Status> {
        let (_, offered) = bearer::protocols(headers)?;
        let protocol = Protocol::choose(&offered).ok_or_else(|| {
            let why = format!("requested protocol(s) are not supported: {offered:?}");
            Status::new(403, Reason::Forbidden, why)
        })?;
        let version = headers.get(header::SEC_WEBSOCKET_VERSION);
        let key = headers
            .get(header::SEC_WEBSOCKET_KEY)
            .filter(|_| version.is_some_and(|v| v == "13"))
            .ok_or_else(|| Status::bad_request("not a WebSocket handshake of version 13"))?;
        let accept = derive_accept_key(key.as_bytes());
        Ok(Opening {
            protocol,
            accept: HeaderValue::from_str(&accept).map_err(Status::internal)?,
        })
    }

    /// Switches protocols, and sends `stream` in a task that ends with it, with the client or with `stop`.
    fn serve(
        self,
        client: OnUpgrade,
        stream: Body,
        content: Content,
        stop: CancellationToken,
    ) -> Response<Body> {
        let protocol = self.protocol;
        knarr_tasks::spawn("a socket of a stream", async move {
            let sending = async move {
                match client.await {
                    Ok(upgraded) => send(TokioIo::new(upgraded), stream, protocol, content).await,
                    Err(error) => tracing::debug!(%error, "an upgrade did not happen"),
                }
            };
            stop.run_until_cancelled(sending).await
        });
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept);
        if let Some(name) = protocol.name() {
            let name = HeaderValue::from_static(name);
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, name);
        }
        answer
    }
}

/// Sends the stream until it or the client ends.
async fn send(
    io: impl AsyncRead + AsyncWrite + Unpin,
    stream: Body,
    protocol: Protocol,
    content: Content,
) {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MAX_MESSAGE_BYTES))
        .max_frame_size(Some(MAX_MESSAGE_BYTES));
    let socket = WebSocketStream::from_raw_socket(io, Role::Server, Some(config)).await;
    let (mut sink, source) = socket.split();
    let sending = async {
        let mut messages = match content {
            Content::Log => vec![protocol.message(Bytes::new())],
            Content::Events => Vec::new(),
        };
        let mut stream = stream.into_data_stream();
        loop {
            for message in messages {
                let sent = tokio::time::timeout(SEND_TIMEOUT, sink.send(message));
                if !matches!(sent.await, Ok(Ok(()))) {
                    return;
                }
            }
            messages = match (stream.next().await, content) {
                (Some(Ok(bytes)), Content::Log) => vec![protocol.message(bytes)],
                (Some(Ok(bytes)), Content::Events) => protocol.events(&bytes),
                _ => break,
            };
        }
        let _ = tokio::time::timeout(SEND_TIMEOUT, sink.close()).await;
    };
    tokio::select! {
        () = sending => {}
        () = discard(source) => {}
    }
}

/// Reads until the client closes.
async fn discard<E>(mut source: impl Stream<Item = Result<Message, E>> + Unpin) {
    while let Some(Ok(message)) = source.next().await {
        if message.is_close() {
            return;
        }
    }
}
