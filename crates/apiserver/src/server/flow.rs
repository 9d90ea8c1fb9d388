//! What a request is to flow control: its schema, the seats it is reckoned to need, and how long it holds them.
//!
//! As upstream's `filters/priority-and-fairness.go`, but for this: a request is authorized and its body is there before it takes
//! seats, so that nobody holds any by sending slowly; one that is passed on to another server gives them back when it is handed
//! over, so that a server that hangs holds none. Requests of components of this process have places of their own
//! ([`Limits::enter_component`](super::limits::Limits::enter_component)), and streams (exec, logs, proxied requests) have theirs.

use std::{
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::Stream;
use http::{HeaderMap, HeaderName, Method, Response, Uri};
use knarr_api::Served;
use knarr_auth::{UserInfo, route::ApiRequest};
use knarr_fairness::{
    Classified, Description, Seat, Wanted, longest_wait,
    watches::Watching,
    work::{self, List, Work},
};
use knarr_meta::status::Status;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::limits;
use crate::{
    body::{Body, BoxError},
    core::Core,
};

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");
/// Longest that a watch holds the seats of its list: a client may read as slowly as it likes.
const LONGEST_START: Duration = Duration::from_secs(5);
/// An answer of as many bytes is on its way for long, and in memory meanwhile.
const LARGE_ANSWER_BYTES: u64 = 128 << 10;

/// The place of one request in flow control; empty for those that have none.
#[derive(Default)]
pub struct Flow {
    class: OnceLock<Classified>,
    taken: Mutex<Taken>,
}

/// What a request took, and when its time is over.
#[derive(Default)]
pub struct Taken {
    pub seat: Option<Seat>,
    pub place: Option<limits::Place>,
    pub until: Option<Instant>,
}

/// Who asks, and for what.
pub struct Asked<'r> {
    pub core: &'r Core,
    pub request: &'r ApiRequest<'r>,
    pub method: &'r Method,
    pub uri: &'r Uri,
    pub user: &'r Arc<UserInfo>,
}

impl Flow {
    /// Finds the request's schema.
    pub fn classify(&self, asked: &Asked<'_>) {
        let class = asked
            .core
            .fairness
            .classify(asked.user, &asked.request.info);
        if let Some(class) = class {
            let _first = self.class.set(class);
        }
    }

    /// Says in an answer which schema and level the request was of. Their names are nobody's business.
    pub fn tell(&self, headers: &mut HeaderMap) {
        if let Some(class) = self.class.get() {
            let (schema, level) = class.uids();
            headers.insert(LEVEL_UID, level.clone());
            headers.insert(SCHEMA_UID, schema.clone());
        }
    }

    /// Notes what the request took: it is kept until its answer is written, and that of a large answer until that is sent.
    pub fn keep(&self, seat: Option<Seat>, until: Instant) {
        // A component of this process has no seat, and reads its answers.
        if seat.is_some() {
            let mut taken = self.taken.lock();
            taken.seat = seat;
            taken.until = Some(until);
        }
    }

    /// As [`Flow::keep`], of the place among all requests.
    pub fn keep_place(&self, place: Option<limits::Place>) {
        self.taken.lock().place = place;
    }

    /// The answer, of `bytes` before it is compressed. Upstream's handlers write to the connection and so hold their seats as long.
    pub fn answer(&self, bytes: u64, response: Response<Body>) -> Response<Body> {
        let taken = std::mem::take(&mut *self.taken.lock());
        match taken.until {
            Some(until) if bytes >= LARGE_ANSWER_BYTES => {
                response.map(|body| body.held(Box::new(taken), until))
            }
            _ => response,
        }
    }

