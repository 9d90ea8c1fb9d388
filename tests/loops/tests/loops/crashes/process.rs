//! One process of controllers, as the server sees it: its requests end where it is killed, and it is told what an API server may tell it
//! on a bad day.
//!
//! A process that is killed sends nothing any more and hears of nothing. What an informer is told is what some API server tells: a list
//! of an older state (a server whose cache is behind answers with it, and the watch that follows brings the rest late), events that come
//! late, or none for a while and then the news that the revision is gone, so that what was meanwhile is never seen.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use futures::{FutureExt, TryFutureExt};
use http::{Method, Request, Uri};
use knarr_apiserver::LocalService;
use knarr_auth::UserInfo;
use knarr_client::Clients;
use knarr_client::throttle::Throttle;
use knarr_states::{Change, Changes, Offer, Share};
use kube::Client;
use kube::client::Body;
use parking_lot::Mutex;
use serde_json::json;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tower::{BoxError, Service, ServiceExt};

/// How long a process that started anew reads what was, and a watch is late.
const LATE: Duration = Duration::from_secs(30);
/// How long a watch tells nothing before it says that its revision is gone.
const SILENCE: Duration = Duration::from_secs(20);

type Answer = <LocalService as Service<Request<Body>>>::Response;

/// What goes wrong in a run, once. Writes and events are counted from one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The process is killed before this write reaches the server.
    Before(usize),
    /// It is killed when this write is committed and not answered yet.
    After(usize),
    /// As after; then its successor first reads the state that was before the write.
    Stale(usize),
    /// The watch of this event is late from it on.
    Late(usize),
    /// This event and what follows it on its watch is never told.
    Swallowed(usize),
}

/// What there was in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// That would change something.
    pub writes: usize,
    /// Of objects that changed after an informer's list.
    pub events: usize,
    pub crashes: usize,
    /// Lists of a state that was, and events that came late.
    pub stale: usize,
    pub swallowed: usize,
}

/// What all processes of a run share.
pub struct Script {
    pub fault: Fault,
    /// Whether a controller writes nothing but events of people: then these are its writes.
    pub tells_only: bool,
    pub counts: Mutex<Counts>,
    /// Where the next process begins to read.
    rewind: Mutex<Option<u64>>,
}

impl Script {
    pub fn new(fault: Fault, tells_only: bool) -> Arc<Self> {
        Arc::new(Self {
            fault,
            tells_only,
            counts: Mutex::default(),
            rewind: Mutex::default(),
        })
    }

    /// The number of a write; `None` where it is none that counts.
    fn write(&self, method: &Method, uri: &Uri) -> Option<usize> {
        let tells = uri.path().ends_with("/events") || uri.path().contains("/events/");
        if method == Method::GET || tells != self.tells_only {
            return None;
        }
        let mut counts = self.counts.lock();
        counts.writes += 1;
        Some(counts.writes)
    }
}

/// A state that was, and until when it is what is read.
#[derive(Clone, Copy)]
struct Past {
    revision: u64,
    until: Instant,
}

#[derive(Clone)]
pub struct Process {
    service: LocalService,
    script: Arc<Script>,
    past: Option<Past>,
    pub token: CancellationToken,
}

impl Process {
    pub fn new(service: LocalService, script: Arc<Script>, token: CancellationToken) -> Self {
        let rewind = script.rewind.lock().take();
        Self {
            past: rewind.map(|revision| Past {
                revision,
                until: Instant::now() + LATE,
            }),
            service,
            script,
            token,
        }
    }

    /// Nothing that the process does is heard of any more.
    async fn dies(&self) -> ! {
        self.script.counts.lock().crashes += 1;
        self.token.cancel();
        std::future::pending().await
    }

    fn past(&self) -> Option<Past> {
        self.past.filter(|past| Instant::now() < past.until)
    }

    /// The store's revision.
    async fn revision(&self) -> u64 {
        let admin = UserInfo {
            name: "admin".to_owned(),
            groups: vec!["system:masters".to_owned()],
            ..UserInfo::default()
        };
        let client = Client::new(self.service.with_user(admin), "default");
        let request = Request::get("/api/v1/namespaces?limit=1").body(Vec::new());
        let list: serde_json::Value = client
            .request(request.expect("a request"))
            .await
            .expect("a list");
        let revision = list["metadata"]["resourceVersion"].as_str();
        revision.expect("a revision").parse().expect("a number")
    }

