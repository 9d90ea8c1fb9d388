//! Faults in front of an API server: the answers and the ends of connections that a client has to live with.
//!
//! A [`Faults`] makes clients of any server that is a tower service, the real one among them. It decides with a seeded
//! generator, so that a run can be repeated as far as the order of tasks is the same.

mod shared;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, stream};
use http::header::RETRY_AFTER;
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use knarr_states::{Changes, Offer};
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use tower::{BoxError, Service, ServiceExt};

use crate::wire::Lines;

/// Longest delay of a request and of a watch's event.
const DELAY_MAX: Duration = Duration::from_secs(3);

/// Requests within a second of (paused) time. More of them are a loop that nothing slows down: it would never let time pass, and a
/// test would run for ever.
const MOST_A_SECOND: usize = 10_000;
/// How many of the last requests are told then.
const TOLD: usize = 30;

type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;

/// How likely each fault is, in thousandths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// A request takes its time.
    pub slow: u16,
    /// A change of an object is answered with 409 and not made.
    pub conflict: u16,
    /// Told to come back in a second; not made.
    pub too_many: u16,
    /// 500, not made.
    pub internal: u16,
    /// Made, and the connection breaks before the answer.
    pub lost: u16,
    /// Made, and there is never an answer.
    pub hung: u16,
    /// A watch's event comes twice.
    pub repeat: u16,
    /// A watch's event, and all behind it, are held up.
    pub delay: u16,
    /// The connection of a watch ends.
    pub cut: u16,
    /// A watch is told that its revision is gone: what happens until the next list is never seen.
    pub expire: u16,
}

impl Rates {
    /// Bad enough that most reconciliations meet a fault.
    pub const BAD: Rates = Rates {
        slow: 100,
        conflict: 40,
        too_many: 30,
        internal: 40,
        lost: 40,
        hung: 2,
        repeat: 60,
        delay: 60,
        cut: 20,
        expire: 10,
    };
}

/// Requests of the current second.
struct Pace {
    since: Instant,
    count: usize,
    last: VecDeque<String>,
}

impl Pace {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            count: 0,
            last: VecDeque::with_capacity(TOLD),
        }
    }

    fn count(&mut self, method: &Method, uri: &http::Uri) {
        if self.since.elapsed() > Duration::from_secs(1) {
            (self.since, self.count) = (Instant::now(), 0);
        }
        self.count += 1;
        if self.last.len() == TOLD {
            self.last.pop_front();
        }
        self.last.push_back(format!("{method} {uri}"));
        let last = || self.last.iter().map(String::as_str).collect::<Vec<_>>();
        assert!(
            self.count <= MOST_A_SECOND,
            "a loop that nothing slows down: {:#?}",
            last()
        );
    }
}

struct State {
    rates: Rates,
    pace: Pace,
    random: fastrand::Rng,
    injected: u64,
    /// Requests that would change something, by method and path.
    writes: BTreeMap<String, u64>,
}

impl State {
    fn roll(&mut self, rate: u16) -> bool {
        let hit = self.random.u16(..1000) < rate;
        self.injected += u64::from(hit);
        hit
    }

    fn delay(&mut self) -> Duration {
        DELAY_MAX.mul_f64(self.random.f64())
    }
}

/// What happens to an event of a watch.
enum EventFate {
    Cut,
    Expired,
    Delivered {
        repeated: bool,
        delay: Option<Duration>,
    },
}

/// What a watch is told whose revision is gone.
fn expired() -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
        "reason": "Expired", "message": "too old resource version: a fault",
    })
}

/// What happens to a request.
enum Fate {
    Served,
    Refused(u16, &'static str, &'static str),
    Lost,
    Hung,
}

/// Faults of all clients made by it. Clones share them.
#[derive(Clone)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

