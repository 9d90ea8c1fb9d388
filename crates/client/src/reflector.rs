//! The list-and-watch loop that keeps one informer's cache equal to the server's state.
//!
//! List everything (in pages), watch from the list's revision, resume from the last revision seen when the watch ends. Where
//! the same request cannot succeed (the server has forgotten the revision, does not know it yet, or sends what cannot be
//! read), or does not for several times, list again. Failures back off with jitter.
//!
//! A server in the same process answers with its states instead of bytes; everything else about it is the same.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::header::{ACCEPT, HeaderValue};
use http_body_util::BodyExt;
use knarr_states::{self as states, Change, Form, Offer, Share};
use kube::api::{ListParams, WatchParams};
use kube::client::Body;
use kube::core::Status;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::errors;
use crate::informer::{Held, Informer, Object, Reader};
use crate::wire::{self, Lines, WatchEvent};

/// Objects asked for in one page of the initial list.
const PAGE_OBJECTS: u32 = 500;
/// Longest wait for a page of a list, or for a watch to be accepted.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);
/// A list gets this long, all of its pages together.
const LIST_TIMEOUT: Duration = Duration::from_secs(300);
/// Most bytes of a list, all of its pages together: it is held whole, and not every server that is asked is this one.
const LIST_BYTES: usize = 1 << 30;
/// A page or an event this large takes milliseconds to decode: not on the threads that answer requests.
const LARGE_BYTES: usize = 256 << 10;
/// A watch asks the server to end it after a random time in this range (client-go: 5 to 10 minutes).
const WATCH_SECONDS: std::ops::Range<u32> = 300..600;
/// How long after the promised end a silent connection is held for dead.
const WATCH_GRACE: Duration = Duration::from_secs(30);
const BACKOFF_MIN: Duration = Duration::from_millis(50);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A watch that lasted this long was healthy: the next failure starts from the smallest back-off.
const HEALTHY_AFTER: Duration = Duration::from_secs(10);
/// A watch that fails so often without having told anything is given up for a new list.
const WATCH_ATTEMPTS: u32 = 5;

/// What to list and watch.
#[derive(Clone, Debug)]
pub struct Source {
    /// The collection's path, such as `/api/v1/pods` or `/apis/apps/v1/namespaces/x/deployments`.
    pub path: String,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    /// Ask for `PartialObjectMetadata` instead of whole objects.
    pub metadata_only: bool,
}

impl Source {
    fn request(&self, request: http::Request<Vec<u8>>, list: bool) -> http::Request<Body> {
        let accept = match (self.metadata_only, list) {
            (false, _) => "application/json",
            (true, true) => "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            (true, false) => "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        };
        let mut request = request.map(Body::from);
        request
            .headers_mut()
            .insert(ACCEPT, HeaderValue::from_static(accept));
        request.extensions_mut().insert(Share);
        request
    }

    fn form(&self) -> Form {
        match self.metadata_only {
            true => Form::Metadata,
            false => Form::Whole,
        }
    }

    fn list_request(&self, continue_token: Option<String>) -> Result<http::Request<Body>, Failure> {
        let params = ListParams {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            limit: Some(PAGE_OBJECTS),
            continue_token,
            ..ListParams::default()
        };
        let request = kube::core::Request::new(&self.path)
            .list(&params)
            .map_err(Failure::transient)?;
        Ok(self.request(request, true))
    }

    fn watch_request(&self, revision: &str, seconds: u32) -> Result<http::Request<Body>, Failure> {
        let params = WatchParams {
            label_selector: self.label_selector.clone(),
            field_selector: self.field_selector.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            send_initial_events: false,
        };
        let request = kube::core::Request::new(&self.path)
            .watch(&params, revision)
            .map_err(Failure::transient)?;
        Ok(self.request(request, false))
    }
}

#[derive(Debug)]
enum Failure {
    /// The same request may succeed later.
    Transient(String),
    /// It will not: only a new list helps.
    Lasting(String),
}

impl Failure {
    fn transient(error: impl std::fmt::Display) -> Self {
        Self::Transient(error.to_string())
    }

    fn lasting(error: impl std::fmt::Display) -> Self {
        Self::Lasting(error.to_string())
    }

    fn api(error: kube::Error) -> Self {
        let message = errors::message(&error);
        match errors::status(&error) {
            Some(status) if !is_transient(status) => Self::Lasting(message),
            _ => Self::Transient(message),
        }
    }
}

