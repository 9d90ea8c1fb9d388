//! Exec, attach and port-forward: ask the runtime for a URL, then join the two upgraded connections.

use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use knarr_auth::bearer;
use knarr_cri::v1;
use knarr_tasks::Place;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::{Body, text};
use crate::{
    context::{self, Shared},
    logs::read::{pairs, truth},
    pods,
};

const DIAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The runtime upgrades as soon as it has read the request.
const UPGRADE_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers that say something else to the runtime, or that it shall not see.
const STAYS: [header::HeaderName; 4] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_LENGTH,
    header::SEC_WEBSOCKET_PROTOCOL,
];

type Target<'a> = (&'a str, &'a str, Option<&'a str>);

pub(super) async fn serve(
    ctx: &Shared,
    action: &str,
    target: Target<'_>,
    request: Request<Incoming>,
    token: CancellationToken,
) -> Response<Body> {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let (namespace, name, _) = target;
    let Some(pod) = pods::find(ctx, namespace, name) else {
        return text(StatusCode::NOT_FOUND, "pod does not exist");
    };
    let place = match super::place(ctx, &pod) {
        Ok(place) => place,
        Err(message) => return text(StatusCode::TOO_MANY_REQUESTS, message),
    };
    let url = match url(ctx, action, &pod, target.2, &query).await {
        Ok(url) => url,
        Err((status, message)) => return text(status, message),
    };
    match splice(&url, request, place, token).await {
        Ok(response) => response,
        Err(error) => text(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot reach the runtime's stream: {error}"),
        ),
    }
}

async fn url(
    ctx: &Shared,
    action: &str,
    pod: &Pod,
    container: Option<&str>,
    query: &str,
) -> Result<String, (StatusCode, String)> {
    // Only a pod that is not there is not found: what it has not is an error like any other, as upstream's kubelet has it.
    let missing = |what: String| (StatusCode::INTERNAL_SERVER_ERROR, what);
    let internal =
        |error: crate::runtime::Error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
    let name = context::name(pod);
    let view = ctx.observed.view(context::uid(pod));
    let query = pairs(query);
    let flag = |names: [&str; 2]| {
        query
            .iter()
            .any(|(k, v)| names.contains(&k.as_str()) && truth(v))
    };
    let Some(container) = container else {
        let sandbox = view
            .sandbox()
            .ok_or_else(|| missing(format!("pod \"{name}\" has no sandbox")))?;
        let ports = query
            .iter()
            .filter(|(key, _)| key == "port" || key == "ports");
        let ports = ports.flat_map(|(_, value)| value.split(',').filter_map(|p| p.parse().ok()));
        let request = v1::PortForwardRequest {
            pod_sandbox_id: sandbox.id.clone(),
            port: ports.collect(),
        };
        return Ok(ctx
            .runtime
            .port_forward(request)
            .await
            .map_err(internal)?
            .url);
    };
    let running = view
        .newest(container)
        .filter(|c| c.state() == v1::ContainerState::ContainerRunning);
    let running =
        running.ok_or_else(|| missing(format!("container not found (\"{container}\")")))?;
    let container_id = running.id.clone();
    let (stdin, stdout) = (flag(["input", "stdin"]), flag(["output", "stdout"]));
    let (stderr, tty) = (flag(["error", "stderr"]), flag(["tty", "tty"]));
    // With a terminal there is one output.
    let stderr = stderr && !tty;
    if !stdin && !stdout && !stderr {
        let message = "you must specify at least 1 of stdin, stdout, stderr".to_owned();
        return Err((StatusCode::BAD_REQUEST, message));
    }
    if action == "attach" {
        let request = v1::AttachRequest {
            container_id,
            stdin,
            tty,
            stdout,
            stderr,
        };
        return Ok(ctx.runtime.attach(request).await.map_err(internal)?.url);
    }
    let cmd = query
        .iter()
        .filter(|(key, _)| key == "command")
        .map(|(_, v)| v.clone())
        .collect();
    let request = v1::ExecRequest {
        container_id,
        cmd,
        tty,
        stdin,
        stdout,
        stderr,
    };
    Ok(ctx.runtime.exec(request).await.map_err(internal)?.url)
}

/// Sends the request on with its headers; when the runtime upgrades, so do we.
async fn splice(
    url: &str,
    mut request: Request<Incoming>,
    place: Place,
    token: CancellationToken,
) -> Result<Response<Body>, String> {
    let uri: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    let authority = uri
        .authority()
        .ok_or_else(|| format!("{url} names no host"))?;
    let port = uri.port_u16().unwrap_or(80);
    let dial = TcpStream::connect((authority.host().trim_matches(['[', ']']), port));
    let stream = tokio::time::timeout(DIAL_TIMEOUT, dial)
        .await
        .map_err(|error| error.to_string())?;
    let stream = stream.map_err(|error| error.to_string())?;
    stream
        .set_nodelay(true)
        .map_err(|error| error.to_string())?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    knarr_tasks::spawn(
        "a connection to the runtime's streams",
        token
            .clone()
            .run_until_cancelled_owned(connection.with_upgrades()),
    );
    let path = uri.path_and_query().map_or("/", |p| p.as_str());
    let mut onward = Request::builder()
        .method(request.method().clone())
        .uri(path);
    for (name, value) in request.headers() {
        if !STAYS.contains(name) {
            onward = onward.header(name, value);
        }
    }
    // A WebSocket's bearer token is one of its subprotocols.
    let (_, protocols) =
        bearer::protocols(request.headers()).map_err(|status| status.to_string())?;
    if !protocols.is_empty() {
        onward = onward.header(header::SEC_WEBSOCKET_PROTOCOL, protocols.join(", "));
    }
    let onward = onward.header(header::HOST, authority.as_str());
    let onward = onward
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|error| error.to_string())?;
    let answer = tokio::time::timeout(UPGRADE_TIMEOUT, sender.send_request(onward)).await;
    let mut answer = answer
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())?;
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (parts, body) = answer.into_parts();
        let body = body.map_err(std::io::Error::other).boxed();
        return Ok(Response::from_parts(parts, body));
    }
    let mut response = Response::new(BodyExt::boxed(Empty::new().map_err(|never| match never {})));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = answer.headers().clone();
    let theirs = hyper::upgrade::on(&mut answer);
    let ours = hyper::upgrade::on(&mut request);
    knarr_tasks::spawn(
        "a stream to a container",
        token.run_until_cancelled_owned(async move {
            join(ours, theirs).await;
            drop(place);
        }),
    );
    Ok(response)
}

async fn join(ours: hyper::upgrade::OnUpgrade, theirs: hyper::upgrade::OnUpgrade) {
    let upgraded = tokio::time::timeout(UPGRADE_TIMEOUT, async { tokio::try_join!(ours, theirs) });
    match upgraded.await {
        Ok(Ok((ours, theirs))) => {
            let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
            if let Err(error) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
                tracing::debug!(%error, "a stream ended badly");
            }
        }
        Ok(Err(error)) => tracing::debug!(%error, "a stream was not upgraded"),
        Err(_) => tracing::debug!("a stream was not upgraded in time"),
    }
}
