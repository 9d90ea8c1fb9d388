//! The chain every request passes: parse, authenticate, impersonate, authorize, limit, dispatch, answer.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use base64::Engine;
use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header, request::Parts};
use http_body_util::{BodyExt, Limited, combinators::UnsyncBoxBody};
use knarr_api::kind::Verb;
use knarr_meta::{field, status::Status};

use super::pages;
use crate::{
    authn, authz,
    body::Body,
    core::Core,
    kubelet::Stream,
    negotiate::{Shapes, negotiate},
    query::Query,
    request::{Credentials, Operation, RequestInfo, UserInfo},
    respond::{self, Answer},
    rest::{
        self, BODY_BYTES,
        ask::{Ask, Warnings, header as header_text},
        modify::write_of,
    },
    route::{self, Served},
    write::Phase,
};

/// A request that is not long-running gets this long, as upstream.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// Warnings beyond this many bytes are left out of an answer, as upstream.
const WARNING_BYTES: usize = 4 << 10;

/// The body of a request, from the network or from this process.
pub enum Incoming {
    Wire(hyper::body::Incoming),
    Local(UnsyncBoxBody<Bytes, std::io::Error>),
}

/// Who is at the other end.
pub enum Peer {
    /// A connection, with the client certificate TLS verified.
    Connection {
        certificate: Option<Vec<u8>>,
        /// Whose certificate it is, found at the first request.
        user: OnceLock<Arc<UserInfo>>,
    },
    /// A component of this process.
    Local(Arc<UserInfo>),
}

impl Peer {
    pub fn connection(certificate: Option<Vec<u8>>) -> Peer {
        Peer::Connection {
            certificate,
            user: OnceLock::new(),
        }
    }
}

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache, private");

/// Answers a request. Never fails and never panics: every error is a Status.
pub async fn handle(core: &Arc<Core>, request: Request<Incoming>, peer: &Peer) -> Response<Body> {
    let started = Instant::now();
    let (mut parts, body) = request.into_parts();
    let uri = parts.uri.clone();
    let path = route::decode_path(uri.path());
    let query = Query::parse(uri.query().unwrap_or(""));
    let method = parts.method.clone();
    let (info, rest) = route::parse(&method, &path, &query);
    let warnings = Warnings::default();
    let extensions = std::mem::take(&mut parts.extensions);
    let served = match info.is_resource {
        true => Served::find(info.group, info.version, info.resource),
        false => None,
    };
    let chain = Chain {
        core,
        parts: &parts,
        info: &info,
        served: served.as_ref(),
        rest,
        query: &query,
        warnings: &warnings,
    };
    let answer = AssertUnwindSafe(chain.run(peer, body, extensions))
        .catch_unwind()
        .await;
    let answer = answer.unwrap_or_else(|_| {
        tracing::error!(%method, path = info.path, "a handler panicked");
        Err(Status::internal("the request handler failed"))
    });
    let accept = header_text(&parts.headers, header::ACCEPT);
    let mut response = match answer {
        Ok(response) => respond::compress(
            response,
            header_text(&parts.headers, header::ACCEPT_ENCODING),
        ),
        Err(status) => respond::error(
            &status,
            negotiate(accept, Shapes::None).unwrap_or(respond::JSON),
        ),
    };
    finish(&mut response, &parts.headers, &warnings);
    let took = started.elapsed();
    // Only names the server knows become label values.
    let (group, resource) = match &served {
        Some(served) => (served.group(), served.kind.resource),
        None => ("", if info.is_resource { "other" } else { "" }),
    };
    let code = response.status().as_u16();
    core.metrics
        .answered(info.verb, group, resource, code, took);
    tracing::debug!(
        %method,
        uri = %uri,
        code = response.status().as_u16(),
        micros = took.as_micros() as u64,
        agent = header_text(&parts.headers, header::USER_AGENT),
        "answered"
    );
    response
}

fn finish(response: &mut Response<Body>, request: &HeaderMap, warnings: &Warnings) {
    let headers = response.headers_mut();
    let id = request.get(&AUDIT_ID).cloned().unwrap_or_else(audit_id);
    headers.insert(AUDIT_ID, id);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, NO_CACHE);
    }
    let mut left = WARNING_BYTES;
    for text in warnings.take() {
        let line = format!("299 - {}", field::quote(&text));
        let Some(rest) = left.checked_sub(line.len()) else {
            break;
        };
        left = rest;
        if let Ok(value) = HeaderValue::from_str(&line) {
            headers.append(header::WARNING, value);
        }
    }
}

