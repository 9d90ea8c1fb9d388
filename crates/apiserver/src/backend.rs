//! The way to pods, services and nodes: `pods/NAME/proxy/...` and likewise.
//!
//! A request is passed on to a pod's address with its method, body and headers but for credentials; an upgrade is spliced. What
//! the pod answers with is the client's: a pod's certificate is not verified, as upstream does not, since nobody could have
//! issued one that names it.

mod coding;
mod html;
mod location;
mod node;
mod rewrite;
mod target;
mod tls;

use std::{fmt, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::Full;
use knarr_meta::status::Status;
use tokio::{
    net::TcpStream,
    sync::{Semaphore, SemaphorePermit},
};
use tokio_util::sync::CancellationToken;

use self::rewrite::Rewriter;
use crate::{
    body::BoxError,
    kubelet::{Address, Kubelets},
    passing::{self, Sender},
    respond::{self, Answer},
    server::{incoming::Incoming, limits::Place},
};

pub use self::{
    location::Location,
    node::of_node,
    target::{Lookup, Target, of_pod, of_service},
};

const DIAL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest time for an answer's head: somebody waits at the other end, and may wait for long work.
const HEAD_TIMEOUT: Duration = Duration::from_secs(600);

const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Bodies that are held at once while they are passed on: each is as large as any request's may be.
const BODIES: usize = 64;
/// Longest that a body may take to come: its sender has a place all the time.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// When to try again where all places are taken.
const RETRY_AFTER_SECONDS: u32 = 1;

/// Who a request is passed on to.
pub enum Destination<'k> {
    /// A pod, or a node's port.
    Address(Target),
    /// A node's kubelet, to which this server has credentials.
    Kubelet(&'k Kubelets, Address),
}

impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Address(target) => target.fmt(f),
            Destination::Kubelet(_, address) => address.fmt(f),
        }
    }
}

/// Passes requests on.
pub struct Backends {
    /// Ends spliced streams at shutdown.
    stop: CancellationToken,
    /// Places of [`BODIES`].
    bodies: Semaphore,
}

/// A proxied request's body, and its place.
pub struct Held<'a> {
    pub bytes: Bytes,
    _place: Option<SemaphorePermit<'a>>,
}

impl Backends {
    pub fn new(stop: CancellationToken) -> Backends {
        Backends {
            stop,
            bodies: Semaphore::new(BODIES),
        }
    }

    /// Cancelled when the server stops: spliced streams end then.
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Reads a body that is to be passed on; its place is taken as long as the value lives.
    ///
    /// Errors: 429 where all places are taken, 504 where the body does not come in time, and those of reading.
    pub async fn hold(&self, body: &mut Incoming) -> Result<Held<'_>, Status> {
        if body.is_empty() {
            return Ok(Held {
                bytes: Bytes::new(),
                _place: None,
            });
        }
        let place = self.bodies.try_acquire().map_err(|_| {
            let why = "Too many proxied requests with a body, please try again later.";
            Status::too_many_requests(why, RETRY_AFTER_SECONDS)
        })?;
        let read = tokio::time::timeout(BODY_TIMEOUT, body.read()).await;
        let bytes = read.map_err(|_| Status::timeout("the request's body did not come", 0))??;
        Ok(Held {
            bytes,
            _place: Some(place),
        })
    }

    /// Passes a request on, body and upgrade included; `place` is taken until the answer or the stream has ended.
    pub async fn pass(
        &self,
        destination: &Destination<'_>,
        location: &Location<'_>,
        client: &mut Request<()>,
        body: Bytes,
        place: Place,
    ) -> Answer {
        let upgrade = passing::wants_upgrade(client)?;
        let reads = matches!(*client.method(), Method::GET | Method::HEAD);
        if !upgrade && reads && location.names_the_root() {
            return redirect(&location.with_slash());
        }
        let request = request(destination, location, client, body, upgrade)?;
        let sent = match destination {
            Destination::Address(target) => self.send(target, request).await,
            Destination::Kubelet(kubelets, address) => {
                kubelets.exchange(address, request, HEAD_TIMEOUT).await
            }
        };
        // In upstream's words.
        let mut response = sent.map_err(|why| {
            Status::service_unavailable(format!("error trying to reach service: {why}"))
        })?;
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let stop = self.stop.clone();
            return Ok(passing::spliced(client, response, place, stop));
        }
        let rewriter = Rewriter::new(location, destination.to_string(), client.headers());
        rewriter.location(&mut response)?;
        Ok(html::streamed(response, client.method(), rewriter, place))
    }

    async fn send(
        &self,
        target: &Target,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<hyper::body::Incoming>, String> {
        let failed = |why: &dyn fmt::Display| format!("dial tcp {target}: {why}");
        let mut sender = tokio::time::timeout(DIAL_TIMEOUT, self.dial(target))
            .await
            .map_err(|_| failed(&"i/o timeout"))?
            .map_err(|error| failed(&error))?;
        tokio::time::timeout(HEAD_TIMEOUT, sender.send_request(request))
            .await
            .map_err(|_| "timed out waiting for the response".to_owned())?
            .map_err(|error| error.to_string())
    }

    async fn dial(&self, target: &Target) -> Result<Sender, BoxError> {
        let tcp = TcpStream::connect(target.address).await?;
        tcp.set_nodelay(true)?;
        let stop = self.stop.clone();
        Ok(match target.tls {
            true => passing::handshake(tls::connect(target.address.ip(), tcp).await?, stop).await?,
            false => passing::handshake(tcp, stop).await?,
        })
    }
}

/// What the other side is asked.
fn request(
    destination: &Destination<'_>,
    location: &Location<'_>,
    client: &Request<()>,
    body: Bytes,
    upgrade: bool,
) -> Result<Request<Full<Bytes>>, Status> {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = client.method().clone();
    *request.uri_mut() = location
        .on_target()
        .parse::<Uri>()
        .map_err(|e| Status::bad_request(e.to_string()))?;
    let mut headers = passing::forwarded(client.headers(), upgrade)?;
    let value = |text: &str| HeaderValue::from_str(text).map_err(Status::internal);
    // HTTP/2 names the host in its own way.
    let host = match client.headers().get(header::HOST) {
        Some(host) => host.clone(),
        None => value(&destination.to_string())?,
    };
    headers.insert(FORWARDED_URI, value(&location.forwarded())?);
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
    headers.insert(header::HOST, host);
    *request.headers_mut() = headers;
    Ok(request)
}

/// A path without its last slash would make the page's relative links wrong.
fn redirect(to: &str) -> Answer {
    let mut answer = respond::text(StatusCode::MOVED_PERMANENTLY, "");
    let to = HeaderValue::from_str(to).map_err(Status::internal)?;
    answer.headers_mut().insert(header::LOCATION, to);
    Ok(answer)
}

#[cfg(test)]
mod tests;
