//! An aggregated API server for tests: one resource, `gadgets` of `things.example.com/v1`, and several ways to misbehave.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Body, Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Interval, interval},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::certificates;

pub const GROUP: &str = "things.example.com";
pub const VERSION: &str = "v1";
/// The hash of the OpenAPI document.
pub const HASH: &str = "ABC123";
/// What an upgraded connection repeats.
pub const PROTOCOL: &str = "echo";
/// A piece of an answer that does not end comes so often.
const PERIOD: Duration = Duration::from_millis(50);

/// What the server does with every request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    Good,
    /// Never answers.
    Hang,
    /// Answers with so many bytes of JSON.
    Large(usize),
    Redirect,
    Fail(u16),
}

/// The server; it ends with the value.
pub struct ApiServer {
    pub address: SocketAddr,
    /// PEM of the authority that its certificate is of.
    pub authority: String,
    state: Arc<State>,
    stop: CancellationToken,
}

struct State {
    behaviour: Mutex<Behaviour>,
    openapi_v2: Mutex<Option<OpenApi>>,
    documents: AtomicUsize,
    calls: AtomicUsize,
    connections: AtomicUsize,
}

/// A document and its ETag; empty: it has none.
#[derive(Clone)]
struct OpenApi {
    etag: String,
    body: Bytes,
}

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

impl ApiServer {
    /// Serves on a bound socket under these names. `clients`: PEM of the authority of whoever passes requests on; empty: nobody is
    /// asked for a certificate. Within a runtime.
    pub fn on(
        listener: std::net::TcpListener,
        names: &[&str],
        clients: &str,
    ) -> std::io::Result<ApiServer> {
        let (authority, tls) = certificates(names, Some(clients).filter(|pem| !pem.is_empty()));
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let server = ApiServer {
            address: listener.local_addr()?,
            authority,
            state: Arc::new(State {
                behaviour: Mutex::new(Behaviour::Good),
                openapi_v2: Mutex::new(None),
                documents: AtomicUsize::new(0),
                calls: AtomicUsize::new(0),
                connections: AtomicUsize::new(0),
            }),
            stop: CancellationToken::new(),
        };
        let (state, tracker) = (server.state.clone(), TaskTracker::new());
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let stop = server.stop.clone();
        knarr_tasks::spawn("an API server for tests", async move {
            let accept = async {
                while let Ok((tcp, _)) = listener.accept().await {
                    state.connections.fetch_add(1, Ordering::Relaxed);
                    let serving = serve(tcp, acceptor.clone(), state.clone());
                    let stop = stop.clone();
                    tracker.spawn(async move { stop.run_until_cancelled(serving).await });
                }
            };
            stop.run_until_cancelled(accept).await;
        });
        Ok(server)
    }

    pub fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock() = behaviour;
    }

    /// Serves this as `/openapi/v2`, with an ETag unless that is empty. Before, there is none.
    pub fn describe(&self, etag: &str, body: impl Into<Bytes>) {
        let (etag, body) = (etag.to_owned(), body.into());
        *self.state.openapi_v2.lock() = Some(OpenApi { etag, body });
    }

    /// How often `/openapi/v2` was sent.
    pub fn documents(&self) -> usize {
        self.state.documents.load(Ordering::Relaxed)
    }

    /// Requests that came.
    pub fn calls(&self) -> usize {
        self.state.calls.load(Ordering::Relaxed)
    }

    /// Connections that came.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::Relaxed)
    }

    /// The APIService that leads to it by a Service.
    pub fn api_service(&self, namespace: &str, service: &str) -> Value {
        json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": format!("{VERSION}.{GROUP}")},
            "spec": {
                "group": GROUP,
                "version": VERSION,
                "groupPriorityMinimum": 2000,
                "versionPriority": 200,
                "service": {"namespace": namespace, "name": service},
                "caBundle": STANDARD.encode(&self.authority),
            },
        })
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn serve(tcp: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(tls) = acceptor.accept(tcp).await else {
        return;
    };
    let known = tls.get_ref().1.peer_certificates().is_some();
    let service = service_fn(|request: Request<Incoming>| {
        let state = state.clone();
        async move {
            state.calls.fetch_add(1, Ordering::Relaxed);
            let behaviour = *state.behaviour.lock();
            if behaviour == Behaviour::Good && request.uri().path() == "/openapi/v2" {
                return Ok(openapi_v2(&request, &state));
            }
            Ok::<_, Infallible>(react(request, behaviour, known).await)
        }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(tls), service)
        .with_upgrades()
        .await;
}

fn answer(code: u16, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(code).expect("a code");
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type.parse().expect("a type"));
    response
}