/// A UUID that only has to be unique, not secret.
fn audit_id() -> HeaderValue {
    let id = uuid::Builder::from_random_bytes(fastrand::u128(..).to_ne_bytes()).into_uuid();
    let mut buffer = [0u8; uuid::fmt::Hyphenated::LENGTH];
    let text = id.hyphenated().encode_lower(&mut buffer);
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

struct Chain<'r> {
    core: &'r Arc<Core>,
    parts: &'r Parts,
    info: &'r RequestInfo<'r>,
    /// `None`: not a resource, or none that is served.
    served: Option<&'r Served>,
    rest: &'r str,
    query: &'r Query<'r>,
    warnings: &'r Warnings,
}

impl<'r> Chain<'r> {
    async fn run(&self, peer: &Peer, body: Incoming, extensions: http::Extensions) -> Answer {
        let user = self.user(peer).await?;
        authz::check(&*self.core.authorizer, &user, self.info)?;
        if !self.info.is_resource {
            return pages::serve(
                self.core,
                &self.parts.method,
                self.info.path,
                self.query,
                &self.parts.headers,
            )
            .await;
        }
        let served = self.served.ok_or_else(Status::path_not_found)?;
        self.check_scope(served)?;
        let ask = Ask {
            core: self.core,
            method: &self.parts.method,
            info: self.info,
            rest: self.rest,
            query: self.query,
            headers: &self.parts.headers,
            user: &user,
            served,
            warnings: self.warnings,
        };
        if let Some(stream) = Stream::find(self.info.subresource) {
            return Box::pin(self.stream(&ask, stream, extensions)).await;
        }
        if self.info.subresource == "proxy" {
            return Box::pin(self.proxy(&ask, body, extensions)).await;
        }
        if rest::long_running(self.info.verb, self.info.subresource) {
            return Box::pin(rest::read(&ask)).await;
        }
        let reads = matches!(self.info.verb, "get" | "list");
        let _place = self.core.limits.enter(!reads)?;
        if self.info.verb == "get" && self.info.subresource.is_empty() {
            // The most frequent request waits for nothing but a revision, which has a deadline of its own.
            return rest::get(&ask).await;
        }
        let handled = async {
            match reads {
                true => rest::read(&ask).await,
                false => rest::write(&ask, read_body(body).await?).await,
            }
        };
        // A future that is kept on the heap makes this one, which every request has, small.
        tokio::time::timeout(REQUEST_TIMEOUT, Box::pin(handled))
            .await
            .unwrap_or_else(|_| {
                Err(Status::timeout(
                    "request did not complete within the allotted timeout",
                    0,
                ))
            })
    }

    /// Authenticates and impersonates.
    async fn user(&self, peer: &Peer) -> Result<Arc<UserInfo>, Status> {
        let headers = &self.parts.headers;
        let user = match peer {
            Peer::Local(user) => user.clone(),
            Peer::Connection { certificate, user } => {
                let bearer = bearer(headers);
                match user.get().filter(|_| bearer.is_none()) {
                    Some(user) => user.clone(),
                    None => {
                        let found = self
                            .authenticate(certificate.as_deref(), bearer.as_deref())
                            .await?;
                        if bearer.is_none() && certificate.is_some() {
                            // Another request of this connection may have been first: it found the same.
                            let _ = user.set(found.clone());
                        }
                        found
                    }
                }
            }
        };
        match authn::impersonation::impersonate(&*self.core.authorizer, &user, headers)? {
            Some(acting) => Ok(Arc::new(acting)),
            None => Ok(user),
        }
    }

    async fn authenticate(
        &self,
        certificate: Option<&[u8]>,
        bearer: Option<&str>,
    ) -> Result<Arc<UserInfo>, Status> {
        let credentials = Credentials {
            client_certificate: certificate,
            bearer,
        };
        match self.core.authenticator.authenticate(credentials).await? {
            Some(user) => Ok(Arc::new(user)),
            None if authn::anonymous_allowed(self.info.path) => Ok(Arc::new(authn::anonymous())),
            None => Err(authn::unauthorized()),
        }
    }

