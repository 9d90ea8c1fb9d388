//! Passing a request on to an endpoint of its backend.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version, header, request::Parts,
    uri::PathAndQuery,
};
use http_body_util::{BodyExt, Either};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use knarr_tasks::{Place, Quota};
use percent_encoding::utf8_percent_encode;
use tokio::time::Instant;

use crate::{
    answer::Refusal,
    backends::{Backend, Backends},
    body::{self, Activity, Answer, Outgoing, Timed},
    connection::Connection,
    filters::{NOT_IN_PATHS, Seen},
    headers,
    mirrored::Copied,
    route::{Route, Target},
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
/// For a copy of a request, from its head to that of its answer.
const MIRROR_TIMEOUT: Duration = Duration::from_secs(30);
/// WebSockets may be silent for longer than answers.
const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);

/// A client of endpoints: with the body of a request, or a copy of it.
type Asking = Client<HttpConnector, Either<Outgoing, Copied>>;

/// Passes requests on.
pub struct Forwarder {
    backends: Arc<Backends>,
    http1: Asking,
    h2c: Asking,
    places: Quota,
}

/// A request's circumstances.
pub struct Asked<'a> {
    pub found: &'a Found,
    pub connection: &'a Connection,
    /// Host and port as the client named them.
    pub authority: HeaderValue,
    /// As it is to be written anew.
    pub seen: Seen<'a>,
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

    /// Asks an endpoint of one of the route's backends; another one where none can be reached.
    pub async fn forward(
        &self,
        mut request: Request<Incoming>,
        asked: &Asked<'_>,
    ) -> Result<Response<Answer>, Refusal> {
        let route = &asked.found.route;
        let target = route.targets.next().ok_or(Refusal::NoBackend)?;
        let backend = target.backend.as_ref().ok_or(Refusal::NoBackend)?;
        let backend = self.backends.get(backend);
        let held = (self.place(&route.namespace)?, asked.connection.clone());
        let websocket = headers::wants_websocket(request.method(), request.headers());
        let upgrade = websocket.then(|| hyper::upgrade::on(&mut request));
        let path = asked.path(target)?;
        let origin = request.headers().get(header::ORIGIN).cloned();
        let (mut parts, body) = request.into_parts();
        asked.write_head(&mut parts.headers, target, websocket);
        let activity = Activity::now();
        let body = Outgoing::new(body, route.options.body_bytes, activity.clone());
        self.mirror(route, &parts, &path, &body);
        let period = route.options.read_timeout;
        let deadline = route.timeouts.request;
        let deadline = deadline.and_then(|limit| Instant::now().checked_add(limit));
        let question = Question {
            // A WebSocket is of HTTP/1.1 here.
            h2c: (backend.h2c || target.h2c) && !websocket,
            parts: &parts,
            path: &path,
            limit: route.timeouts.attempt,
        };
        let answered = {
            let mut asking = pin!(self.ask(&backend, &question, &body));
            tokio::select! {
                answered = &mut asking => answered,
                // Of both: a client that sends nothing keeps a backend waiting, too.
                () = activity.over(period) => Err(Refusal::Silent),
                () = passed(deadline) => Err(Refusal::Silent),
            }
        };
        let mut response = match answered {
            Err(_) if body.was_too_long() => return Err(Refusal::TooLong),
            answered => answered?,
        };
        *response.version_mut() = Version::HTTP_11;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        headers::of_answer(response.headers_mut(), switched);
        if let Some(cors) = &route.filters.cors {
            cors.mark(origin.as_ref(), response.headers_mut());
        }
        for filters in [&target.filters, &route.filters] {
            filters.response.apply(response.headers_mut());
        }
        match (switched, upgrade) {
            (true, Some(client)) => Ok(switch(response, client, held)),
            (true, None) => Err(Refusal::Unreachable),
            (false, _) => {
                let timed = |body| Timed::new(body, period, deadline, held).boxed_unsync();
                Ok(response.map(timed))
            }
        }
    }

    fn place(&self, namespace: &str) -> Result<Place, Refusal> {
        self.places.take(namespace).map_err(|_| Refusal::Full)
    }

    async fn ask(
        &self,
        backend: &Backend,
        question: &Question<'_>,
        body: &Outgoing,
    ) -> Result<Response<Incoming>, Refusal> {
        let client = self.client(question.h2c);
        let mut refusal = Refusal::NoEndpoints;
        for endpoint in backend.in_turn().take(MAX_ATTEMPTS) {
            let body = Either::Left(body.clone());
            let request = to(endpoint, question.parts, question.path, body)?;
            let asking = client.request(request);
            let answered = match question.limit {
                Some(limit) => tokio::time::timeout(limit, asking).await,
                None => Ok(asking.await),
            };
            match answered {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(error)) => {
                    log(endpoint, &error);
                    refusal = Refusal::Unreachable;
                    // Only what nobody has seen yet may be sent to another one.
                    if !error.is_connect() {
                        break;
                    }
                }
                Err(_) => return Err(Refusal::Silent),
            }
        }
        Err(refusal)
    }

    fn client(&self, h2c: bool) -> &Asking {
        if h2c { &self.h2c } else { &self.http1 }
    }

    /// Sends copies of a request. What becomes of them is nobody's matter.
    fn mirror(&self, route: &Route, parts: &Parts, path: &PathAndQuery, body: &Outgoing) {
        for mirror in route.filters.mirrors.iter().filter(|one| one.takes()) {
            let backend = self.backends.get(&mirror.backend);
            let Some(endpoint) = backend.in_turn().next() else {
                continue;
            };
            let Ok(place) = self.places.take(&route.namespace) else {
                continue;
            };
            let copy = Either::Right(body.copy());
            let Ok(request) = to(endpoint, parts, path, copy) else {
                continue;
            };
            let asking = self.client(backend.h2c).request(request);
            knarr_tasks::spawn("a mirrored request", async move {
                let _place = place;
                if let Ok(Err(error)) = tokio::time::timeout(MIRROR_TIMEOUT, asking).await {
                    log(endpoint, &error);
                }
            });
        }
    }
}

