//! What a client does when the server tells it to wait: it waits, and sends less at once from then on.
//!
//! A server under load answers 429 (or 5xx) with `Retry-After`. [`Throttle`] waits for that time and sends the request again, as
//! client-go does, so that no caller has to. A thousand callers that wait for the same second would come back as one burst,
//! though: so the number of requests that are sent at once is halved each time the server asks to wait, and grows again by
//! one with each window of requests that went well, as TCP does.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use http::header::RETRY_AFTER;
use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tower::{BoxError, Service, ServiceExt, service_fn};

use crate::requests::Requests;

/// How often a request is sent again (client-go's `maxRetries`).
const RETRIES: usize = 10;
/// Longest time a server is believed to need.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Waits are stretched by up to this share, so that those who wait do not come back together.
const WAIT_JITTER: f64 = 0.5;
/// Requests of one client that are sent at once while the server never asked to wait.
/// Below what the API server takes of all clients together.
const WINDOW_MAX: f64 = 128.0;
/// Longest wait for the head of an answer: the server gives up after 60 s (upstream's `--request-timeout`) and says so. Callers
/// that wait for ever would do nothing else any more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);
/// A few, so that one request that is answered late holds up no others.
const WINDOW_MIN: f64 = 4.0;

/// A client of the server that `config` names, over a connection of its own.
///
/// # Errors
/// Where the configuration cannot be used.
pub fn client(mut config: kube::Config) -> kube::Result<kube::Client> {
    // Kube's own retries wait as long as they see fit, whatever the server asks for.
    config.default_retry = false;
    let namespace = config.default_namespace.clone();
    let connection = kube::Client::try_from(config)?;
    let send = service_fn(move |request| {
        let connection = connection.clone();
        async move { connection.send(request).await }
    });
    Ok(Throttle::new(send).client(&namespace))
}

/// How many requests may be on their way.
#[derive(Debug)]
struct Window {
    size: f64,
    under_way: usize,
    /// Answers to what was sent before this tell of the window as it was then.
    shrunk: Option<Instant>,
}

/// A service that honours `Retry-After` and waits for no answer for ever. Clones share the window.
#[derive(Clone, Debug)]
pub struct Throttle<S> {
    inner: S,
    window: Arc<Mutex<Window>>,
    freed: Arc<Notify>,
    requests: Arc<Requests>,
}

impl<S> Throttle<S> {
    pub fn new(inner: S) -> Self {
        let window = Window {
            size: WINDOW_MAX,
            under_way: 0,
            shrunk: None,
        };
        Self {
            inner,
            window: Arc::new(Mutex::new(window)),
            freed: Arc::new(Notify::new()),
            requests: Arc::default(),
        }
    }

    /// Where requests are counted, each try of one that is sent again.
    #[must_use]
    pub fn requests(&self) -> Arc<Requests> {
        self.requests.clone()
    }

    /// A client that sends its requests this way; `namespace` is where those go that name none.
    ///
    /// The parts of the program make their clients here and by [`client`] only, so that there is none that does not wait.
    pub fn client<B>(self, namespace: &str) -> kube::Client
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        S::Future: Send,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        kube::Client::new(self, namespace)
    }

    /// Waits for a place in the window.
    async fn place(&self) -> Place {
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            {
                let mut window = self.window.lock();
                if (window.under_way as f64) < window.size.floor() {
                    window.under_way += 1;
                    return Place {
                        window: self.window.clone(),
                        freed: self.freed.clone(),
                        sent: Instant::now(),
                    };
                }
            }
            freed.await;
        }
    }
}

/// A request on its way; its place is given back, to one who waits, when it is dropped.
struct Place {
    window: Arc<Mutex<Window>>,
    freed: Arc<Notify>,
    sent: Instant,
}

impl Place {
    fn went_well(&self) {
        let mut window = self.window.lock();
        let before = window.size;
        window.size = (before + 1.0 / before).min(WINDOW_MAX);
        if window.size.floor() > before.floor() {
            self.freed.notify_one();
        }
    }

    /// The requests of one burst are all refused: they say it once.
    fn refused(&self) {
        let mut window = self.window.lock();
        if window.shrunk.is_none_or(|at| at < self.sent) {
            // From what was sent, if the window was wider than that.
            let sent = window.size.min(window.under_way as f64);
            window.size = (sent / 2.0).max(WINDOW_MIN);
            window.shrunk = Some(Instant::now());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.window.lock().under_way -= 1;
        self.freed.notify_one();
    }
}

/// For how long the server asks to wait.
fn retry_after<B>(response: &Response<B>) -> Option<Duration> {
    let status = response.status();
    if status.as_u16() != 429 && !status.is_server_error() {
        return None;
    }
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?;
    let wait = Duration::from_secs(seconds.trim().parse().ok()?);
    Some(wait.min(WAIT_MAX))
}

impl<S, B> Service<Request<Body>> for Throttle<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        // Each request waits for its place, and for the service, when it is called.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect_bytes().await?;
            let mut retries = 0;
            loop {
                let request = Request::from_parts(parts.clone(), Body::from(body.clone()));
                let place = this.place().await;
                let answer = timeout(ANSWER_TIMEOUT, this.inner.clone().oneshot(request));
                let answer = answer
                    .await
                    .map(|answer| answer.map_err(Into::<BoxError>::into));
                let code = match &answer {
                    Ok(Ok(response)) => Some(response.status()),
                    _ => None,
                };
                this.requests.count(&parts.method, code);
                let Ok(response) = answer else {
                    let (method, path) = (parts.method, parts.uri.path());
                    let text = format!("no answer to {method} {path} within {ANSWER_TIMEOUT:?}");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text).into());
                };
                let response = response?;
                let Some(wait) = retry_after(&response) else {
                    place.went_well();
                    return Ok(response);
                };
                place.refused();
                drop(place);
                if retries == RETRIES {
                    return Ok(response);
                }
                retries += 1;
                tracing::debug!(uri = %parts.uri, ?wait, retries, "told to wait");
                sleep(wait.mul_f64(1.0 + WAIT_JITTER * fastrand::f64())).await;
            }
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
