//! Passing a request on to an endpoint of its backend.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{
    HeaderValue, Request, Response, StatusCode, Uri, Version, request::Parts, uri::PathAndQuery,
};
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use knarr_tasks::{Place, Quota};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::{
    answer::Refusal,
    backends::{Backend, Backends},
    body::{self, Activity, Answer, Outgoing, Timed},
    connection::Connection,
    headers,
    routes::Found,
    tunnel,
};

/// Endpoints that are tried for a request before it is given up.
const MAX_ATTEMPTS: usize = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long connections to endpoints are kept for the next request; servers commonly keep theirs a minute or longer.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_IDLE_PER_ENDPOINT: usize = 64;
/// Longest head of an answer.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Requests on their way at once: in all, and for Ingresses of one namespace.
const MAX_REQUESTS: usize = 16 << 10;
const MAX_REQUESTS_PER_NAMESPACE: usize = 8 << 10;
/// WebSockets may be silent for longer than answers.
const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// What a path must not have in it unencoded (RFC 3986, 3.3).
const NOT_IN_PATHS: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Passes requests on.
pub struct Forwarder {
    backends: Arc<Backends>,
    http1: Client<HttpConnector, Outgoing>,
    h2c: Client<HttpConnector, Outgoing>,
    places: Quota,
}

/// A request's circumstances.
pub struct Asked<'a> {
    pub found: &'a Found,
    pub connection: &'a Connection,
    /// Host and port as the client named them.
    pub authority: HeaderValue,
}

/// What an answer holds until it has been sent.
pub type Held = (Place, Connection);

impl Forwarder {
    pub fn new(backends: Arc<Backends>) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_ENDPOINT)
            .http1_max_buf_size(MAX_HEAD_BYTES)
            .set_host(false);
        let http1 = builder.build(connector());
        let h2c = builder.http2_only(true).build(connector());
        Self {
            backends,
            http1,
            h2c,
            places: Quota::new(MAX_REQUESTS_PER_NAMESPACE, MAX_REQUESTS),
        }
    }

    /// Asks an endpoint of the route's backend; another one where none can be reached.
    pub async fn forward(
        &self,
        mut request: Request<Incoming>,
        asked: &Asked<'_>,
    ) -> Result<Response<Answer>, Refusal> {
        let route = &asked.found.route;
        let place = self
            .places
            .take(&route.namespace)
            .map_err(|_| Refusal::Full)?;
        let held = (place, asked.connection.clone());
        let backend = self.backends.get(&route.backend);
        let websocket = headers::wants_websocket(request.method(), request.headers());
        let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
        let path = path_and_query(request.uri(), asked.found.rewritten.as_deref())?;
        let (mut parts, body) = request.into_parts();
        let host = asked.authority.clone();
        headers::of_request(
            &mut parts.headers,
            &asked.connection.client,
            host,
            websocket,
        );
        let activity = Activity::now();
        let body = Outgoing::new(body, route.options.body_bytes, activity.clone());
        let period = route.options.read_timeout;
        let asking = self.ask(&backend, &parts, &path, &body, websocket);
        let answered = {
            let mut asking = pin!(asking);
            tokio::select! {
                answered = &mut asking => answered,
                // Of both: a client that sends nothing keeps a backend waiting, too.
                () = activity.over(period) => Err(Refusal::Silent),
            }
        };
        let mut response = match answered {
            Err(_) if body.was_too_long() => return Err(Refusal::TooLong),
            answered => answered?,
        };
        *response.version_mut() = Version::HTTP_11;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        headers::of_answer(response.headers_mut(), switched);
        match (switched, upgrade) {
            (true, Some(client)) => Ok(switch(response, client, held)),
            (true, None) => Err(Refusal::Unreachable),
            (false, _) => Ok(response.map(|body| Timed::new(body, period, held).boxed_unsync())),
        }
    }

    async fn ask(
        &self,
        backend: &Backend,
        parts: &Parts,
        path: &PathAndQuery,
        body: &Outgoing,
        websocket: bool,
    ) -> Result<Response<Incoming>, Refusal> {
        // A WebSocket is of HTTP/1.1 here.
        let client = match backend.h2c && !websocket {
            true => &self.h2c,
            false => &self.http1,
        };
        let mut refusal = Refusal::NoEndpoints;
        for endpoint in backend.in_turn().take(MAX_ATTEMPTS) {
            let request = to(endpoint, parts, path, body.clone())?;
            match client.request(request).await {
                Ok(response) => return Ok(response),
                Err(error) => {
                    log(endpoint, &error);
                    refusal = Refusal::Unreachable;
                    // Only what nobody has seen yet may be sent to another one.
                    if !error.is_connect() {
                        break;
                    }
                }
            }
        }
        Err(refusal)
    }
}

fn log(endpoint: SocketAddr, error: &Error) {
    tracing::debug!(
        %endpoint,
        error = error as &dyn std::error::Error,
        "an endpoint gave no answer"
    );
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector
}

/// The path by which the backend is asked: as the client wrote it, or as the Ingress rewrites it.
fn path_and_query(uri: &Uri, rewritten: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let unusable = |_| Refusal::Malformed("the path is not usable");
    let Some(rewritten) = rewritten else {
        let own = uri.path_and_query().cloned();
        return Ok(own.unwrap_or_else(|| PathAndQuery::from_static("/")));
    };
    let path = utf8_percent_encode(rewritten, NOT_IN_PATHS);
    match uri.query() {
        Some(query) => format!("{path}?{query}").parse().map_err(unusable),
        None => path.to_string().parse().map_err(unusable),
    }
}

fn to(
    endpoint: SocketAddr,
    parts: &Parts,
    path: &PathAndQuery,
    body: Outgoing,
) -> Result<Request<Outgoing>, Refusal> {
    let uri = Uri::builder()
        .scheme("http")
        .authority(endpoint.to_string())
        .path_and_query(path.clone());
    let uri = uri
        .build()
        .map_err(|_| Refusal::Malformed("the path is not usable"))?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers.clone();
    Ok(request)
}

/// From now on client and backend speak a protocol of their own.
fn switch(mut response: Response<Incoming>, client: OnUpgrade, held: Held) -> Response<Answer> {
    let backend = hyper::upgrade::on(&mut response);
    let token = held.1.token.clone();
    let talk = async move {
        let _held = held;
        match tokio::try_join!(client, backend) {
            Ok((client, backend)) => {
                let (client, backend) = (io(client), io(backend));
                tunnel::join(client, backend, TUNNEL_IDLE_TIMEOUT).await;
            }
            Err(error) => tracing::debug!(%error, "a WebSocket did not come about"),
        }
    };
    knarr_tasks::spawn("a WebSocket of an Ingress", async move {
        token.run_until_cancelled(talk).await;
    });
    response.map(|_| body::full(""))
}

fn io(upgraded: Upgraded) -> TokioIo<Upgraded> {
    TokioIo::new(upgraded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_for_backends() {
        let cases = [
            ("http://h/a%2fb//c/../d?q=1", None, "/a%2fb//c/../d?q=1"),
            ("http://h/a?q=1", Some("/b"), "/b?q=1"),
            ("http://h/a", Some("/b c?d%é"), "/b%20c%3Fd%25%C3%A9"),
            ("/a", None, "/a"),
        ];
        for (uri, rewritten, expected) in cases {
            let uri: Uri = uri.parse().expect("a URI");
            let path = path_and_query(&uri, rewritten);
            assert_eq!(path.map(|path| path.to_string()), Ok(expected.to_owned()));
        }
    }
}
