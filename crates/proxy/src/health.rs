//! The servers that load balancers ask which nodes to send a service's clients to.
//!
//! A service that keeps its clients' addresses is served by this node's own pods only, so a load balancer outside must know
//! whether there are any. Each such service has a port of its own for that (`healthCheckNodePort`), on which every request is
//! answered alike: 200 while a ready endpoint is here, 503 while there is none.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use knarr_nft::Family;
use knarr_tasks::accept;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

use crate::model::{Health, ServiceKey};

/// Connections a service at once; more wait.
const CONNECTIONS_AT_ONCE: usize = 64;
/// A load balancer that has said nothing for this long has gone.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last, whatever is said on it.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// First pause before a port is tried again that somebody else has; doubled up to [`LISTEN_PAUSE_MAX`].
const LISTEN_PAUSE: Duration = Duration::from_millis(100);
const LISTEN_PAUSE_MAX: Duration = Duration::from_secs(30);

/// The servers of all services.
pub struct HealthServers {
    /// Any address of the node.
    listen: IpAddr,
    servers: HashMap<ServiceKey, HealthServer>,
    /// Rules are in place: without, no endpoint can be reached through this node.
    in_place: Arc<AtomicBool>,
    token: CancellationToken,
    tracker: TaskTracker,
}

struct HealthServer {
    port: u16,
    state: Arc<State>,
    token: CancellationToken,
}

/// What the answers are made from.
struct State {
    key: ServiceKey,
    local_endpoints: AtomicUsize,
    in_place: Arc<AtomicBool>,
}

impl HealthServers {
    /// Those of services of these families. They stop when `token` is cancelled.
    pub fn new(families: impl IntoIterator<Item = Family>, token: CancellationToken) -> Self {
        let has_ipv6 = families.into_iter().any(|family| family == Family::Ip6);
        Self {
            // That of IPv6 is for both families.
            listen: match has_ipv6 {
                true => Ipv6Addr::UNSPECIFIED.into(),
                false => Ipv4Addr::UNSPECIFIED.into(),
            },
            servers: HashMap::new(),
            in_place: Arc::default(),
            token,
            tracker: TaskTracker::new(),
        }
    }

    /// Whether the node's rules are what they should be.
    pub fn set_in_place(&self, in_place: bool) {
        self.in_place.store(in_place, Ordering::Relaxed);
    }

    /// Starts, changes or stops a service's server.
    pub fn set(&mut self, key: &ServiceKey, wanted: Option<Health>) {
        if let Some(server) = self.servers.get(key) {
            if let Some(health) = wanted.filter(|health| health.port == server.port) {
                let count = &server.state.local_endpoints;
                count.store(health.local_endpoints, Ordering::Relaxed);
                return;
            }
            server.token.cancel();
            self.servers.remove(key);
        }
        let Some(health) = wanted else { return };
        let server = HealthServer {
            port: health.port,
            state: Arc::new(State {
                key: key.clone(),
                local_endpoints: AtomicUsize::new(health.local_endpoints),
                in_place: self.in_place.clone(),
            }),
            token: self.token.child_token(),
        };
        let address = SocketAddr::new(self.listen, server.port);
        let work = serve(address, server.state.clone(), server.token.clone());
        self.tracker.spawn(work);
        self.servers.insert(key.clone(), server);
    }

    /// Waits until all of them have stopped, once their token was cancelled.
    pub async fn stopped(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}

/// Answers until `token` is cancelled; so do its connections.
async fn serve(address: SocketAddr, state: Arc<State>, token: CancellationToken) {
    let tracker = TaskTracker::new();
    let permits = Arc::new(Semaphore::new(CONNECTIONS_AT_ONCE));
    let accept = async {
        let listener = listen(address, &state.key).await;
        loop {
            // The semaphore is never closed.
            let permit = permits.clone().acquire_owned().await.ok();
            let (stream, _) = accept("a health check", || listener.accept()).await;
            let (state, token) = (state.clone(), token.clone());
            tracker.spawn(async move {
                let _permit = permit;
                token.run_until_cancelled(connection(stream, state)).await;
            });
        }
    };
    token.run_until_cancelled(accept).await;
    tracker.close();
    tracker.wait().await;
}

/// Takes the port, sooner or later.
async fn listen(address: SocketAddr, key: &ServiceKey) -> TcpListener {
    let mut pause = LISTEN_PAUSE;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => {
                warn!(%error, service = %key, %address, "cannot listen for health checks yet");
                sleep(pause).await;
                pause = (pause * 2).min(LISTEN_PAUSE_MAX);
            }
        }
    }
}

async fn connection(stream: TcpStream, state: Arc<State>) {
    let service = service_fn(|_| {
        let answer = answer(&state);
        async { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIMEOUT, connection).await {
        Ok(Ok(())) | Err(_) => {}
        Ok(Err(error)) => debug!(%error, service = %state.key, "a health check broke off"),
    }
}

/// Upstream's answer: header fields, members of the body and their order are what load balancers know.
fn answer(state: &State) -> Response<Full<Bytes>> {
    let count = state.local_endpoints.load(Ordering::Relaxed);
    let in_place = state.in_place.load(Ordering::Relaxed);
    let ServiceKey { namespace, name } = &state.key;
    let body = format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": {in_place}\n}}"
    );
    let mut response = Response::new(Full::from(body));
    if count == 0 || !in_place {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    let headers = response.headers_mut();
    let fixed = http::HeaderValue::from_static;
    headers.insert(header::CONTENT_TYPE, fixed("application/json"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert("x-load-balancing-endpoint-weight", count.into());
    response
}

#[cfg(test)]
mod tests;