/// What endpoints are asked.
struct Question<'a> {
    h2c: bool,
    parts: &'a Parts,
    path: &'a PathAndQuery,
    /// For each of them, until it begins to answer.
    limit: Option<Duration>,
}

impl Asked<'_> {
    /// The path by which a backend is asked.
    fn path(&self, target: &Target) -> Result<PathAndQuery, Refusal> {
        let filters = [&target.filters, &self.found.route.filters];
        let rewrites = filters.into_iter().flat_map(|filters| &filters.rewrite);
        let change = rewrites.flat_map(|rewrite| &rewrite.path).next();
        match change {
            Some(change) => with_query(&change.apply(&self.seen), self.seen.query),
            None => path_and_query(&self.seen, self.found.rewritten.as_deref()),
        }
    }

    /// Makes the client's headers those of the request to a backend.
    fn write_head(&self, headers: &mut HeaderMap, target: &Target, websocket: bool) {
        let host = self.authority.clone();
        headers::of_request(headers, &self.connection.client, host, websocket);
        for filters in [&self.found.route.filters, &target.filters] {
            let rewrite = filters.rewrite.as_ref();
            if let Some(host) = rewrite.and_then(|rewrite| rewrite.host.clone()) {
                headers.insert(header::HOST, host);
            }
            filters.request.apply(headers);
        }
    }
}

async fn passed(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
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
fn path_and_query(seen: &Seen<'_>, rewritten: Option<&str>) -> Result<PathAndQuery, Refusal> {
    match rewritten {
        Some(rewritten) => {
            let path = utf8_percent_encode(rewritten, NOT_IN_PATHS).to_string();
            with_query(&path, seen.query)
        }
        None => with_query(seen.path, seen.query),
    }
}

fn with_query(path: &str, query: Option<&str>) -> Result<PathAndQuery, Refusal> {
    let unusable = |_| Refusal::Malformed("the path is not usable");
    match query {
        Some(query) => format!("{path}?{query}").parse().map_err(unusable),
        None => path.parse().map_err(unusable),
    }
}

fn to(
    endpoint: SocketAddr,
    parts: &Parts,
    path: &PathAndQuery,
    body: Either<Outgoing, Copied>,
) -> Result<Request<Either<Outgoing, Copied>>, Refusal> {
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
            let seen = Seen {
                tls: false,
                port: 80,
                host: "h",
                path: uri.path(),
                query: uri.query(),
                prefix: None,
            };
            let path = path_and_query(&seen, rewritten);
            assert_eq!(path.map(|path| path.to_string()), Ok(expected.to_owned()));
        }
    }
}