fn json_answer(code: u16, body: &Value) -> Answer {
    answer(code, "application/json", body.to_string())
}

fn redirect() -> Answer {
    let mut response = answer(302, "text/plain", "");
    let to = "https://example.com/".parse().expect("a location");
    response.headers_mut().insert(header::LOCATION, to);
    response
}

async fn react(request: Request<Incoming>, behaviour: Behaviour, known: bool) -> Answer {
    match behaviour {
        Behaviour::Good => good(request, known).await,
        Behaviour::Hang => std::future::pending().await,
        Behaviour::Large(bytes) => answer(200, "application/json", vec![b' '; bytes]),
        Behaviour::Redirect => redirect(),
        Behaviour::Fail(code) => answer(code, "text/plain", "no"),
    }
}

fn openapi_v2(request: &Request<Incoming>, state: &State) -> Answer {
    let Some(OpenApi { etag, body }) = state.openapi_v2.lock().clone() else {
        return answer(404, "text/plain", "");
    };
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|known| known.as_bytes() == etag.as_bytes()) {
        return answer(304, "application/json", "");
    }
    state.documents.fetch_add(1, Ordering::Relaxed);
    let mut response = answer(200, "application/json", body);
    if !etag.is_empty() {
        let etag = etag.parse().expect("an ETag");
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
}

async fn good(request: Request<Incoming>, known: bool) -> Answer {
    let root = format!("/apis/{GROUP}/{VERSION}");
    let path = request.uri().path().to_owned();
    let accept = request.headers().get(header::ACCEPT);
    let aggregated = accept.is_some_and(|accept| {
        String::from_utf8_lossy(accept.as_bytes()).contains("APIGroupDiscoveryList")
    });
    match path.as_str() {
        "/apis" if aggregated => {
            let kind = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
            return answer(200, kind, discovery().to_string());
        }
        "/openapi/v3" => return json_answer(200, &index()),
        _ => {}
    }
    if path == root {
        return json_answer(200, &resource_list());
    }
    if path == format!("/openapi/v3{root}") {
        return json_answer(200, &schema());
    }
    match path.strip_prefix(&root) {
        Some(rest) => resource(rest.to_owned(), request, known).await,
        None => json_answer(
            404,
            &json!({"kind": "Status", "code": 404, "reason": "NotFound"}),
        ),
    }
}

fn gadget(name: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Gadget",
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": "1"},
    })
}

async fn resource(rest: String, request: Request<Incoming>, known: bool) -> Answer {
    let parts: Vec<&str> = rest.trim_start_matches('/').split('/').collect();
    let watches = request
        .uri()
        .query()
        .is_some_and(|query| query.contains("watch=true"));
    match (request.method(), parts.as_slice()) {
        (_, ["namespaces", _, "gadgets", "whoami"]) => json_answer(200, &whoami(&request, known)),
        (_, ["namespaces", _, "gadgets", "moved"]) => redirect(),
        (_, ["namespaces", _, "gadgets", "slow"]) => endless(" "),
        (_, ["namespaces", _, "gadgets", "hang"]) => std::future::pending().await,
        (_, ["namespaces", _, "gadgets", _, "stream"]) => upgrade(request),
        (&Method::GET, ["gadgets"] | ["namespaces", _, "gadgets"]) if watches => {
            let event = json!({"type": "ADDED", "object": gadget("a")});
            endless(&format!("{event}\n"))
        }
        // There is one, in the namespace `default`.
        (&Method::GET, list @ (["gadgets"] | ["namespaces", _, "gadgets"])) => json_answer(
            200,
            &json!({
                "apiVersion": format!("{GROUP}/{VERSION}"),
                "kind": "GadgetList",
                "metadata": {"resourceVersion": "1"},
                "items": match list {
                    ["namespaces", other, _] if *other != "default" => json!([]),
                    _ => json!([gadget("a")]),
                },
            }),
        ),
        (&Method::GET, ["namespaces", _, "gadgets", name]) => json_answer(200, &gadget(name)),
        (&Method::POST, ["namespaces", _, "gadgets"]) => {
            let body = request
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes();
            answer(201, "application/json", body)
        }
        (&Method::DELETE, _) => json_answer(
            200,
            &json!({"apiVersion": "v1", "kind": "Status", "status": "Success", "metadata": {}}),
        ),
        _ => answer(405, "text/plain", "no"),
    }
}

