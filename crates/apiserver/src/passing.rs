//! Passing a client's request on to another HTTP/1.1 server, and what it answers back: shared by the ways to kubelets, pods
//! and services.

mod splice;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header, response::Parts};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use knarr_auth::bearer;
use knarr_meta::status::Status;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::{
    body::{Body, BoxError},
    server::limits::Place,
};

/// A connection that was opened for one request.
pub type Sender = http1::SendRequest<Full<Bytes>>;

/// Speaks HTTP over a connection, which ends with the request's body, with its upgrade or when the server stops.
pub async fn handshake<S>(stream: S, stop: CancellationToken) -> hyper::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    knarr_tasks::spawn("a connection to a backend", async move {
        stop.run_until_cancelled(connection.with_upgrades()).await
    });
    Ok(sender)
}

/// Whether the client asks for another protocol; an error where its connection cannot change it.
pub fn wants_upgrade(client: &Request<()>) -> Result<bool, Status> {
    let wants = client.headers().contains_key(header::UPGRADE);
    if wants {
        can_upgrade(client)?;
    }
    Ok(wants)
}

/// An error where the client's connection cannot change its protocol.
pub fn can_upgrade(client: &Request<()>) -> Result<(), Status> {
    match client.extensions().get::<OnUpgrade>() {
        Some(_) => Ok(()),
        None => Err(cannot_upgrade()),
    }
}

/// HTTP/2, or a client in this process.
fn cannot_upgrade() -> Status {
    Status::bad_request("this connection cannot be upgraded: use HTTP/1.1")
}

/// Connects the client with who has agreed to change the protocol; `place` is taken until both have ended.
pub fn spliced(
    client: &mut Request<()>,
    mut response: Response<Incoming>,
    place: Place,
    stop: CancellationToken,
) -> Response<Body> {
    let backend = hyper::upgrade::on(&mut response);
    splice::spawn(hyper::upgrade::on(client), backend, place, stop);
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *answer.headers_mut() = response.headers().clone();
    answer
}

/// Headers of the client that whom it is passed on to may see: credentials stay here.
pub fn forwarded(headers: &HeaderMap, upgrade: bool) -> Result<HeaderMap, Status> {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        let lower = name.as_str();
        let hop = matches!(
            lower,
            "connection" | "upgrade" | "keep-alive" | "te" | "trailer" | "proxy-connection"
        );
        let private = matches!(
            lower,
            "authorization"
                | "host"
                | "content-length"
                | "transfer-encoding"
                | "cookie"
                | "sec-websocket-protocol"
        ) || lower.starts_with("impersonate-");
        if !private && (!hop || upgrade) {
            out.append(name.clone(), value.clone());
        }
    }
    // A WebSocket's bearer token is one of the subprotocols; the other side chooses among the others.
    let (_, protocols) = bearer::protocols(headers)?;
    if !protocols.is_empty() {
        let value = HeaderValue::from_str(&protocols.join(", ")).map_err(Status::internal)?;
        out.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    if upgrade {
        out.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    Ok(out)
}

/// An answer, passed on piece by piece; `place` is taken until its end.
pub fn streamed(response: Response<Incoming>, place: Place) -> Response<Body> {
    let (parts, body) = response.into_parts();
    let body = body.into_data_stream().map_err(BoxError::from);
    answer(&parts, body, place)
}

/// An answer with the head of another server's and this body.
pub fn answer(
    head: &Parts,
    body: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    place: Place,
) -> Response<Body> {
    let body = body.inspect(move |_| {
        // Lives as long as the body.
        let _ = &place;
    });
    let mut answer = Response::new(Body::stream(body));
    *answer.status_mut() = head.status;
    for (name, value) in &head.headers {
        let hop = matches!(
            name.as_str(),
            "connection" | "transfer-encoding" | "keep-alive" | "upgrade"
        );
        if !hop {
            answer.headers_mut().append(name.clone(), value.clone());
        }
    }
    answer
}
