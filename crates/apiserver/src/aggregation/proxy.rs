//! Requests for group-versions of other servers, passed on: upstream's `handler_proxy.go`.

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use knarr_auth::{UserInfo, escape, route::ApiRequest};
use knarr_meta::status::Status;
use knarr_webhook::Failure;
use tokio::time::Instant;

use super::{identity, routes::Route};
use crate::{
    body::{Body, BoxError},
    core::Core,
    passing,
    respond::{self, Answer},
    server::{audit::Audit, incoming::Incoming, limits::Place},
    verbs,
};

/// A request gets this long, its answer included; one that is long-running by nature gets it for the answer's head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Discovery is cheap: a server that takes longer would hold up every kubectl.
const DISCOVERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Most bytes of an answer to a component of this process: it holds what it lists, and must not hold without end.
const COMPONENT_BYTES: usize = 64 << 20;

/// Passes an authorized request on, body, watch and upgrade included; `client` is the request without its body, and how it is
/// audited.
///
/// # Errors
/// 429 where the user has too many such requests, 504 where there is no answer in time, and those of who cannot be named.
pub async fn pass(
    core: &Core,
    route: &Route,
    request: &ApiRequest<'_>,
    user: &UserInfo,
    body: &mut Incoming,
    (mut client, audit): (Request<()>, &Audit<'_>),
) -> Answer {
    let backend = match &route.backend {
        _ if !route.available => return Ok(unavailable()),
        Ok(backend) => backend,
        Err(why) => {
            let code = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(respond::text(code, format!("{why}\n")));
        }
    };
    let most = match body {
        Incoming::Local(_) => COMPONENT_BYTES,
        Incoming::Wire(_) => usize::MAX,
    };
    // A server may think about its answer for long, and its places are no others'.
    let place = core.limits.stream(&user.name)?;
    let place = place.with(audit.ending());
    let upgrade = passing::wants_upgrade(&client)?;
    let mut outgoing = Request::new(body.take());
    *outgoing.method_mut() = client.method().clone();
    *outgoing.uri_mut() = location(request)?
        .parse()
        .map_err(|error: http::uri::InvalidUri| Status::bad_request(error.to_string()))?;
    let mut headers = passing::forwarded(client.headers(), upgrade)?;
    identity::tell(&mut headers, user)?;
    *outgoing.headers_mut() = headers;

    let (info, began) = (&request.info, Instant::now());
    let wait = match info.is_resource {
        true => REQUEST_TIMEOUT,
        false => DISCOVERY_TIMEOUT,
    };
    let response = match backend.send(outgoing, wait).await {
        Ok(response) => response,
        Err(Failure::Late) => return Err(late()),
        Err(Failure::Unreachable(why)) => {
            return Ok(respond::text(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{why}\n"),
            ));
        }
    };
    if upgrade {
        return Ok(upgraded(core, &mut client, response, place));
    }
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(bad_gateway(
            "the backend changed the protocol, which nobody asked for",
        ));
    }
    if response.status().is_redirection() && response.headers().contains_key(header::LOCATION) {
        let why = "the backend attempted to redirect this request, which is not permitted";
        return Ok(bad_gateway(why));
    }
    if verbs::long_running(info.verb, info.subresource) {
        return Ok(passing::streamed(response, place));
    }
    let (head, body) = response.into_parts();
    let body = body.into_data_stream().map_err(BoxError::from);
    let body = within(body, began + REQUEST_TIMEOUT, most);
    Ok(passing::answer(&head, body, place))
}

/// Path and query. What was authorized is the decoded path: one that another server could take for another path is not passed on.
fn location(request: &ApiRequest<'_>) -> Result<String, Status> {
    let path = request.path;
    let inner = path.trim_matches('/').split('/');
    if inner
        .into_iter()
        .any(|part| matches!(part, "" | "." | ".."))
    {
        return Err(Status::path_not_found());
    }
    let mut location = escape::path(path);
    let query = request.query.raw();
    if !query.is_empty() {
        location.push('?');
        location.push_str(query);
    }
    Ok(location)
}

fn upgraded(
    core: &Core,
    client: &mut Request<()>,
    response: Response<hyper::body::Incoming>,
    place: Place,
) -> Response<Body> {
    let code = response.status();
    if code == StatusCode::SWITCHING_PROTOCOLS {
        return passing::spliced(client, response, place, core.backends.stopping());
    }
    if code.as_u16() < 400 {
        let why = format!("invalid upgrade response: status code {}\n", code.as_u16());
        return respond::text(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    passing::streamed(response, place)
}

/// In upstream's words, which are no Status.
fn unavailable() -> Response<Body> {
    respond::text(StatusCode::SERVICE_UNAVAILABLE, "service unavailable\n")
}

fn bad_gateway(why: &str) -> Response<Body> {
    respond::text(StatusCode::BAD_GATEWAY, why)
}

fn late() -> Status {
    Status::timeout("request did not complete within the allotted timeout", 0)
}

/// A body that breaks off where it is not over in time, or has more than so many bytes.
fn within(
    body: impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static,
    until: Instant,
    most: usize,
) -> impl Stream<Item = Result<Bytes, BoxError>> + Send + 'static {
    let late = Box::pin(tokio::time::sleep_until(until));
    futures::stream::unfold(Some((Box::pin(body), late, most)), async |state| {
        let (mut body, mut late, left) = state?;
        tokio::select! {
            piece = body.next() => match piece? {
                Ok(piece) => match left.checked_sub(piece.len()) {
                    Some(left) => Some((Ok(piece), Some((body, late, left)))),
                    None => Some((Err("the answer is too large".into()), None)),
                },
                Err(error) => Some((Err(error), None)),
            },
            () = &mut late => Some((Err("the answer was not over in time".into()), None)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_without_end_breaks_off() {
        let piece = || Ok(Bytes::from_static(&[0; 100]));
        let body = futures::stream::repeat_with(piece);
        let until = Instant::now() + REQUEST_TIMEOUT;
        let pieces: Vec<_> = within(body, until, 1_000).collect().await;
        assert_eq!(pieces.len(), 11);
        assert!(pieces.last().is_some_and(Result::is_err));
    }
}