/// The request as it came.
fn whoami(request: &Request<Incoming>, known: bool) -> Value {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in request.headers() {
        let all = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        let text = String::from_utf8_lossy(value.as_bytes()).into_owned();
        all.as_array_mut().expect("a list").push(text.into());
    }
    let mut object = gadget("whoami");
    object["spec"] = json!({
        "method": request.method().as_str(),
        "uri": request.uri().to_string(),
        "headers": headers,
        "known": known,
    });
    object
}

fn upgrade(mut request: Request<Incoming>) -> Answer {
    if !request.headers().contains_key(header::UPGRADE) {
        return answer(400, "text/plain", "an upgrade is needed");
    }
    let upgraded = hyper::upgrade::on(&mut request);
    knarr_tasks::spawn("an echo", async move {
        if let Ok(upgraded) = upgraded.await {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgraded));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        }
    });
    let mut response = answer(101, "text/plain", "");
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, PROTOCOL.parse().expect("a protocol"));
    headers.insert(header::CONNECTION, "Upgrade".parse().expect("a word"));
    response
}

/// An answer that does not end.
fn endless(piece: &str) -> Answer {
    let body = Endless {
        piece: Bytes::from(piece.to_owned()),
        period: interval(PERIOD),
    };
    let mut response = answer(200, "application/json", "");
    *response.body_mut() = body.boxed_unsync();
    response
}

struct Endless {
    piece: Bytes,
    period: Interval,
}

impl Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.piece.clone();
        let ticked = self.period.poll_tick(context);
        ticked.map(|_| Some(Ok(Frame::data(piece))))
    }
}

fn discovery() -> Value {
    let kind = json!({"group": GROUP, "version": VERSION, "kind": "Gadget"});
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{
            "metadata": {"name": GROUP},
            "versions": [{"version": VERSION, "freshness": "Current", "resources": [{
                "resource": "gadgets",
                "responseKind": kind,
                "scope": "Namespaced",
                "singularResource": "gadget",
                "shortNames": ["gad"],
                "verbs": ["create", "delete", "get", "list", "watch"],
            }]}],
        }, {
            "metadata": {"name": "apps"},
            "versions": [{"version": "v1", "resources": [{"resource": "stolen", "scope": "Cluster", "verbs": ["get"]}]}],
        }],
    })
}

fn resource_list() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [{
            "name": "gadgets",
            "singularName": "gadget",
            "namespaced": true,
            "kind": "Gadget",
            "shortNames": ["gad"],
            "verbs": ["create", "delete", "get", "list", "watch"],
        }],
    })
}

fn index() -> Value {
    let path = format!("apis/{GROUP}/{VERSION}");
    let url = format!("/openapi/v3/{path}?hash={HASH}");
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

fn schema() -> Value {
    let path = format!("/apis/{GROUP}/{VERSION}/namespaces/{{namespace}}/gadgets");
    let kind = json!([{"group": GROUP, "version": VERSION, "kind": "Gadget"}]);
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Gadgets", "version": "v1"},
        "paths": {path: {"get": {
            "operationId": "listGadgets",
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": "list",
            "x-kubernetes-group-version-kind": {"group": GROUP, "version": VERSION, "kind": "Gadget"},
        }}},
        "components": {"schemas": {"com.example.things.v1.Gadget": {
            "type": "object",
            "description": "Gadget does nothing, reliably.",
            "properties": {
                "apiVersion": {"type": "string"},
                "kind": {"type": "string"},
                "metadata": {"type": "object"},
                "spec": {"type": "object", "description": "What the gadget is told."},
            },
            "x-kubernetes-group-version-kind": kind,
        }}},
    })
}