/// The server is busy, or broken for now. (A revision that it does not know yet is a timeout too; it was another store's.)
fn is_transient(status: &Status) -> bool {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut causes = causes.map(|cause| cause.reason.as_str());
    (status.code == 429 || status.code >= 500)
        && !causes.any(|cause| cause == "ResourceVersionTooLarge")
}

struct Backoff(Duration);

impl Backoff {
    fn reset(&mut self) {
        self.0 = BACKOFF_MIN;
    }

    /// The next wait: doubled each time, spread over 100 to 200 % so that clients do not come back in step.
    fn next(&mut self) -> Duration {
        let wait = self.0.mul_f64(1.0 + fastrand::f64());
        self.0 = (self.0 * 2).min(BACKOFF_MAX);
        wait
    }
}

impl<T: Object> Informer<T> {
    /// Feeds the cache from the server until `token` is cancelled. To be run once, by whoever made the informer.
    pub async fn run(self, client: kube::Client, source: Source, token: CancellationToken) {
        run(self, client, source, token).await;
    }
}

async fn run<T: Object>(
    informer: Informer<T>,
    client: kube::Client,
    source: Source,
    token: CancellationToken,
) {
    let work = async {
        let mut backoff = Backoff(BACKOFF_MIN);
        let mut revision: Option<String> = None;
        let mut failed = 0;
        loop {
            let started = Instant::now();
            let before = revision.clone();
            let result = match &mut revision {
                Some(revision) => watch(&informer, &client, &source, revision).await,
                none => match list(&informer, &client, &source).await {
                    Ok(at) => {
                        *none = Some(at);
                        failed = 0;
                        continue;
                    }
                    Err(failure) => Err(failure),
                },
            };
            if started.elapsed() >= HEALTHY_AFTER {
                backoff.reset();
            }
            let wait = backoff.next();
            match result {
                Ok(()) => tracing::debug!(path = source.path, "watch ended, resuming"),
                Err(Failure::Lasting(error)) => {
                    tracing::info!(path = source.path, error, "listing again");
                    revision = None;
                }
                Err(Failure::Transient(error)) => {
                    tracing::warn!(path = source.path, error, retry_in = ?wait, "list or watch failed");
                    failed = if revision == before { failed + 1 } else { 1 };
                    if failed >= WATCH_ATTEMPTS {
                        revision = None;
                    }
                }
            }
            tokio::time::sleep(wait).await;
        }
    };
    token.run_until_cancelled(work).await;
}

async fn send(
    client: &kube::Client,
    request: http::Request<Body>,
) -> Result<http::Response<Body>, Failure> {
    let response = timeout(RESPONSE_TIMEOUT, client.send(request))
        .await
        .map_err(|_| Failure::transient("timed out waiting for a response"))?
        .map_err(Failure::api)?;
    if response.status().is_success() {
        return Ok(response);
    }
    let code = response.status().as_u16();
    let body = timeout(RESPONSE_TIMEOUT, response.into_body().collect_bytes())
        .await
        .map_err(|_| Failure::transient("timed out reading an error response"))?
        .map_err(Failure::transient)?;
    let status = serde_json::from_slice::<Status>(&body).unwrap_or_else(|_| {
        Status::failure(&String::from_utf8_lossy(&body), "Unknown").with_code(code)
    });
    Err(Failure::api(kube::Error::Api(status.boxed())))
}

/// What is left for the pages of a list: a server may name another page for ever.
struct Allowance {
    bytes: usize,
    until: Instant,
}

impl Allowance {
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        if Instant::now() > self.until {
            return Err(Failure::transient("the list does not end"));
        }
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| Failure::transient("the list is too large"))?;
        Ok(())
    }
}