    /// Namespaced kinds need a namespace for all but list, watch and reviews of all; others must not have one.
    fn check_scope(&self, served: &Served) -> Result<(), Status> {
        let info = self.info;
        let namespaced = served.kind.namespaced();
        if !namespaced && !info.namespace.is_empty() && info.resource != "namespaces" {
            return Err(Status::path_not_found());
        }
        if namespaced && info.namespace.is_empty() {
            match info.verb {
                "list" | "watch" => {}
                "create" if info.name.is_empty() => return Err(Status::method_not_allowed()),
                "deletecollection" => return Err(Status::method_not_allowed()),
                _ => return Err(Status::path_not_found()),
            }
        }
        Ok(())
    }

    /// exec, attach, port-forward.
    async fn stream(&self, ask: &Ask<'_>, stream: Stream, extensions: http::Extensions) -> Answer {
        let verb = match *ask.method {
            Method::GET => Verb::Get,
            Method::POST => Verb::Create,
            _ => return Err(Status::method_not_allowed()),
        };
        rest::allowed(ask, verb)?;
        if verb == Verb::Get {
            // A WebSocket opens with GET but does what POST does: reading pods must not be enough.
            let create = RequestInfo {
                verb: "create",
                ..ask.info.clone()
            };
            authz::check(&*self.core.authorizer, ask.user, &create)?;
        }
        let cache = &self.core.cache;
        cache.fresh().await?;
        let key = format!("{}/{}", ask.info.namespace, ask.info.name);
        let pod = cache.of(ask.kind())?.get(&key);
        let pod = pod
            .ok_or_else(|| Status::not_found(ask.group_resource(), ask.info.name))?
            .tree();
        let write = write_of(ask, false);
        for phase in [Phase::Mutate, Phase::Validate] {
            self.core
                .admit(&write, Operation::Connect, ask.info.name, phase, None, None)
                .await?;
        }
        let mut client = self.client(extensions);
        self.core
            .kubelets
            .stream(cache, &pod, stream, ask.query, &mut client)
            .await
    }

    /// `nodes/NAME/proxy/…`: any request to the node's kubelet.
    async fn proxy(&self, ask: &Ask<'_>, body: Incoming, extensions: http::Extensions) -> Answer {
        let known = ask.kind().subresource("proxy").is_some() && !ask.info.name.is_empty();
        if !known || ask.kind().namespaced() {
            return Err(Status::path_not_found());
        }
        self.core.cache.fresh().await?;
        // `https:NAME:PORT` is upstream's way to choose scheme and port; kubelets have one of each.
        let name = ask.info.name;
        let mut uri = format!("/{}", ask.rest);
        if !ask.query.raw().is_empty() {
            uri.push('?');
            uri.push_str(ask.query.raw());
        }
        let body = read_body(body).await?;
        let mut client = self.client(extensions);
        self.core
            .kubelets
            .pass(&self.core.cache, name, uri, &mut client, body)
            .await
    }

    /// The request without its body, with what an upgrade needs.
    fn client(&self, extensions: http::Extensions) -> Request<()> {
        let mut client = Request::new(());
        *client.method_mut() = self.parts.method.clone();
        *client.headers_mut() = self.parts.headers.clone();
        *client.extensions_mut() = extensions;
        authn::impersonation::strip(client.headers_mut());
        client
    }
}

/// Reads a body within the limit.
async fn read_body(body: Incoming) -> Result<Bytes, Status> {
    let collected = match body {
        Incoming::Wire(body) if http_body::Body::is_end_stream(&body) => return Ok(Bytes::new()),
        Incoming::Wire(body) => Limited::new(body, BODY_BYTES).collect().await,
        Incoming::Local(body) => Limited::new(body, BODY_BYTES).collect().await,
    };
    match collected {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Status::request_too_large(format!("limit is {BODY_BYTES}")))
        }
        Err(error) => Err(Status::bad_request(format!(
            "unable to read the request body: {error}"
        ))),
    }
}

/// The token of the `Authorization` header, or of a WebSocket's subprotocol where browsers put it.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = header_text(headers, header::AUTHORIZATION);
    if let Some((scheme, token)) = text.split_once(' ')
        && scheme.eq_ignore_ascii_case("bearer")
        && !token.trim().is_empty()
    {
        return Some(token.trim().to_owned());
    }
    let protocols = header_text(headers, header::SEC_WEBSOCKET_PROTOCOL);
    let mut all = protocols.split(',').map(str::trim);
    let encoded = all.find_map(|p| p.strip_prefix("base64url.bearer.authorization.k8s.io."))?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(encoded)
        .ok()?;
    String::from_utf8(bytes).ok()
}
