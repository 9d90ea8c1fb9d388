//! The client of one webhook: its connections, its places, one exchange.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Uri, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::{client::legacy, rt::TokioTimer};
use knarr_auth::objects::Objects;
use tokio::{sync::Semaphore, time::timeout};

use crate::{
    Bounds, Error,
    config::{ClientConfig, Target},
    connect::{Connector, Refused},
    error,
    verify::{self, Trust},
};

/// Calls of one webhook that are under way at once; more of them wait, within their time.
const CALLS: usize = 100;
/// Connections that are kept for the next call, and for how long: client-go's.
const IDLE_CONNECTIONS: usize = 25;
const IDLE: Duration = Duration::from_secs(90);
pub(crate) const DEADLINE: &str = "context deadline exceeded";

/// Connections to one server.
pub(crate) type Http = legacy::Client<Connector, Full<Bytes>>;

pub struct Client {
    http: Http,
    /// Without the deadline.
    url: String,
    places: Semaphore,
}

/// Connections are tasks that the process watches.
#[derive(Clone)]
pub(crate) struct Executor;

impl<F> hyper::rt::Executor<F> for Executor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, connection: F) {
        knarr_tasks::spawn("a connection to a server outside", connection);
    }
}

impl Client {
    pub fn new(config: &ClientConfig, objects: Arc<dyn Objects>) -> Result<Client, Error> {
        let (host, port, url) = place(&config.target)?;
        let host: Arc<str> = host.into();
        let connector = Connector {
            target: Arc::new(config.target.clone()),
            tls: verify::client(&Trust::Bundle(config.ca_bundle.clone()), None)?,
            objects,
            name: host.clone(),
            host,
            port,
        };
        Ok(Client {
            http: http(connector),
            url,
            places: Semaphore::new(CALLS),
        })
    }

    pub async fn post(&self, review: Bytes, bounds: Bounds) -> Result<Bytes, Error> {
        let url = format!("{}?timeout={}s", self.url, seconds(bounds.time));
        let call = async {
            let _place = self.places.acquire().await.map_err(Error::config)?;
            self.exchange(&url, review, bounds.answer_bytes).await
        };
        match timeout(bounds.time, call).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable {
                method: "Post",
                url,
                why: DEADLINE.to_owned(),
            }),
        }
    }

    async fn exchange(&self, url: &str, review: Bytes, limit: usize) -> Result<Bytes, Error> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(url)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, */*")
            .header(header::USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(review))
            .map_err(Error::config)?;
        exchange(&self.http, request, limit).await
    }
}

/// A client whose connections are kept for the next call.
pub(crate) fn http(connector: Connector) -> Http {
    legacy::Client::builder(Executor)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_CONNECTIONS)
        .pool_timer(TokioTimer::new())
        .build(connector)
}

/// One request and its answer's body, of so many bytes at most.
pub(crate) async fn exchange(
    http: &Http,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<Bytes, Error> {
    let url = request.uri().to_string();
    let method = match *request.method() {
        Method::GET => "Get",
        _ => "Post",
    };
    let unreachable = |why: String| Error::Unreachable {
        method,
        url: url.clone(),
        why,
    };
    let response = http.request(request).await;
    let response = response.map_err(|error| unreachable(explain(&error)))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await;
    let body = body.map_err(|error| match error.is::<LengthLimitError>() {
        true => Error::Answer(format!("the answer is longer than {limit} bytes")),
        false => unreachable(error.to_string()),
    })?;
    match head.status.is_success() {
        true => Ok(body.to_bytes()),
        false => Err(error::of_status(
            head.status,
            &head.headers,
            &body.to_bytes(),
        )),
    }
}

/// As the server is told its deadline: whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    let more = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(more)
}

/// Host, port and URL of a server. Paths are cleaned as Go's `path.Join` does it.
pub(crate) fn place(target: &Target) -> Result<(String, u16, String), Error> {
    match target {
        Target::Service {
            namespace,
            name,
            port,
            path,
        } => {
            let host = format!("{name}.{namespace}.svc");
            let url = format!("https://{host}:{port}{}", clean(path));
            Ok((host, *port, url))
        }
        Target::Url(url) => {
            let uri: Uri = url
                .parse()
                .map_err(|why| Error::config(format!("Unparsable URL: {why}")))?;
            let (Some(host), Some("https")) = (uri.host(), uri.scheme_str()) else {
                return Err(Error::config("'https' is the only allowed URL scheme"));
            };
            let port = uri.port_u16().unwrap_or(443);
            let authority = uri.authority().map_or("", |authority| authority.as_str());
            let url = format!("https://{authority}{}", clean(uri.path()));
            // An IPv6 address stands in brackets there, and without here.
            let host = host.trim_start_matches('[').trim_end_matches(']');
            Ok((host.to_owned(), port, url))
        }
    }
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// Why there was no exchange: the cause at the bottom says it.
pub(crate) fn explain(error: &legacy::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        if let Some(refused) = source.downcast_ref::<Refused>() {
            return refused.to_string();
        }
        cause = source;
    }
    match cause.downcast_ref::<hyper::Error>() {
        Some(error) if error.is_incomplete_message() => "EOF".to_owned(),
        _ => cause.to_string(),
    }
}