impl Faults {
    pub fn new(seed: u64, rates: Rates) -> Self {
        let state = State {
            rates,
            pace: Pace::new(),
            random: fastrand::Rng::with_seed(seed),
            injected: 0,
            writes: BTreeMap::new(),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// From now on.
    pub fn set(&self, rates: Rates) {
        self.state.lock().rates = rates;
    }

    /// How many faults there were: a test that met none has shown nothing.
    pub fn injected(&self) -> u64 {
        self.state.lock().injected
    }

    /// How many requests there were so far that would change something, by method and path.
    pub fn writes(&self) -> BTreeMap<String, u64> {
        self.state.lock().writes.clone()
    }

    /// A service that serves what `service` does, with faults.
    pub fn in_front_of<S>(&self, service: S) -> Faulty<S> {
        Faulty {
            service,
            faults: self.clone(),
        }
    }

    fn event_fate(&self) -> EventFate {
        let mut state = self.state.lock();
        let rates = state.rates;
        if state.roll(rates.cut) {
            return EventFate::Cut;
        }
        if state.roll(rates.expire) {
            return EventFate::Expired;
        }
        EventFate::Delivered {
            repeated: state.roll(rates.repeat),
            delay: state.roll(rates.delay).then(|| state.delay()),
        }
    }

    fn fate(&self, method: &Method, uri: &http::Uri) -> (Option<Duration>, Fate) {
        let mut state = self.state.lock();
        state.pace.count(method, uri);
        if method != Method::GET {
            let write = format!("{method} {}", uri.path());
            *state.writes.entry(write).or_default() += 1;
        }
        let rates = state.rates;
        let delay = state.roll(rates.slow).then(|| state.delay());
        let creates = method == Method::POST && !uri.path().ends_with("/binding");
        let changes = method != Method::GET && !creates;
        let fate = if state.roll(rates.too_many) {
            Fate::Refused(
                429,
                "TooManyRequests",
                "too many requests, please try again later",
            )
        } else if state.roll(rates.internal) {
            Fate::Refused(500, "InternalError", "Internal error occurred: a fault")
        } else if changes && state.roll(rates.conflict) {
            Fate::Refused(409, "Conflict", "Operation cannot be fulfilled: a fault")
        } else if state.roll(rates.lost) {
            Fate::Lost
        } else if state.roll(rates.hung) {
            Fate::Hung
        } else {
            Fate::Served
        };
        (delay, fate)
    }
}

/// See [`Faults::in_front_of`].
#[derive(Clone)]
pub struct Faulty<S> {
    service: S,
    faults: Faults,
}

impl<S, B> Service<Request<Body>> for Faulty<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Into<BoxError>,
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Faulty { service, faults } = self.clone();
        async move {
            let (delay, fate) = faults.fate(request.method(), request.uri());
            let query = request.uri().query().unwrap_or_default();
            let watches = query.split('&').any(|pair| pair == "watch=true");
            if let Some(delay) = delay {
                sleep(delay).await;
            }
            if let Fate::Refused(code, reason, message) = fate {
                return Ok(refusal(code, reason, message));
            }
            let response = service.oneshot(request).await.map_err(Into::into)?;
            match fate {
                Fate::Lost => Err("connection reset by a fault".into()),
                Fate::Hung => std::future::pending().await,
                _ if watches && response.status().is_success() => {
                    let (mut parts, body) = response.into_parts();
                    let offer = parts.extensions.remove::<Offer<Changes>>();
                    if let Some(changes) = offer.and_then(|offer| offer.take()) {
                        let changes = shared::disturbed(faults.clone(), changes);
                        parts.extensions.insert(Offer::new(changes));
                    }
                    Ok(Response::from_parts(parts, disturbed(faults, body)))
                }
                _ => Ok(response.map(|body| body.map_err(Into::into).boxed_unsync())),
            }
        }
        .boxed()
    }
}

fn refusal(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "code": code, "reason": reason, "message": message,
    });
    let mut response = Response::builder()
        .status(code)
        .header("content-type", "application/json");
    if code == 429 {
        response = response.header(RETRY_AFTER, "1");
    }
    let body = Full::new(Bytes::from(status.to_string()));
    response
        .body(body.map_err(|never| match never {}).boxed_unsync())
        .expect("a response")
}

/// The events of a watch on their way to the client.
struct Disturbed<B> {
    faults: Faults,
    body: B,
    lines: Lines,
    /// To be sent before anything else.
    next: VecDeque<Bytes>,
    ended: bool,
}

impl<B> Disturbed<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    async fn line(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.lines.next() {
                return Some(line);
            }
            // A connection that breaks is one that ends.
            let frame = self.body.frame().await?.ok()?;
            if let Ok(chunk) = frame.into_data() {
                self.lines.push(chunk).ok()?;
            }
        }
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(chunk) = self.next.pop_front() {
            return Some(chunk);
        }
        if self.ended {
            return None;
        }
        let line = self.line().await?;
        let mut chunk = line.to_vec();
        chunk.push(b'\n');
        let chunk = Bytes::from(chunk);
        match self.faults.event_fate() {
            EventFate::Cut => return None,
            EventFate::Expired => {
                self.ended = true;
                let event = json!({"type": "ERROR", "object": expired()});
                return Some(Bytes::from(format!("{event}\n")));
            }
            EventFate::Delivered { repeated, delay } => {
                if repeated {
                    self.next.push_back(chunk.clone());
                }
                if let Some(delay) = delay {
                    sleep(delay).await;
                }
            }
        }
        Some(chunk)
    }
}

fn disturbed<B>(faults: Faults, body: B) -> UnsyncBoxBody<Bytes, BoxError>
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let events = Disturbed {
        faults,
        body,
        lines: Lines::default(),
        next: VecDeque::new(),
        ended: false,
    };
    let frames = stream::unfold(events, |mut events| async move {
        let chunk = events.next().await?;
        Some((Ok::<_, BoxError>(http_body::Frame::data(chunk)), events))
    });
    StreamBody::new(frames).boxed_unsync()
}