/// Fills the cache; the revision to watch from.
async fn list<T: Object>(
    informer: &Informer<T>,
    client: &kube::Client,
    source: &Source,
) -> Result<String, Failure> {
    let mut items = Vec::new();
    let mut continue_token = None;
    let mut allowance = Allowance {
        bytes: LIST_BYTES,
        until: Instant::now() + LIST_TIMEOUT,
    };
    loop {
        let mut response = send(client, source.list_request(continue_token)?).await?;
        let page = match offer::<states::Page, _>(&mut response) {
            Some(page) => {
                allowance.take(0)?;
                shared_page(informer, source, page)
            }
            None => {
                let body: Bytes = timeout(RESPONSE_TIMEOUT, response.into_body().collect_bytes())
                    .await
                    .map_err(|_| Failure::transient("timed out reading a list"))?
                    .map_err(Failure::transient)?;
                allowance.take(body.len())?;
                decode(&body, wire::list::<T>).map_err(Failure::transient)?
            }
        };
        items.extend(page.items);
        continue_token = page.continue_token;
        if continue_token.is_none() {
            informer.hold_exactly(items);
            return Ok(page.revision);
        }
    }
}

/// What a server of this process answers with in place of bytes.
fn offer<T: Send + 'static, B>(response: &mut http::Response<B>) -> Option<T> {
    response.extensions_mut().remove::<Offer<T>>()?.take()
}

fn shared_page<T: Object>(
    informer: &Informer<T>,
    source: &Source,
    page: states::Page,
) -> wire::Page<T> {
    informer.read_as(Reader {
        recent: page.recent,
        form: source.form(),
    });
    wire::Page {
        revision: page.revision.to_string(),
        continue_token: page.continue_token,
        items: page.states.into_iter().map(Held::shared).collect(),
    }
}

fn decode<T>(bytes: &[u8], decoder: impl FnOnce(&[u8]) -> T) -> T {
    match bytes.len() >= LARGE_BYTES {
        true => knarr_tasks::heavy(|| decoder(bytes)),
        false => decoder(bytes),
    }
}

/// Follows the watch until the server ends it, keeping `revision` at what has been applied.
async fn watch<T: Object>(
    informer: &Informer<T>,
    client: &kube::Client,
    source: &Source,
    revision: &mut String,
) -> Result<(), Failure> {
    let seconds = fastrand::u32(WATCH_SECONDS);
    let deadline = Instant::now() + Duration::from_secs(seconds.into()) + WATCH_GRACE;
    let mut response = send(client, source.watch_request(revision, seconds)?).await?;
    if let Some(changes) = offer::<states::Changes, _>(&mut response) {
        informer.read_as(Reader {
            recent: changes.recent,
            form: source.form(),
        });
        return follow(informer, changes.events, deadline, revision).await;
    }
    let mut body = response.into_body();
    let mut lines = Lines::default();
    loop {
        let frame = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| outlived())?;
        let Some(frame) = frame else { return Ok(()) };
        let Ok(chunk) = frame.map_err(Failure::transient)?.into_data() else {
            continue;
        };
        lines
            .push(chunk)
            .map_err(|_| Failure::lasting("a watch event exceeds the size limit"))?;
        while let Some(line) = lines.next() {
            match decode(&line, wire::event::<T>).map_err(Failure::lasting)? {
                WatchEvent::Applied(object) => {
                    object.resource_version().clone_into(revision);
                    informer.hold(Held::own(object));
                }
                WatchEvent::Deleted(object) => {
                    object.resource_version().clone_into(revision);
                    informer.let_go(Held::own(object));
                }
                WatchEvent::Bookmark(at) => *revision = at,
                WatchEvent::Error(status) => return Err(Failure::api(kube::Error::Api(status))),
                WatchEvent::Skipped => {}
            }
        }
    }
}

fn outlived() -> Failure {
    Failure::transient("the watch outlived its timeout")
}

/// [`watch`] where the server's states are shared.
async fn follow<T: Object>(
    informer: &Informer<T>,
    mut events: BoxStream<'static, Vec<Change>>,
    deadline: Instant,
    revision: &mut String,
) -> Result<(), Failure> {
    loop {
        let changes = timeout_at(deadline, events.next())
            .await
            .map_err(|_| outlived())?;
        let Some(changes) = changes else {
            return Ok(());
        };
        for change in changes {
            match change {
                Change::Applied(state) => {
                    *revision = state.revision().to_string();
                    informer.hold(Held::shared(state));
                }
                Change::Deleted(last, at) => {
                    *revision = at.to_string();
                    informer.let_go(Held::shared(last));
                }
                Change::Bookmark(at) => *revision = at.to_string(),
                Change::Error(status) => {
                    let status = serde_json::from_slice::<Status>(&status);
                    let status = status.map_err(Failure::lasting)?;
                    return Err(Failure::api(kube::Error::Api(status.boxed())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