    /// Seats for a request whose deadline is that far away, once it is its turn; none where it needs none.
    ///
    /// # Errors
    /// 429.
    pub async fn seat(
        &self,
        asked: &Asked<'_>,
        served: Option<&Served>,
        deadline: Duration,
    ) -> Result<Option<Seat>, Status> {
        let Some(class) = self.class.get() else {
            return Ok(None);
        };
        let verb = asked.request.info.verb;
        let reads = matches!(verb, "get" | "list" | "watch" | "head");
        let wanted = Wanted {
            work: reckon(asked, served, class),
            mutating: !reads,
            watch: verb == "watch",
            wait: longest_wait(deadline),
            description: Description {
                user: asked.user.clone(),
                method: asked.method.clone(),
                uri: asked.uri.clone(),
            },
        };
        let entered = asked.core.fairness.enter(class, wanted).await;
        entered.map(Some).map_err(|refused| {
            let seconds = u32::try_from(refused.retry_after).unwrap_or(u32::MAX);
            limits::too_many_for(seconds)
        })
    }
}

/// The work that a request is, as far as that is known before it is done.
fn reckon(asked: &Asked<'_>, served: Option<&Served>, class: &Classified) -> Work {
    let info = &asked.request.info;
    match info.verb {
        _ if !info.is_resource => Work::ONE,
        "list" | "watch" => {
            let cache = &asked.core.registry.cache;
            let resource = served.and_then(|served| cache.of(&served.kind).ok());
            // What others serve is work for them.
            let Some(resource) = resource else {
                return Work::ONE;
            };
            list(asked, resource.extent()).work(class.most_seats())
        }
        "create" | "update" | "patch" | "delete" => {
            // A token is no event.
            if info.resource == "serviceaccounts" && info.subresource == "token" {
                return Work::ONE;
            }
            let watches = asked.core.watches.interested(info);
            class.watched(watches);
            work::of_write(watches, class.most_seats())
        }
        _ => Work::ONE,
    }
}

/// What a list or a watch asks for, of so many objects with so many bytes.
fn list(asked: &Asked<'_>, (objects, bytes): (usize, u64)) -> List {
    let (info, query) = (&asked.request.info, asked.request.query);
    let version = query.get("resourceVersion");
    let limit = query.get("limit").parse().unwrap_or(0);
    if info.verb == "watch" && !starts_with_objects(asked.request) {
        return List::default();
    }
    let old = !matches!(version, "" | "0");
    let exact = match query.get("resourceVersionMatch") {
        "Exact" => true,
        "" => limit > 0 && old,
        _ => false,
    };
    List {
        single: !info.name.is_empty(),
        limit,
        past: info.verb == "list" && (exact || !query.get("continue").is_empty()),
        selects: !query.get("labelSelector").is_empty() || !query.get("fieldSelector").is_empty(),
        objects: objects as u64,
        bytes,
    }
}

/// Whether a watch begins with what is there.
fn starts_with_objects(request: &ApiRequest<'_>) -> bool {
    let version = request.query.get("resourceVersion");
    request.query.flag("sendInitialEvents") || matches!(version, "" | "0")
}

/// The answer to a watch, which holds its seats until its client has what was there when it began, and counts as a watch to its end.
pub fn watching(asked: &Asked<'_>, seat: Option<Seat>, response: Response<Body>) -> Response<Body> {
    let Some(seat) = seat else {
        return response;
    };
    let watching = asked.core.watches.open(&asked.request.info);
    let seat = match starts_with_objects(asked.request) {
        true => Some(held(seat)),
        false => None,
    };
    response.map(|body| match body {
        Body::Stream(inner) => Body::stream(Watch {
            inner,
            seat,
            _watching: watching,
        }),
        other => other,
    })
}

/// A seat that is given back after a while in any case.
type Held = Arc<Mutex<Option<Seat>>>;

fn held(seat: Seat) -> Held {
    let held = Arc::new(Mutex::new(Some(seat)));
    let late = Arc::downgrade(&held);
    knarr_tasks::spawn("the start of a watch", async move {
        tokio::time::sleep(LONGEST_START).await;
        if let Some(held) = late.upgrade() {
            held.lock().take();
        }
    });
    held
}

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, BoxError>> + Send>>;

struct Watch {
    inner: Pieces,
    seat: Option<Held>,
    _watching: Option<Watching>,
}

impl Stream for Watch {
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.inner.as_mut().poll_next(context);
        // What was there when the watch began comes without a pause.
        if next.is_pending()
            && let Some(seat) = self.seat.take()
        {
            seat.lock().take();
        }
        next
    }
}