    async fn answer(
        self,
        mut request: Request<Body>,
        service: LocalService,
    ) -> Result<Answer, BoxError> {
        if self.token.is_cancelled() {
            std::future::pending::<()>().await;
        }
        let shared = request.extensions().get::<Share>().is_some();
        let query = request.uri().query().unwrap_or_default();
        let watches = query.split('&').any(|pair| pair == "watch=true");
        if shared
            && !watches
            && let Some(past) = self.past()
        {
            *request.uri_mut() = at(request.uri(), past.revision);
        }
        let write = self.script.write(request.method(), request.uri());
        let fault = self.script.fault;
        let this = |number: usize| write == Some(number);
        if let Fault::Before(number) = fault
            && this(number)
        {
            self.dies().await;
        }
        let kills = matches!(fault, Fault::After(number) | Fault::Stale(number) if this(number));
        if kills && matches!(fault, Fault::Stale(_)) {
            let before = self.revision().await;
            *self.script.rewind.lock() = Some(before);
        }
        let mut response = service.oneshot(request).map_err(BoxError::from).await?;
        if kills {
            self.dies().await;
        }
        if shared && watches && response.status().is_success() {
            let offer = response.extensions_mut().remove::<Offer<Changes>>();
            let changes = offer.and_then(|offer| offer.take());
            let changes = changes.expect("a server of this process shares");
            response
                .extensions_mut()
                .insert(Offer::new(self.told(changes)));
        }
        Ok(response)
    }

    /// A watch's events as this process is told them.
    fn told(self, changes: Changes) -> Changes {
        let watch = Watch {
            late: self.past(),
            process: self,
            events: changes.events,
            silent: None,
            ended: false,
        };
        let events = stream::unfold(watch, |mut watch| async move {
            let told = watch.next().await?;
            Some((told, watch))
        });
        Changes {
            events: events.boxed(),
            recent: changes.recent,
        }
    }
}

/// A list as it was at a revision; the pages that follow the first say it themselves.
fn at(uri: &Uri, revision: u64) -> Uri {
    let query = uri.query().unwrap_or_default();
    if query.contains("continue=") {
        return uri.clone();
    }
    let exact = format!("resourceVersion={revision}&resourceVersionMatch=Exact");
    let text = format!("{}?{query}&{exact}", uri.path());
    text.parse().expect("a path and a query")
}

struct Watch {
    process: Process,
    events: BoxStream<'static, Vec<Change>>,
    late: Option<Past>,
    silent: Option<Instant>,
    ended: bool,
}

impl Watch {
    async fn next(&mut self) -> Option<Vec<Change>> {
        if self.ended {
            return None;
        }
        let mut told = match self.silent {
            Some(until) => return Some(self.stays_silent(until).await),
            None => self.events.next().await?,
        };
        let script = self.process.script.clone();
        let mut late = 0;
        let is_object =
            |change: &Change| matches!(change, Change::Applied(_) | Change::Deleted(..));
        for place in 0..told.len() {
            if !is_object(&told[place]) {
                continue;
            }
            let number = {
                let mut counts = script.counts.lock();
                counts.events += 1;
                counts.events
            };
            if script.fault == Fault::Late(number) {
                let until = Instant::now() + LATE;
                self.late = Some(Past { revision: 0, until });
            }
            if script.fault == Fault::Swallowed(number) {
                script.counts.lock().swallowed += 1;
                self.silent = Some(Instant::now() + SILENCE);
                told.truncate(place);
                return Some(told);
            }
            late += usize::from(self.late.is_some());
        }
        if let Some(past) = self.late {
            // The list that it follows was of a state that was, too.
            let list = usize::from(past.revision > 0);
            if Instant::now() < past.until {
                script.counts.lock().stale += late + if late > 0 { list } else { 0 };
                sleep_until(past.until).await;
            }
            self.late = None;
        }
        Some(told)
    }

    async fn stays_silent(&mut self, until: Instant) -> Vec<Change> {
        sleep_until(until).await;
        self.ended = true;
        let expired = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410,
            "reason": "Expired", "message": "too old resource version",
        });
        vec![Change::Error(expired.to_string().into())]
    }
}

impl Clients for Process {
    fn as_user(&self, name: &str, groups: &[&str]) -> Client {
        let user = UserInfo {
            name: name.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..UserInfo::default()
        };
        let service = Requests {
            service: self.service.with_user(user),
            process: self.clone(),
        };
        Client::new(Throttle::new(service), "default")
    }
}

/// The requests of a user.
#[derive(Clone)]
struct Requests {
    service: LocalService,
    process: Process,
}

impl Service<Request<Body>> for Requests {
    type Response = Answer;
    type Error = BoxError;
    type Future = BoxFuture<'static, Result<Answer, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Requests { service, process } = self.clone();
        process.answer(request, service).boxed()
    }
}
